"""How a benchmark runs: check, warm up, then time.

A race is one piece of work at one shape; its contestants do it in turn, so that their times stand side
by side and `fastnn compare` can take ratios. Each must give the result of the NumPy reference before its
clock starts. What the first call of a Numba kernel takes, for compiling it or for reading it from the
cache, is no part of the time: it is reported as `compile_seconds`. How often other work on the machine
took the CPU away is reported as `preemptions_per_second`: a kernel with two threads loses more than one
with a single thread then, up to a hundredfold (NumPy's OpenBLAS), and the ratios mean nothing.
"""

import resource
import time

import numpy as np
import pytest

from fastnn import kernels

# The contestants of a race between kernels, and the backends that they stand for.
BACKENDS = {"numpy": "ref", "jit": "jit", "aot": "aot"}


def kernel_race(*shapes):
    """Decorator: run the test for each shape (a tuple of sizes) and contestant, a shape at a time."""
    by_shape = pytest.mark.parametrize("shape", shapes, ids=shape_name)
    by_contestant = pytest.mark.parametrize("contestant", BACKENDS)
    return lambda test: by_contestant(by_shape(test))


def shape_name(shape):
    """(32, 784, 128) -> "32x784x128"."""
    return "x".join(map(str, shape))


def race_kernel(benchmark, kernel, shape, contestant, arguments, *, flop, nbytes=None, race=None):
    """Time the kernel of that name on `arguments`, whose outputs it overwrites.

    `flop` counts floating-point operations. `nbytes` is the memory traffic that nobody can avoid: each
    array once, unless given. The race is called after the kernel, unless `race` names it.
    """
    function = kernels.load(BACKENDS[contestant])[kernel]
    expected = [np.copy(argument) if isinstance(argument, np.ndarray) else argument for argument in arguments]
    kernels.load("ref")[kernel](*expected)
    arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]

    def check():
        for array, wanted in zip(arguments, expected, strict=True):
            if isinstance(array, np.ndarray):
                assert_close(array, wanted, 1e-5)

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
    """Time `call()`, after a first call whose outcome `check()` accepts."""
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
    """How often a thread of this process had to leave the CPU although it could go on."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def assert_close(array, wanted, tolerance):
    """Each element within `tolerance` times the largest: a lost tail or an output left alone fails."""
    np.testing.assert_allclose(array, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())
