# distutils: language = c++
"""Plans: the kernel calls of one training step, recorded once and then run without Python (plan.hpp)."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from fastnn.kernels import core

cdef extern from "plan/call.hpp" namespace "fastnn" nogil:
    ctypedef enum KernelId:
        CHECK_ZERO
        CHECK_FINITE
        CALL_BACK

    ctypedef struct Call:
        KernelId kernel
        void *array[10]
        int64_t size[16]
        int is_double
        double work

cdef extern from "plan/plan.hpp" namespace "fastnn" nogil:
    ctypedef enum Outcome:
        RAN
        CHECK_FAILED
        CALL_BACK_FAILED
        OUT_OF_MEMORY

    ctypedef cbool (*RunCall)(Call *)
    ctypedef cbool (*CallBack)(void *, int) noexcept

    cdef cppclass Rate "fastnn::Plan::Rate":
        double *place
        double scale

    cdef cppclass NativePlan "fastnn::Plan":
        vector[Call] calls
        const double *loss
        size_t failed
        CallBack call_back
        void *object
        vector[Rate] rates
        void add_slot(const void *data) except +
        void bind(size_t slot, char *data, int64_t stride)
        int64_t run(
            RunCall run_call, int64_t steps, double *losses, double seconds, const double *rate,
            double *times, Outcome &outcome
        )

cdef extern from "plan/kernel_names.hpp" namespace "fastnn" nogil:
    const char *kernel_name(KernelId kernel)

cdef extern from "fusion/fusion.hpp" namespace "fastnn" nogil:
    void fuse(vector[Call] &calls, bint updates) except +
    int uses(const vector[Call] &calls, const void *data)

cnp.import_array()

ctypedef bint (*OpenSession)(double work) noexcept nogil
ctypedef void (*CloseSession)() noexcept nogil
ctypedef void (*RecordInto)(vector[Call] *) noexcept

cdef RunCall run_call = <RunCall> PyCapsule_GetPointer(core.runner, "fastnn.kernels.core.runner")
cdef OpenSession open_session = <OpenSession> PyCapsule_GetPointer(core.opener, "fastnn.kernels.core.opener")
cdef CloseSession close_session = <CloseSession> PyCapsule_GetPointer(
    core.closer, "fastnn.kernels.core.closer"
)
cdef RecordInto record_into = <RecordInto> PyCapsule_GetPointer(core.recorder, "fastnn.kernels.core.recorder")


class CheckFailedError(Exception):
    """A check of the plan failed, whose name is the argument. Nothing has changed."""


cdef class Plan:
    """The calls of a training step: record between `start` and `stop`, `finish`, then `step` or `run`."""

    cdef NativePlan plan
    cdef list call_backs
    cdef object error  # why the last run ended before its time
    cdef double work  # of one step, about, in FLOP
    cdef list slots  # (type number, shape) of the arrays that a run replaces

    def __cinit__(self):
        self.call_backs = []
        self.slots = []

    def start(self):
        """Record the calls that this thread makes from now on."""
        record_into(&self.plan.calls)

    def stop(self):
        """Record no more."""
        record_into(NULL)

    def check_zero(self, cnp.ndarray count):
        """Here a step fails unless count (1,) int64 is zero."""
        self._add(CHECK_ZERO, count.data)

    def check_finite(self, cnp.ndarray loss):
        """Here a step fails unless loss (1,) float64 is finite."""
        self._add(CHECK_FINITE, loss.data)

    def call_back(self, function):
        """Here the Python function is called, without arguments."""
        self._add(CALL_BACK, NULL, len(self.call_backs))
        self.call_backs.append(function)

    cdef int _add(self, KernelId kernel, void *array, int64_t size=0) except -1:
        cdef Call call
        call.kernel = kernel
        call.array[0] = array
        call.size[0] = size
        self.plan.calls.push_back(call)
        return 0

    def finish(self, cnp.ndarray loss, slots, *, bint fuse_calls, bint fuse_updates):
        """The recording is complete: where the loss is, and the arrays in whose place a run puts its own.

        `fuse_calls` joins calls where the result stays the same to the last bit; with `fuse_updates` even
        gradients of parameters are no longer stored.
        """
        cdef cnp.ndarray array
        self.plan.loss = <double *> loss.data
        self.plan.call_back = call_back
        self.plan.object = <void *> self
        if fuse_calls:
            fuse(self.plan.calls, fuse_updates)
        self.work = 0
        for index in range(self.plan.calls.size()):
            self.work += self.plan.calls[index].work
        for array in slots:
            self.slots.append((cnp.PyArray_TYPE(array), (<object> array).shape))
            self.plan.add_slot(array.data)

    def step(self, x, y):
        """One step on the batch x, y; returns the loss.

        None if the arrays are not like those of the recording (type, shape, layout); then nothing was done.
        Raises `CheckFailedError`, or what a call-back raised before the first update; then nothing has
        changed. Raises MemoryError, or what a later call-back raised, in the middle of a step.
        """
        cdef double loss
        if not (self._fits(0, x) and self._fits(1, y)):
            return None
        self.plan.bind(0, (<cnp.ndarray> x).data, 0)
        self.plan.bind(1, (<cnp.ndarray> y).data, 0)
        self._run(1, &loss, 1.0, NULL, NULL)
        if self.error is not None:
            raise self.error
        return loss

    def forward(self, x):
        """The calls once, with `x` in place of the recorded array; False if it is not like that one.

        Raises as `step`.
        """
        cdef double loss
        if not self._fits(0, x):
            return False
        self.plan.bind(0, (<cnp.ndarray> x).data, 0)
        self._run(1, &loss, 1.0, NULL, NULL)
        if self.error is not None:
            raise self.error
        return True

    def bind_rates(self, places):
        """Where the updates read their learning rates: (hyper-parameters, the rate first; factor) of each."""
        cdef Rate rate
        cdef cnp.ndarray hyper
        self.plan.rates.clear()
        for hyper, scale in places:
            rate.place, rate.scale = <double *> hyper.data, scale
            self.plan.rates.push_back(rate)

    def run(
        self, cnp.ndarray index, int64_t stride, double[::1] losses, double seconds, double[::1] rates=None
    ):
        """As many steps as `losses` has room for, or as begin within `seconds`, at least one.

        The first takes its samples from the beginning of `index`, each other one `stride` elements further
        on; `rates` holds the learning rate of each step, unless they all have the same. Returns (number of
        completed steps, the exception that ended the run or None); the step that failed has changed nothing.
        """
        cdef const double *first = NULL
        if rates is not None:
            if rates.shape[0] < losses.shape[0]:
                raise ValueError(f"a rate is wanted for each of the {losses.shape[0]} steps")
            first = &rates[0]
        self.plan.bind(0, index.data, stride * sizeof(int64_t))
        done = self._run(losses.shape[0], &losses[0], seconds, first, NULL)
        return done, self.error

    def timed_step(self, double[::1] times):
        """One more step on the batch of the last one, whose arrays the caller has kept alive; writes the
        seconds that each call took.
        """
        cdef double loss
        if times.shape[0] != <Py_ssize_t> self.plan.calls.size():
            raise ValueError(f"times ({self.plan.calls.size()},) is wanted")
        self._run(1, &loss, 1.0, NULL, &times[0])
        if self.error is not None:
            raise self.error

    def calls(self):
        """(name of the kernel, its sizes, bytes of a float) of each call."""
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
        cdef bint opened
        self.error = None
        with nogil:
            opened = open_session(self.work)
            done = self.plan.run(run_call, steps, losses, seconds, rates, times, outcome)
            if opened:
                close_session()
        if outcome == CHECK_FAILED:
            self.error = CheckFailedError(kernel_name(self.plan.calls[self.plan.failed].kernel).decode())
        elif outcome == OUT_OF_MEMORY:
            self.error = MemoryError("no memory for the scratch buffer of a kernel")
        return done

    cdef bint _fits(self, int slot, object array):
        if not isinstance(array, cnp.ndarray):
            return False
        return (
            cnp.PyArray_TYPE(<cnp.ndarray> array) == self.slots[slot][0]
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> array)
            and array.shape == self.slots[slot][1]
        )

    def uses(self, cnp.ndarray array):
        """Whether a call reads or writes the array."""
        return uses(self.plan.calls, array.data) > 0

    def __len__(self):
        return self.plan.calls.size()


cdef cbool call_back(void *object, int index) noexcept with gil:
    plan = <Plan> object
    try:
        plan.call_backs[index]()
    except BaseException as error:
        plan.error = error
        return False
    return True
