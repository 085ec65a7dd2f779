"""Benchmark group normalisation of a small CNN's images: N samples, S pixels, C channels in 8 groups."""

import numpy as np

from bench.racing import kernel_race, race_kernel

EPSILON, GROUPS = 1e-5, 8

# 32 images of 28 x 28 and of 14 x 14.
race = kernel_race((32, 28 * 28, 32), (32, 14 * 14, 64))


def make_arrays(shape):
    """Return x, dy and an output (N, S, C), two arrays (C,) and moments (N, 2, C)."""
    rng = np.random.default_rng(0)
    x, dy, out = (rng.standard_normal(shape, np.float32) for _ in range(3))
    gamma, beta = rng.random((2, shape[2]), np.float32) + 1
    moments = rng.random((shape[0], 2, GROUPS), np.float32).repeat(shape[2] // GROUPS, axis=2)
    return x, dy, out, gamma, beta, moments


@race
def test_group_norm_forward(benchmark, shape, contestant):
    x, _, y, gamma, beta, moments = make_arrays(shape)
    arguments = (x, GROUPS, gamma, beta, EPSILON, y, moments)
    race_kernel(benchmark, "group_norm_forward", shape, contestant, arguments, flop=8 * x.size)


@race
def test_group_norm_dx(benchmark, shape, contestant):
    x, dy, dx, gamma, _, moments = make_arrays(shape)
    arguments = (x, dy, GROUPS, gamma, moments, dx)
    race_kernel(benchmark, "group_norm_dx", shape, contestant, arguments, flop=10 * x.size)


@race
def test_group_norm_dw(benchmark, shape, contestant):
    x, dy, _, dgamma, dbeta, moments = make_arrays(shape)
    arguments = (x, dy, moments, dgamma, dbeta)
    race_kernel(benchmark, "group_norm_dw", shape, contestant, arguments, flop=5 * x.size)
