"""Benchmark the products of a fully connected layer: M rows, K features in, N features out, B matrices."""

import math

import numpy as np

from bench.racing import kernel_race, race_kernel

# (M, K, N): the first two layers of 784-128-64-32-10, and a layer whose weights fill an L2 cache;
# (B, M, K, N): a batch of matrices.
race = kernel_race((32, 784, 128), (32, 128, 64), (256, 1024, 1024), (16, 32, 64, 64))


def make_arrays(shape):
    """Return x, w, b, y (or dx, dw, db, dy) with standard normal values."""
    *B, M, K, N = shape
    rng = np.random.default_rng(0)
    return [rng.standard_normal((*B, *sides), np.float32) for sides in ((M, K), (K, N), (N,), (M, N))]


@race
def test_dense_forward(benchmark, shape, contestant):
    x, w, b, y = make_arrays(shape)
    flop = 2 * math.prod(shape) + y.size
    race_kernel(benchmark, "dense_forward", shape, contestant, (x, w, b, y), flop=flop)


@race
def test_dense_dx(benchmark, shape, contestant):
    dx, w, _, dy = make_arrays(shape)
    race_kernel(benchmark, "dense_dx", shape, contestant, (dy, w, dx), flop=2 * math.prod(shape))


@race
def test_dense_dw(benchmark, shape, contestant):
    x, dw, _, dy = make_arrays(shape)
    race_kernel(benchmark, "dense_dw", shape, contestant, (x, dy, dw), flop=2 * math.prod(shape))
