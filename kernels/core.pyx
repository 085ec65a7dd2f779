# distutils: language = c++
"""The executor: runs kernel calls on the thread team with the kernels of the chosen instruction set."""

import importlib
import os

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport uint64_t
from libcpp.vector cimport vector

from native cimport Call

from fastnn.kernels import cpu
from fastnn.kernels.guards import check_unused

cdef extern from "plan/call.hpp" namespace "fastnn" nogil:
    ctypedef struct Table:
        uint64_t layout
        double probe_flop[2]

    const uint64_t TABLE_LAYOUT
    void add_kernels(Table &table, const Table &more)

cdef extern from "plan/recording.hpp" namespace "fastnn" nogil:
    void record(const Call &call) except +
    void record_into(vector[Call] *calls)

cdef extern from "plan/executor.hpp" namespace "fastnn" nogil:
    bint execute_call(const Table &table, Call &call, int threads)
    bint open_session(int threads, double work)
    void close_session()

# Atomic, since other threads may be in a call while one is set. threadpoolctl finds the two functions, which
# get and set the number of threads that a call may use, by their names (fastnn/_threadpools.py).
cdef extern from * nogil:
    """
    #include <atomic>
    #include <mutex>

    #include "plan/call.hpp"

    #if defined(_WIN32)
    #define FASTNN_EXPORT extern "C" __declspec(dllexport)
    #else
    #define FASTNN_EXPORT extern "C" __attribute__((visibility("default")))
    #endif

    static std::atomic<int> fastnn_threads{1};
    static std::atomic<const fastnn::Table *> fastnn_table{nullptr};

    FASTNN_EXPORT int fastnn_get_num_threads() { return fastnn_threads; }
    FASTNN_EXPORT void fastnn_set_num_threads(int count) {
        if (count > 0) fastnn_threads = count;
    }

    // Limits calls to one thread from the first `begin` to the last `end`, of any threads in any order.
    class OneThread {
    public:
        void begin() {
            const std::lock_guard<std::mutex> guard(mutex);
            if (users++ == 0) before = fastnn_threads.exchange(1);
        }
        void end() {
            const std::lock_guard<std::mutex> guard(mutex);
            if (--users == 0) fastnn_threads = before;
        }

    private:
        std::mutex mutex;
        int users = 0;
        int before = 1;
    };

    static OneThread fastnn_one_thread;
    """
    int threads "fastnn_threads"
    void fastnn_set_num_threads(int count)
    const Table *table "fastnn_table"  # the kernels in use
    void begin_one_thread "fastnn_one_thread.begin"()
    void end_one_thread "fastnn_one_thread.end"()

# Calls with more FLOP than this, which take longer than about a microsecond, release the GIL.
cdef double WORK_TO_RELEASE_GIL = 1e5

cdef Table with_bf16  # v4 and the kernels of v4bf16, once they are selected
_isa = None
_has_bf16 = False


cdef int execute(Call *call) except -1:
    cdef bint done
    if call.work < WORK_TO_RELEASE_GIL:
        done = execute_call(table[0], call[0], threads)
    else:
        with nogil:
            done = execute_call(table[0], call[0], threads)
    if not done:
        raise MemoryError("no memory for the scratch buffer of a kernel")
    record(call[0])
    return 0


cdef int note(Call *call) except -1:
    record(call[0])
    return 0


cdef bint run(Call *call) noexcept nogil:
    return execute_call(table[0], call[0], threads)


cdef bint run_alone(Call *call) noexcept nogil:
    return execute_call(table[0], call[0], 1)


cdef const Table *kernels() noexcept nogil:
    return table


cdef bint open(double work) noexcept nogil:
    return open_session(threads, work)


cdef void close() noexcept nogil:
    close_session()


def select_isa(name):
    """Use the kernels built for `name`, with "v4" also those for bf16 if the machine has them.

    Raises ValueError unless `name` is one of `cpu.supported()`.
    """
    global table, with_bf16, _isa, _has_bf16
    if name not in cpu.supported():
        raise ValueError(
            f"this machine cannot run {name!r}, or it is not built: "
            f"choose one of {', '.join(cpu.supported())}"
        )
    cdef const Table *loaded = load_table(name)
    cdef const Table *bf16 = load_table("v4bf16") if name == "v4" and cpu.supports_bf16() else NULL
    if bf16 != NULL and with_bf16.layout != TABLE_LAYOUT:
        with_bf16 = loaded[0]
        add_kernels(with_bf16, bf16[0])
    table = loaded if bf16 == NULL else &with_bf16
    _isa, _has_bf16 = name, bf16 != NULL


