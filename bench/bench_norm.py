"""Benchmark batch normalisation of a small CNN's images, and layer normalisation: M rows, C channels."""

import numpy as np

from bench.racing import kernel_race, race_kernel

EPSILON = 1e-5

# The pixels of 128 images of 28 x 28 and of 14 x 14.
race = kernel_race((128 * 28 * 28, 32), (128 * 14 * 14, 64))
race_of_rows = kernel_race((128, 512))


def make_arrays(shape):
    """Return x, dy and an output (M, C), and mean, variance and two more arrays (C,)."""
    rng = np.random.default_rng(0)
    x, dy, out = (rng.standard_normal(shape, np.float32) for _ in range(3))
    mean, var, gamma, beta = rng.random((4, shape[1]), np.float32) + 1
    return x, dy, out, mean, var, gamma, beta


@race
def test_batch_moments(benchmark, shape, contestant):
    x, _, _, mean, var, *_ = make_arrays(shape)
    race_kernel(benchmark, "batch_moments", shape, contestant, (x, mean, var), flop=4 * x.size)


@race
def test_batch_norm_forward(benchmark, shape, contestant):
    x, _, y, mean, var, gamma, beta = make_arrays(shape)
    arguments = (x, mean, var, gamma, beta, EPSILON, y)
    race_kernel(benchmark, "batch_norm_forward", shape, contestant, arguments, flop=3 * x.size)


@race
def test_batch_norm_sums(benchmark, shape, contestant):
    x, dy, _, mean, var, dgamma, dbeta = make_arrays(shape)
    arguments = (x, dy, mean, var, EPSILON, dgamma, dbeta)
    race_kernel(benchmark, "batch_norm_sums", shape, contestant, arguments, flop=4 * x.size)


@race
def test_batch_norm_dx(benchmark, shape, contestant):
    x, dy, dx, mean, var, gamma, sums = make_arrays(shape)
    arguments = (x, dy, mean, var, gamma, EPSILON, sums, sums, dx)
    race_kernel(benchmark, "batch_norm_dx", shape, contestant, arguments, flop=5 * x.size)


@race_of_rows
def test_layer_norm_forward(benchmark, shape, contestant):
    x, _, y, _, _, gamma, beta = make_arrays(shape)
    arguments = (x, gamma, beta, EPSILON, y, np.empty((len(x), 2), np.float32))
    race_kernel(benchmark, "layer_norm_forward", shape, contestant, arguments, flop=8 * x.size)
