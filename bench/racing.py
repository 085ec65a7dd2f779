"""Run one benchmark: check the result, warm up, then time.

A race is one task at one shape. Its contestants run one after the other, so their times stand next to each
other and `fastnn compare` can take ratios. Each contestant must first reproduce the result of the NumPy
reference. The first call of a Numba kernel, which compiles it or loads it from the cache, is not timed but
reported as `compile_seconds`. `preemptions_per_second` reports how often other work on the machine took the
CPU away: a kernel with two threads then loses more than a kernel with one, up to a hundredfold (NumPy's
OpenBLAS), and the ratios mean nothing.
"""

import resource
import time

import numpy as np
import pytest

from fastnn import kernels

# Contestant of a race between kernels -> backend that it runs on.
BACKENDS = {"numpy": "ref", "jit": "jit", "aot": "aot"}


def kernel_race(*shapes):
    """Decorator: run the test for each shape (a tuple of sizes) and contestant, shape by shape."""
    by_shape = pytest.mark.parametrize("shape", shapes, ids=shape_name)
    by_contestant = pytest.mark.parametrize("contestant", BACKENDS)
    return lambda test: by_contestant(by_shape(test))


def shape_name(shape):
    """(32, 784, 128) -> "32x784x128"."""
    return "x".join(map(str, shape))


def race_kernel(benchmark, kernel, shape, contestant, arguments, *, flop, nbytes=None, race=None):
    """Time the kernel named `kernel` on `arguments`; its outputs are overwritten.

    `flop` is the number of floating-point operations. `nbytes` is the minimum memory traffic, by default the
    size of all arrays. The race has the name of the kernel unless `race` gives another.
    """
    function = kernels.load(BACKENDS[contestant])[kernel]
    expected = [np.copy(argument) if isinstance(argument, np.ndarray) else argument for argument in arguments]
    kernels.load("ref")[kernel](*expected)
    arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]

    def check():
        for got, want in zip(arguments, expected, strict=True):
            if isinstance(got, np.ndarray):
                assert_close(got, want, 1e-5)

    time_contestant(
        benchmark,
        lambda: function(*arguments),
        check,
        race=race or kernel,
        shape=shape_name(shape),
        contestant=contestant,
        dtype=next(array.dtype for array in reversed(arrays) if array.dtype.kind == "f"),
        flop=flop,
        nbytes=sum(array.nbytes for array in arrays) if nbytes is None else nbytes,
    )


def time_contestant(benchmark, call, check, *, race, shape, contestant, dtype, flop, nbytes):
    """Time `call()` after one untimed call, whose result `check()` must accept."""
    start = time.perf_counter()
    call()
    first_call = time.perf_counter() - start
    check()
    benchmark.group = f"{race} {shape}"
    benchmark.extra_info.update(
        race=race, shape=shape, contestant=contestant, dtype=str(dtype), flop=flop, bytes=nbytes
    )
    if contestant == "jit":
        benchmark.extra_info["compile_seconds"] = first_call
    start, preemptions = time.perf_counter(), count_preemptions()
    benchmark(call)
    preemptions = count_preemptions() - preemptions
    benchmark.extra_info["preemptions_per_second"] = preemptions / (time.perf_counter() - start)


def count_preemptions():
    """The number of involuntary context switches of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def assert_close(array, expected, tolerance):
    """Assert that all errors are below `tolerance` times the largest element.

    The bound is strict enough to catch a lost tail or an output that was never written.
    """
    np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance * np.abs(expected).max())
