"""Benchmark dropout. There are enough elements that no processor learns which of them are dropped."""

import numpy as np

from bench.racing import kernel_race, race_kernel


@kernel_race((128, 128), (128, 1024))
def test_dropout(benchmark, shape, contestant):
    x, y = np.ones(shape, np.float32), np.empty(shape, np.float32)
    arguments = x, np.array([1], np.uint64), 0.5, y
    race_kernel(benchmark, "dropout", shape, contestant, arguments, flop=x.size, nbytes=2 * x.nbytes)
