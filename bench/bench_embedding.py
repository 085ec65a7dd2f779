"""Benchmark the embedding and its gradient: M tokens, V vectors of D elements."""

import numpy as np

from bench.racing import kernel_race, race_kernel

# 64 texts of 128 tokens.
race = kernel_race((64 * 128, 10_000, 64), (64 * 128, 30_000, 128))


def make_arrays(shape):
    """Return indices (M,), a table (V, D) and rows (M, D)."""
    M, V, D = shape
    rng = np.random.default_rng(0)
    index = rng.integers(0, V, M).astype(np.float32)
    return index, rng.standard_normal((V, D), np.float32), rng.standard_normal((M, D), np.float32)


@race
def test_embedding_forward(benchmark, shape, contestant):
    x, w, y = make_arrays(shape)
    race_kernel(benchmark, "embedding_forward", shape, contestant, (x, w, y), flop=y.size)


@race
def test_embedding_dw(benchmark, shape, contestant):
    x, dw, dy = make_arrays(shape)
    race_kernel(benchmark, "embedding_dw", shape, contestant, (x, dy, 0, dw), flop=dy.size + dw.size)
