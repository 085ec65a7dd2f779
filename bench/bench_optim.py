"""Benchmark optimizer updates of a weight matrix (K, N) with its gradient and moments."""

import numpy as np

from bench.racing import kernel_race, race_kernel

LR = 1e-3

race = kernel_race((784, 128))


def make_arrays(shape):
    """Return g, p and two moments, the second one positive."""
    rng = np.random.default_rng(0)
    g, p, m, v = (rng.standard_normal(shape, np.float32) for _ in range(4))
    return g, p, m, np.abs(v)


@race
def test_sgd(benchmark, shape, contestant):
    g, p, _, _ = make_arrays(shape)
    hyper = np.array([LR, 0.0, 0.0, 0.0])
    race_kernel(benchmark, "sgd", shape, contestant, (g, hyper, None, p), flop=2 * p.size)


@race
def test_sgd_with_momentum(benchmark, shape, contestant):
    g, p, v, _ = make_arrays(shape)
    hyper = np.array([LR, 0.9, 0.0, 0.0])
    arguments = (g, hyper, v, p)
    race_kernel(benchmark, "sgd", shape, contestant, arguments, flop=4 * p.size, race="sgd_momentum")


@race
def test_adam(benchmark, shape, contestant):
    g, p, m, v = make_arrays(shape)
    hyper = np.array([LR, 0.9, 0.999, 1e-8, 0.0, 1 - 0.9**10, 1 - 0.999**10, 0])
    # Per element: 3 for m, 4 for v, then root, scaling, eps, quotient, learning rate, difference.
    race_kernel(benchmark, "adam", shape, contestant, (g, hyper, m, v, p), flop=13 * p.size)


@race
def test_rmsprop(benchmark, shape, contestant):
    g, p, _, v = make_arrays(shape)
    hyper = np.array([LR, 0.99, 1e-8, 0.0, 0.0])
    race_kernel(benchmark, "rmsprop", shape, contestant, (g, hyper, v, None, None, p), flop=9 * p.size)


@race
def test_ema(benchmark, shape, contestant):
    _, p, average, _ = make_arrays(shape)
    arguments = p, np.array([1000]), 0.999, True, average
    race_kernel(benchmark, "ema", shape, contestant, arguments, flop=3 * p.size)
