"""Benchmark losses with their gradients, computed in one pass: M rows, C classes."""

import numpy as np

from bench.racing import kernel_race, race_kernel
from fastnn.kernels import REDUCTIONS

race_of_labels = kernel_race((32, 10), (128, 1000))


def label_arguments(shape, option):
    """The arguments of a kernel of labels; `option` is its smoothing or its gamma."""
    M, C = shape
    rng = np.random.default_rng(0)
    z, label = rng.standard_normal(shape, np.float32), rng.integers(C, size=M)
    losses, loss, dz = np.empty(M, np.float32), np.empty(1), np.empty_like(z)
    return z, label, None, option, REDUCTIONS["mean"], losses, loss, dz


@race_of_labels
def test_cross_entropy_labels(benchmark, shape, contestant):
    arguments = label_arguments(shape, 0.0)
    # Per element: maximum, difference, exponential (counted as one), sum, quotient, scaling.
    flop = 6 * arguments[0].size
    race_kernel(benchmark, "cross_entropy_labels", shape, contestant, arguments, flop=flop)


@race_of_labels
def test_focal_labels(benchmark, shape, contestant):
    arguments = label_arguments(shape, 2.0)
    flop = 6 * arguments[0].size
    race_kernel(benchmark, "focal_labels", shape, contestant, arguments, flop=flop)


@kernel_race((128, 1), (128, 784))
def test_binary_cross_entropy(benchmark, shape, contestant):
    rng = np.random.default_rng(0)
    z, target = rng.standard_normal(shape, np.float32), rng.integers(0, 2, shape).astype(np.float32)
    losses, loss, dz = np.empty_like(z), np.empty(1), np.empty_like(z)
    arguments = (z, target, None, 0.0, REDUCTIONS["mean"], losses, loss, dz)
    # Per element: exponential, logarithm, two quotients, two sums of two products.
    race_kernel(benchmark, "binary_cross_entropy", shape, contestant, arguments, flop=10 * z.size)


@kernel_race((128, 784, 1), (16, 4096, 4))
def test_dice(benchmark, shape, contestant):
    rng = np.random.default_rng(0)
    z, target = rng.standard_normal(shape, np.float32), rng.integers(0, 2, shape).astype(np.float32)
    losses, loss, dz = np.empty((shape[0], shape[2]), np.float32), np.empty(1), np.empty_like(z)
    arguments = (z, target, None, 1.0, REDUCTIONS["mean"], losses, loss, dz)
    # Per element: exponential and quotient, twice; product and two sums; the gradient's four products.
    race_kernel(benchmark, "dice", shape, contestant, arguments, flop=12 * z.size)
