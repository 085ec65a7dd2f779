"""Benchmark convolution and its gradients: naive loops, NumPy matrix products, compiled kernels, PyTorch.

The shapes are small; `python bench/conv_table.py` measures the layers of well-known nets. A shape is named by
image, filters and batch size: 14x14x6-5x5x16 b16.
"""

import importlib.util

import numpy as np
import pytest

from bench.convolutions import KERNELS, PIECES, Batch, Convolution, by_kernels, by_torch, in_our_layout
from bench.racing import assert_close, time_contestant
from fastnn import kernels
from fastnn.naive import conv as naive_conv

# (geometry, batch size). TINY is small enough for Python loops. SHAPES: LeNet-5's two layers, and one of a
# small CNN.
TINY = (Convolution(6, 2, 3, 3), 1)
SHAPES = (
    (Convolution(28, 1, 5, 6, padding=2), 16),
    (Convolution(14, 6, 5, 16), 16),
    (Convolution(14, 32, 3, 64, padding=1), 16),
)

# Contestant -> suffix of its functions in fastnn.naive.conv. "numpy" is what one would write without fastnn.
NAIVE = {"naive-loops": "loops", "numpy": "columns", "numpy-shifts": "shifts"}
TORCH = {"torch": False, "torch-channels-last": True} if importlib.util.find_spec("torch") else {}
CONTESTANTS = ("numpy", "numpy-shifts", "jit", "aot", *TORCH)
RACES = [(TINY, name) for name in ("naive-loops", *CONTESTANTS)]
RACES += [(shape, name) for shape in SHAPES for name in CONTESTANTS]


def call_of(contestant, piece, batch):
    if contestant in TORCH:
        return by_torch(batch, (piece,), TORCH[contestant])[piece]
    if contestant in NAIVE:
        function = getattr(naive_conv, f"{piece}_{NAIVE[contestant]}")
    else:
        function = kernels.load(contestant)[KERNELS[piece]]
    return by_kernels(batch, {piece: function})[piece]


# There are many races, so each takes only a fifth of a second.
@pytest.mark.benchmark(max_time=0.2, min_rounds=5, disable_gc=True)
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    ("shape", "contestant"), RACES, ids=[f"{conv} b{rows}-{name}" for (conv, rows), name in RACES]
)
def test_convolution(benchmark, shape, contestant, piece):
    conv, rows = shape
    batch = Batch(conv, rows)
    expected = by_kernels(batch, {piece: kernels.load("ref")[KERNELS[piece]]})[piece]()
    call = call_of(contestant, piece, batch)
    arrays = {"forward": (batch.x, batch.w, batch.b, batch.dy)}.get(piece, (batch.x, batch.w, batch.dy))
    time_contestant(
        benchmark,
        call,
        # The tolerance allows for sums of up to 12,544 products.
        lambda: assert_close(in_our_layout(piece, call()), expected, 1e-4),
        race=KERNELS[piece],
        shape=f"{conv} b{rows}",
        contestant=contestant,
        dtype=np.dtype(np.float32),
        flop=conv.flop(rows),
        nbytes=sum(array.nbytes for array in arrays),
    )