cdef const Table *load_table(str name) except NULL:
    """The table of kernels of a module. Raises ImportError if it is of another build."""
    module = f"fastnn.kernels.isa_{name}"
    capsule = importlib.import_module(module).table
    cdef const Table *loaded = <const Table *> PyCapsule_GetPointer(capsule, f"{module}.table".encode())
    if loaded.layout != TABLE_LAYOUT:
        raise ImportError(f"{module} is of another build than fastnn.kernels.core: reinstall fastnn")
    return loaded


def has_bf16():
    """Return whether the kernels in use include those with operands in bf16."""
    return _has_bf16


def check_bf16():
    """Raise RuntimeError unless `has_bf16()`."""
    if not _has_bf16:
        raise RuntimeError(
            "bf16 needs a processor with AVX512_BF16 (AMD since Zen 4, Intel Xeon since Sapphire Rapids) and "
            f"the instruction set \"v4\"; the kernels in use are for {_isa!r}"
            + ("" if _isa != "v4" else " without AVX512_BF16")
            + ". Leave out precision=\"bf16\", or emulate it, slowly, with the backend \"ref\""
        )


def isa():
    """Return the instruction set in use: "v4", "v3", "v2", "neon" or "any"."""
    return _isa


def probe_flop(dtype):
    """Return the FLOP of one round of `probe.fma_seconds` on one thread, in "float32" or "float64"."""
    return table[0].probe_flop[("float32", "float64").index(str(dtype))]


def set_num_threads(int count):
    """Let a call use up to `count` threads."""
    global threads
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    threads = count


def get_num_threads():
    """Return the number of threads that a call may use."""
    return threads


cdef class Threads:
    """Lets a call use up to `count` threads inside a `with` block; see `guards.Setting`."""

    cdef int count
    cdef int before  # 0 outside of the block

    def __init__(self, int count):
        self.count = count

    def __enter__(self):
        check_unused(self.before != 0)
        before = threads
        set_num_threads(self.count)
        self.before = before

    def __exit__(self, *error):
        self._restore()

    def __dealloc__(self):
        self._restore()

    cdef void _restore(self) noexcept:
        if self.before:
            fastnn_set_num_threads(self.before)
            self.before = 0


cdef class OneThreadEach:
    """Lets each call use one thread inside a `with` block; see `guards.Setting`.

    The number of threads is restored when the last of several users leaves its block. They may be in
    different threads, and enter and leave in any order.
    """

    cdef bint is_entered

    def __enter__(self):
        check_unused(self.is_entered)
        begin_one_thread()
        self.is_entered = True

    def __exit__(self, *error):
        self._leave()

    def __dealloc__(self):
        self._leave()

    cdef void _leave(self) noexcept:
        if self.is_entered:
            self.is_entered = False
            end_one_thread()


def _best_isa():
    """Return the best instruction set of this machine that does not exceed FASTNN_ISA."""
    levels = cpu.levels()
    cap = os.environ.get("FASTNN_ISA") or levels[0]
    if cap not in levels:
        raise ValueError(f"FASTNN_ISA={cap!r}: choose one of {', '.join(levels)}")
    for name in cpu.supported():
        if levels.index(name) >= levels.index(cap):
            return name
    built = ", ".join(cpu.supported()) or "none"
    needed = cap if os.environ.get("FASTNN_ISA") else "any"
    raise ValueError(
        f"no kernels for instruction set {needed!r} are built (this machine can use: {built}): install again "
        f"with FASTNN_BUILD_LEVELS={needed} in the environment, or a list such as {','.join(levels[::-1])}"
    )


select_isa(_best_isa())
set_num_threads(cpu.available_threads())
executor = PyCapsule_New(<void *> execute, "fastnn.kernels.core.executor", NULL)
noter = PyCapsule_New(<void *> note, "fastnn.kernels.core.noter", NULL)
# For plan.pyx: run a call without the GIL, on all threads or on one; the kernels of the chosen instruction
# set; keep the team awake while a plan runs; record this thread's calls.
runner = PyCapsule_New(<void *> run, "fastnn.kernels.core.runner", NULL)
lone_runner = PyCapsule_New(<void *> run_alone, "fastnn.kernels.core.lone_runner", NULL)
tables = PyCapsule_New(<void *> kernels, "fastnn.kernels.core.tables", NULL)
opener = PyCapsule_New(<void *> open, "fastnn.kernels.core.opener", NULL)
closer = PyCapsule_New(<void *> close, "fastnn.kernels.core.closer", NULL)
recorder = PyCapsule_New(<void *> record_into, "fastnn.kernels.core.recorder", NULL)
