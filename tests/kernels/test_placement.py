"""Results have the same bits wherever the arrays lie in memory, and when an output is also an input."""

from functools import lru_cache

import numpy as np
import pytest

from fastnn.kernels import core

from .columns import both_types, every_isa, every_kernel, kernels_of
from .comparison import arrays, cases_of, check_each, copied
from .test_same_bits import bits


def put(array, offset):
    """A copy that begins `offset` elements behind a cache line."""
    memory = np.zeros(array.nbytes + 128 + offset * array.itemsize, np.uint8)
    begin = -memory.ctypes.data % 64 + offset * array.itemsize
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert not copy.size or copy.ctypes.data % 64 == offset * array.itemsize % 64
    return copy


@lru_cache(maxsize=1)  # the instruction sets take turns at the same arguments
def rounding_cases(kernel, dtype):
    """(case, arguments) of all cases that are not of whole numbers; not to be written to."""
    return [(case, case.arguments(dtype)) for case in cases_of(kernel) if not case.whole]


@every_isa
@both_types
@every_kernel
def test_results_do_not_depend_on_alignment(kernel, dtype, isa):
    call = kernels_of(isa)[kernel]
    core.set_num_threads(3)

    def check(_, arguments):
        results = []
        for offset, step in ((0, 0), (1, 0), (0, 1), (5, 3)):  # all aligned, all alike, each different
            placed = {
                name: put(a, offset + step * which) if isinstance(a, np.ndarray) else a
                for which, (name, a) in enumerate(arguments.items())
            }
            call(**placed)
            results.append({name: bits(array) for name, array in arrays(placed).items()})
        for name, first in results[0].items():
            assert all(result[name] == first for result in results[1:]), name

    check_each(rounding_cases(kernel, dtype), check)


IN_PLACE = [
    *((f"{name}_forward", "x", "y") for name in ("relu", "sigmoid", "tanh")),
    *((f"{name}_dx", other, "dx") for name in ("relu", "sigmoid", "tanh") for other in ("y", "dy")),
    *(("add", other, "y") for other in ("x1", "x2")),
    ("dropout", "x", "y"),
]


@every_isa
@both_types
@pytest.mark.parametrize(("kernel", "source", "target"), IN_PLACE)
def test_results_in_place_are_the_same(kernel, source, target, dtype, isa):
    call = kernels_of(isa)[kernel]

    def check(_, arguments):
        apart, in_place = copied(arguments), copied(arguments)
        in_place[target] = in_place[source]
        call(**apart)
        call(**in_place)
        assert bits(in_place[target]) == bits(apart[target])

    check_each(rounding_cases(kernel, dtype), check)
