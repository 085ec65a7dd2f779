"""Where an array lies in memory is nowhere in the bits, nor whether an output is an input."""

import numpy as np
import pytest

from fastnn.kernels import core, load

from .cases import CASES
from .test_same_bits import KERNELS, arrays, bits, both_types, copied, every_isa


def put(array, offset):
    """A copy that begins `offset` elements behind a cache line."""
    memory = np.zeros(array.nbytes + 128 + offset * array.itemsize, np.uint8)
    begin = -memory.ctypes.data % 64 + offset * array.itemsize
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert not copy.size or copy.ctypes.data % 64 == offset * array.itemsize % 64
    return copy


@every_isa
@both_types
@pytest.mark.parametrize("kernel", KERNELS)
def test_alignment_does_not_show(kernel, dtype, isa):
    core.select_isa(isa)
    core.set_num_threads(3)
    for case in (case for case in CASES if case.kernel == kernel and not case.whole):
        arguments = case.arguments(dtype)
        results = []
        for offset, step in ((0, 0), (1, 0), (0, 1), (5, 3)):  # all aligned, all alike, each different
            placed = {
                name: put(a, offset + step * which) if isinstance(a, np.ndarray) else a
                for which, (name, a) in enumerate(arguments.items())
            }
            load("aot")[kernel](**placed)
            results.append({name: bits(array) for name, array in arrays(placed).items()})
        for result in results[1:]:
            assert result == results[0], str(case)


IN_PLACE = [
    *((f"{name}_forward", "x", "y") for name in ("relu", "sigmoid", "tanh")),
    *((f"{name}_dx", other, "dx") for name in ("relu", "sigmoid", "tanh") for other in ("y", "dy")),
    *(("add", other, "y") for other in ("x1", "x2")),
    ("dropout", "x", "y"),
]


@every_isa
@both_types
@pytest.mark.parametrize(("kernel", "source", "target"), IN_PLACE)
def test_work_in_place_does_not_show(kernel, source, target, dtype, isa):
    core.select_isa(isa)
    for case in (case for case in CASES if case.kernel == kernel and not case.whole):
        apart = case.arguments(dtype)
        in_place = copied(apart)
        in_place[target] = in_place[source]
        load("aot")[kernel](**apart)
        load("aot")[kernel](**in_place)
        assert bits(in_place[target]) == bits(apart[target]), str(case)
