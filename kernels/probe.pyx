# distutils: language = c++
"""Timing loops that show what this machine can do at best, with the instruction set in use."""

import time

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport PROBE_FMA, PROBE_READ, PROBE_UPDATE, Call, Execute, KernelId, executor, new_call, output

cnp.import_array()

cdef Execute execute = executor()


def fma_seconds(x, int64_t rounds):
    """Seconds that each thread takes for `rounds` rounds of `core.probe_flop(x.dtype)` FLOP."""
    return _seconds(PROBE_FMA, x, rounds, 0)


def read_seconds(x, int64_t rounds):
    """Seconds for all threads together to read the array `x` `rounds` times."""
    return _seconds(PROBE_READ, x, x.size, rounds)


def update_seconds(x, int64_t rounds):
    """Seconds for all threads together to read, negate and write back the array `x` `rounds` times."""
    return _seconds(PROBE_UPDATE, x, x.size, rounds)


cdef double _seconds(KernelId kernel, object x, int64_t size0, int64_t size1) except -1:
    cdef cnp.ndarray ax
    cdef Call call = new_call(kernel, x, "x")
    ax = output(x, "x", &call)
    call.array[0] = ax.data
    call.size[0], call.size[1] = size0, size1
    call.work = 1e18  # on all threads
    start = time.perf_counter()
    execute(&call)
    return time.perf_counter() - start
