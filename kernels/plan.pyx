# distutils: language = c++
"""Plans: the kernel calls of one training step, recorded once and then run without Python (plan.hpp)."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from native cimport (
    KERNEL_COUNT, Call, Elements, KernelId, is_output, kernel_family, kernel_id, kernel_name, operand_name,
)
from native_plan cimport (
    CHECK_FAILED, MOST_WORK_TO_TRY, OUT_OF_MEMORY, RAN, LearningRate, NativeChange, NativePlan, Outcome,
    RunCall, fuse, uses,
)

from fastnn.kernels import active_backend, core

cnp.import_array()

ctypedef bint (*OpenSession)(double work) noexcept nogil
ctypedef void (*CloseSession)() noexcept nogil
ctypedef void (*RecordInto)(vector[Call] *) noexcept

cdef RunCall run_call = <RunCall> PyCapsule_GetPointer(core.runner, "fastnn.kernels.core.runner")
cdef RunCall run_alone = <RunCall> PyCapsule_GetPointer(core.lone_runner, "fastnn.kernels.core.lone_runner")
cdef OpenSession open_session = <OpenSession> PyCapsule_GetPointer(core.opener, "fastnn.kernels.core.opener")
cdef CloseSession close_session = <CloseSession> PyCapsule_GetPointer(
    core.closer, "fastnn.kernels.core.closer"
)
cdef RecordInto record_into = <RecordInto> PyCapsule_GetPointer(core.recorder, "fastnn.kernels.core.recorder")

cdef KernelId CHECK_ZERO = kernel_id("check_zero")
cdef KernelId CHECK_FINITE = kernel_id("check_finite")
cdef KernelId CALLBACK = kernel_id("callback")


class CheckFailedError(Exception):
    """A check of the plan failed; the argument is its name. The step has changed nothing."""


cdef class WeightChange:
    """Tells whether an update has changed the weights by at most `bound` (Euclidean norm over all of them).

    `arrays` are the weights, C-contiguous float32 or float64, which updates change in place.
    """

    cdef NativeChange native
    cdef readonly list arrays

    def __init__(self, arrays, double bound):
        cdef cnp.ndarray array
        self.arrays = list(arrays)
        self.native.bound = bound
        for array in self.arrays:
            kind = cnp.PyArray_TYPE(array)
            if not cnp.PyArray_ISCARRAY_RO(array) or kind not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
                raise TypeError("the weights must be C-contiguous arrays of float32 or float64")
            self.native.add(array.data, cnp.PyArray_SIZE(array), kind == cnp.NPY_DOUBLE)

    def remember(self):
        """Copy the weights; to be called before an update that is not made by a plan which watches them."""
        with nogil:
            self.native.remember()

    def look(self):
        """Compare the weights with the copies; to be called after the update."""
        with nogil:
            self.native.look()

    @property
    def bound(self):
        return self.native.bound

    @property
    def is_still(self):
        """Whether the last update changed the weights by at most `bound`."""
        return self.native.is_still

    @property
    def norm(self):
        """The norm of the change by the last update, if it was at most `bound`."""
        return self.native.norm

    def __reduce__(self):
        return WeightChange, (self.arrays, self.bound)


cdef class Plan:
    """The calls of a training step: `record` them, `finish`, then `step` or `run`."""

    cdef NativePlan plan
    cdef list callbacks
    cdef object error  # why the last run ended early, or None
    cdef readonly double work  # approximate FLOP of one step
    cdef bint in_bf16  # whether kernels that not all instruction sets have are among the calls
    cdef list inputs  # the input buffers
    cdef WeightChange change
    cdef tuple guards  # None: `unchanged_step` is not allowed
    cdef double rate  # the learning rate in the memory of the first update
    cdef public bint tries_one_thread  # whether short steps may run on one thread if that is faster

    def __cinit__(self):
        self.callbacks = []
        self.inputs = []

    def record(self, kernel, arguments):
        """Call `kernel(*arguments)` and record the calls that it makes in this thread."""
        record_into(&self.plan.calls)
        try:
            kernel(*arguments)
        finally:
            record_into(NULL)

    def check_zero(self, cnp.ndarray count):
        """Record a check: the step fails here unless count (1,) int64 is zero."""
        self._add(CHECK_ZERO, count.data)

    def check_finite(self, cnp.ndarray loss):
        """Record a check: the step fails here unless loss (1,) float64 is finite."""
        self._add(CHECK_FINITE, loss.data)

    def callback(self, function):
        """Record a callback: the step calls the Python function here, without arguments."""
        self._add(CALLBACK, NULL, len(self.callbacks))
        self.callbacks.append(function)

    def watch(self, WeightChange change not None):
        """Note from now on whether a step hardly changes the weights; such a step ends a run."""
        self.change = change
        self.plan.change = &change.native

    cdef int _add(self, KernelId kernel, void *array, int64_t size=0) except -1:
        cdef Call call
        call.kernel = kernel
        call.array[0] = array
        call.set_sizes(Elements(size))
        self.plan.calls.push_back(call)
        return 0

    def finish(self, cnp.ndarray loss, inputs, *, bint fuse_calls, bint fuse_updates):
        """Complete the recording: `loss` receives the loss of a step, `inputs` are the input buffers.

        `fuse_calls` joins calls where the result stays the same to the last bit; with `fuse_updates` the
        gradients of parameters are not stored where the update can compute them.
        """
        cdef cnp.ndarray array
        self.plan.loss = <double *> loss.data
        self.plan.callback = run_callback
        self.plan.object = <void *> self
        if fuse_calls:
            fuse(self.plan.calls, fuse_updates)
        self.work = 0
        self.tries_one_thread = True
        self.in_bf16 = False
        for index in range(self.plan.calls.size()):
            self.work += self.plan.calls[index].work
            if kernel_name(self.plan.calls[index].kernel).endswith(b"_bf16"):
                self.in_bf16 = True
        for array in inputs:
            self.inputs.append(array)
            self.plan.add_input(array.data)

    def step(self, *batch):
        """Run one step on the arrays of a mini-batch and return the loss.

        Returns None, without running anything, unless the arrays have the dtype, shape and layout of the
        recorded ones. Raises `CheckFailedError`, or the exception of a callback before the first update; then
        nothing has changed. Raises MemoryError, or the exception of a later callback, in mid-step.
        """
        cdef double loss
        cdef Py_ssize_t index
        if len(batch) != len(self.inputs):
            return None
        for index in range(len(batch)):
            if not self._fits(index, batch[index]):
                return None
        for index in range(len(batch)):
            self.plan.bind(index, (<cnp.ndarray> batch[index]).data, 0)
        self._run(1, &loss, 1.0, NULL, NULL)
        if self.error is not None:
            raise self.error
        return loss

    def guard(self, tuple guards not None):
        """Allow `unchanged_step` while, of each (owner, name, value), the attribute is still that object."""
        self.guards = guards

    def unchanged_step(self, x, y):
        """Do what `step` does, if nothing that the plan depends on has changed.

        Otherwise returns None; also if a check fails. There is no Python code in it, which the arrays of a
        large mini-batch would have driven out of the caches.
        """
        cdef double loss
        if self.guards is None or active_backend() != "aot":
            return None
        for owner, name, value in self.guards:
            if getattr(owner, name) is not value:
                return None
        if self.plan.rates.size() and self.plan.rates[0].place[0] != self.rate:
            return None  # another trainer has written to the memory of the optimizer that both share
        if len(self.inputs) != 2 or not (self._fits(0, x) and self._fits(1, y)):
            return None
        self.plan.bind(0, (<cnp.ndarray> x).data, 0)
        self.plan.bind(1, (<cnp.ndarray> y).data, 0)
        self._run(1, &loss, 1.0, NULL, NULL)
        return loss if self._passed() else None

    def outputs(self, x, cnp.ndarray output not None):
        """Run the calls once on `x` and return a copy of `output`, an array that they write to.

        Returns None, without running anything, if `x` is unlike the recorded array; also if a check fails.
        """
        cdef double loss
        if not self._fits(0, x):
            return None
        self.plan.bind(0, (<cnp.ndarray> x).data, 0)
        self._run(1, &loss, 1.0, NULL, NULL)
        return cnp.PyArray_NewCopy(output, cnp.NPY_CORDER) if self._passed() else None

    def bind_rates(self, places):
        """Set where the updates read their learning rates.

        `places` holds a pair for each update: its hyper-parameters, the learning rate first, and the factor
        that multiplies the learning rate of the step.
        """
        cdef LearningRate rate
        cdef cnp.ndarray hyper
        self.plan.rates.clear()
        for hyper, scale in places:
            rate.place, rate.scale = <double *> hyper.data, scale
            self.plan.rates.push_back(rate)
        self.rate = self.plan.rates[0].place[0] if places else 0.0

    def run(
        self, cnp.ndarray index, int64_t stride, double[::1] losses, double seconds, double[::1] rates=None
    ):
        """Run steps until `losses` is full or `seconds` have passed, at least one; or until steps follow that
        run on another number of threads.

        A step that hardly changes the weights ends the run, too (`watch`).

        The first step takes its samples from the beginning of `index`, each further step `stride` elements
        later. `rates`, if given, holds the learning rate of each step. Returns the number of completed steps,
        and the exception that ended the run or None; a failed step has changed nothing.
        """
        cdef const double *first = NULL
        if rates is not None:
            if rates.shape[0] < losses.shape[0]:
                raise ValueError(
                    f"rates must hold a learning rate for each of the {losses.shape[0]} steps, "
                    f"got {rates.shape[0]}"
                )
            first = &rates[0]
        self.plan.bind(0, index.data, stride * sizeof(int64_t))
        done = self._run(losses.shape[0], &losses[0], seconds, first, NULL)
        return done, self.error

    def timed_step(self, double[::1] times):
        """Run one more step on the last mini-batch and write the seconds that each call took to `times`.

        The caller must have kept the arrays of that mini-batch alive.
        """
        cdef double loss
        if times.shape[0] != <Py_ssize_t> self.plan.calls.size():
            raise ValueError(f"times must have shape ({self.plan.calls.size()},), got ({times.shape[0]},)")
        self._run(1, &loss, 1.0, NULL, &times[0])
        if self.error is not None:
            raise self.error

    def calls(self):
        """Name of the kernel, sizes and bytes per float of each call."""
        cdef Call call
        return [
            (kernel_name(call.kernel).decode(), tuple(call.size), 8 if call.is_double else 4)
            for call in self.plan.calls
        ]

    cdef int64_t _run(
        self, int64_t steps, double *losses, double seconds, const double *rates, double *times
    ):
        cdef Outcome outcome = RAN
        cdef int64_t done
        cdef bint opened = False
        cdef RunCall alone = run_alone if self.tries_one_thread and self.work <= MOST_WORK_TO_TRY else NULL
        if self.in_bf16:  # after `select_isa`, its calls would do nothing
            core.check_bf16()
        self.error = None
        with nogil:
            if alone == NULL or not self.plan.choice.alone():
                opened = open_session(self.work)
                if not opened:
                    alone = NULL  # all calls run on one thread anyway
            if alone != NULL:
                steps = self.plan.choice.alike(steps)  # a team without work must not spin
            done = self.plan.run(run_call, alone, steps, losses, seconds, rates, times, outcome)
            if opened:
                close_session()
        if outcome == CHECK_FAILED:
            self.error = CheckFailedError(kernel_name(self.plan.calls[self.plan.failed].kernel).decode())
        elif outcome == OUT_OF_MEMORY:
            self.error = MemoryError("no memory for the scratch buffer of a kernel")
        return done

    cdef bint _passed(self) except -1:
        """Whether the last run passed its checks. Raises any other error that ended it early."""
        if self.error is None:
            return True
        if isinstance(self.error, CheckFailedError):
            return False
        raise self.error

    cdef bint _fits(self, int input, object array):
        """Whether the array can take the place of an input buffer."""
        cdef cnp.ndarray buffer = self.inputs[input]
        return (
            isinstance(array, cnp.ndarray)
            and cnp.PyArray_TYPE(<cnp.ndarray> array) == cnp.PyArray_TYPE(buffer)
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array)
            and cnp.PyArray_SAMESHAPE(<cnp.ndarray> array, buffer)
        )

    @property
    def runs_alone(self):
        """Whether its next step runs on one thread, even if there are more: that is faster, or a trial."""
        return self.plan.choice.alone()

    def native(self):
        """The plan as a capsule for population.pyx; valid as long as this object lives."""
        return PyCapsule_New(&self.plan, "fastnn.kernels.plan.native", NULL)

    def uses(self, cnp.ndarray array):
        """Whether a call reads or writes the array."""
        return uses(self.plan.calls, array.data) > 0

    def __len__(self):
        return self.plan.calls.size()


def kernels():
    """The rows of kernels.def: name, family, and for each operand its name and whether it is an output."""
    cdef int index, i
    rows = []
    for index in range(KERNEL_COUNT):
        operands = []
        i = 0
        while operand_name(<KernelId> index, i) != NULL:
            operands.append((operand_name(<KernelId> index, i).decode(), is_output(<KernelId> index, i)))
            i += 1
        family = kernel_family(<KernelId> index).decode()
        rows.append((kernel_name(<KernelId> index).decode(), family, operands))
    return rows


cdef cbool run_callback(void *object, int index) noexcept with gil:
    plan = <Plan> object
    try:
        plan.callbacks[index]()
    except BaseException as error:
        plan.error = error
        return False
    return True
