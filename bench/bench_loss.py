"""Softmax, cross-entropy and its gradient in one pass: `M` rows, `C` classes."""

import numpy as np

from bench.racing import kernel_race, race_kernel
from fastnn.kernels import REDUCTIONS


@kernel_race((32, 10), (128, 1000))
def test_cross_entropy_labels(benchmark, shape, contestant):
    M, C = shape
    rng = np.random.default_rng(0)
    z, label = rng.standard_normal(shape, np.float32), rng.integers(C, size=M)
    losses, loss, dz = np.empty(M, np.float32), np.empty(1), np.empty_like(z)
    arguments = (z, label, None, 0.0, REDUCTIONS["mean"], losses, loss, dz)
    # Of each element: maximum, difference, exponential (counted as one), sum, quotient, scaling.
    race_kernel(benchmark, "cross_entropy_labels", shape, contestant, arguments, flop=6 * z.size)
