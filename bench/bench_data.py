"""Benchmark gathering a mini-batch of M rows with D features, and reading digits from a CSV file."""

import numpy as np
import pytest

from bench.racing import kernel_race, race_kernel, time_contestant
from fastnn.data import read_csv


@kernel_race((32, 784), (8192, 784))
def test_gather(benchmark, shape, contestant):
    """Gather from 60,000 rows of bytes, the size of MNIST; the same rows in each call, so 32 are cached."""
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


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(path, table): a CSV file of 10,000 lines with a label and 784 pixels, 80 % of them 0 as in MNIST."""
    rng = np.random.default_rng(0)
    table = rng.integers(256, size=(10_000, 785), dtype=np.uint8) * (rng.random((10_000, 785)) < 0.2)
    path = tmp_path_factory.mktemp("csv") / "digits.csv"
    path.write_bytes(b"".join(b",".join(b"%d" % cell for cell in row) + b"\n" for row in table.tolist()))
    return path, table


def by_numpy(path):
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return table[:, 1:], table[:, 0]


def by_jit(path):
    return read_csv(path)


def by_bytes(path):
    """Read without parsing: the lower bound that the file cache sets."""
    return path.read_bytes()


@pytest.mark.parametrize("by", [by_numpy, by_jit, by_bytes])
def test_read_csv(benchmark, digits, by):
    path, table = digits

    def check():
        if by is not by_bytes:
            x, y = by(path)
            np.testing.assert_array_equal(x, table[:, 1:])
            np.testing.assert_array_equal(y, table[:, 0])

    time_contestant(
        benchmark,
        lambda: by(path),
        check,
        race="read_csv",
        shape="10000x785",
        contestant=by.__name__.removeprefix("by_"),
        dtype="uint8",
        flop=0,
        nbytes=path.stat().st_size,
    )
