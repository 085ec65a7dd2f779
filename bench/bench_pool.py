"""Benchmark 2 x 2 pooling of a small CNN's images: N images of H x W pixels and C channels."""

import numpy as np

from bench.racing import kernel_race, race_kernel

race = kernel_race((128, 28, 28, 32), (128, 14, 14, 64))

STEPS = (2, 2), (2, 2), (0, 0)  # window, stride, padding


def make_arrays(shape):
    """Return x and y (or dx and dy) with standard normal values, and taps."""
    N, H, W, C = shape
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s, np.float32) for s in (shape, (N, H // 2, W // 2, C)))
    return x, y, rng.integers(0, 4, y.shape, np.int32)


@race
def test_max_pool_forward(benchmark, shape, contestant):
    x, y, taps = make_arrays(shape)
    race_kernel(benchmark, "max_pool_forward", shape, contestant, (x, *STEPS, y, taps), flop=x.size)


@race
def test_max_pool_dx(benchmark, shape, contestant):
    dx, dy, taps = make_arrays(shape)
    race_kernel(benchmark, "max_pool_dx", shape, contestant, (dy, taps, *STEPS, dx), flop=dx.size)


@race
def test_avg_pool_forward(benchmark, shape, contestant):
    x, y, _ = make_arrays(shape)
    race_kernel(benchmark, "avg_pool_forward", shape, contestant, (x, *STEPS, True, y), flop=x.size)


@race
def test_avg_pool_dx(benchmark, shape, contestant):
    dx, dy, _ = make_arrays(shape)
    race_kernel(benchmark, "avg_pool_dx", shape, contestant, (dy, *STEPS, True, dx), flop=dx.size)
