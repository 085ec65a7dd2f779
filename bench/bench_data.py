"""Gathering a mini-batch from a data set: `M` rows of `D` features."""

import numpy as np

from bench.racing import kernel_race, race_kernel


@kernel_race((32, 784))
def test_gather(benchmark, shape, contestant):
    """From 60,000 rows of bytes, as many as MNIST has. The same rows each time, so they are in the cache."""
    M, D = shape
    rng = np.random.default_rng(0)
    source = rng.integers(256, size=(60_000, D), dtype=np.uint8)
    index, out = rng.integers(len(source), size=M), np.empty(shape, np.float32)
    race_kernel(
        benchmark,
        "gather",
        shape,
        contestant,
        (source, index, 1 / 255, out),
        flop=out.size,
        nbytes=M * D * source.itemsize + index.nbytes + out.nbytes,
    )
