"""`fn.data.cifar10`: the real files if present, some of the files, and damaged files."""

import gzip
import importlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fastnn.data import DatasetError, DatasetNotFoundError, cifar10


def batch(labels, seed=0):
    """The bytes of a file with these labels and random pixels, and its images (N, 32, 32, 3)."""
    x = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3)).astype(np.uint8)
    records = [
        bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, x, strict=True)
    ]
    return b"".join(records), x


def test_the_real_files_load():
    if "FASTNN_DATA" not in os.environ or not Path(os.environ["FASTNN_DATA"], "cifar10").is_dir():
        pytest.skip("the real CIFAR-10 is looked for in $FASTNN_DATA/cifar10 only")
    (x, y), (x_test, y_test) = cifar10()
    assert len(x) % 10_000 == 0
    assert x.shape[1:] == x_test.shape[1:] == (32, 32, 3)
    assert (x.dtype, y.dtype) == (np.uint8, np.int64)
    assert y[:9].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8]
    assert set(y) == set(y_test) == set(range(10))
    # Neighbouring pixels are similar in each channel, so the axes are in the right order.
    smooth = np.abs(np.diff(x[:200].astype(int), axis=2)).mean()
    assert smooth < np.abs(np.diff(x[:200].astype(int), axis=3)).mean() + 15 < 40


def test_batches_are_joined_in_the_order_of_their_names(tmp_path):
    first, x_first = batch([3, 1])
    second, x_second = batch([9], seed=1)
    test, x_test = batch([0, 2, 4], seed=2)
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "data_batch_2.bin").write_bytes(second)
    (tmp_path / "data_batch_1.bin.gz").write_bytes(gzip.compress(first))
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(test)
    (x, y), (got, labels) = cifar10(tmp_path)
    assert np.array_equal(x, np.concatenate([x_first, x_second]))
    assert y.tolist() == [3, 1, 9]
    assert np.array_equal(got, x_test)
    assert labels.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch([1])[0][:-1], "3072 bytes"),
        (b"", "0 bytes"),
        (batch([1, 10])[0], "image 1 has the label 10"),
        (gzip.compress(batch([1])[0])[:-20], ""),
    ],
)
def test_errors_name_the_damaged_file(tmp_path, content, message):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    (tmp_path / "test_batch.bin").write_bytes(batch([0])[0])
    with pytest.raises(DatasetError, match=f"data_batch_1.bin: .*{message}"):
        cifar10(tmp_path)


def test_files_of_too_many_images_are_rejected_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("fastnn.data.cifar10"), "LIMIT", 2 * 3073)
    path = tmp_path / "data_batch_1.bin"
    (tmp_path / "test_batch.bin").write_bytes(batch([0, 1])[0])
    for content in (bytes(3 * 3073), gzip.compress(bytes(64 << 20))):
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DatasetError, match=f"{len(content)} bytes, has more than 6146 bytes when"):
            cifar10(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


def test_pickles_are_not_read(tmp_path):
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(b"cos\nabort\n(tR.")
    with pytest.raises(DatasetNotFoundError, match=r"no data_batch_\*.bin"):
        cifar10(tmp_path)


def test_the_error_for_missing_files_says_where_to_get_them(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(batch([0])[0])
    with pytest.raises(DatasetNotFoundError, match=r"no test_batch\*.bin. Unpack cifar-10-binary.tar.gz"):
        cifar10(tmp_path)
