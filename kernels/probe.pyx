# distutils: language = c++
"""Timing loops that measure the peak performance of this machine with the instruction set in use."""

import time

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport Call, Execute, KernelId, ProbeSizes, executor, floats, kernel_id, new_call

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId PROBE_FMA = kernel_id("probe_fma")
cdef KernelId PROBE_READ = kernel_id("probe_read")
cdef KernelId PROBE_UPDATE = kernel_id("probe_update")


def fma_seconds(x, int64_t rounds):
    """Return the seconds that each thread takes for `rounds` rounds of `core.probe_flop(x.dtype)` FLOP."""
    return _seconds(PROBE_FMA, x, rounds)


def read_seconds(x, int64_t rounds):
    """Return the seconds that all threads together take to read the array `x` `rounds` times."""
    return _seconds(PROBE_READ, x, rounds)


def update_seconds(x, int64_t rounds):
    """Return the seconds that all threads together take to read, negate and write back `x` `rounds` times."""
    return _seconds(PROBE_UPDATE, x, rounds)


cdef double _seconds(KernelId kernel, object x, int64_t rounds) except -1:
    cdef cnp.ndarray ax
    cdef Call call = new_call(kernel, x, "x")
    ax = floats(&call, "x", x)
    call.set_sizes(ProbeSizes(ax.size, rounds))
    call.work = 1e18  # on all threads
    start = time.perf_counter()
    execute(&call)
    return time.perf_counter() - start
