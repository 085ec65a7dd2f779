"""CIFAR-10: 60,000 colour images of ten kinds of things (Krizhevsky 2009), from a local folder."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastnn.data.errors import DatasetError, DatasetNotFoundError
from fastnn.data.idx import READ_ERRORS, open_unpacked

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SIDE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIDE * SIDE  # a label, then the red, the green and the blue pixels

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def cifar10(folder: str | os.PathLike[str] | None = None) -> tuple[Part, Part]:
    """CIFAR-10 as ((x_train, y_train), (x_test, y_test)).

    x: uint8 (N, 32, 32, 3). y: int64 (N,), indices into `CLASSES` of this module.

    The files of the binary version are looked for in `folder`, or else in $FASTNN_DATA/cifar10, or else in
    fastnn/cifar10 in the user's cache folder, and there in cifar-10-batches-bin, too: all `data_batch_*.bin`
    in the order of their names for training, and `test_batch*.bin`, plain or gzip. The complete data set has
    50,000 and 10,000 images; a part of the files gives a part of them.

    Raises DatasetNotFoundError when files are missing, and DatasetError when one is damaged.
    """
    where = _default_folder() if folder is None else Path(folder)
    return _load(where, "data_batch_*.bin"), _load(where, "test_batch*.bin")


def _default_folder() -> Path:
    if data := os.environ.get("FASTNN_DATA"):
        return Path(data, "cifar10")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fastnn", "cifar10")


def _load(folder: Path, pattern: str) -> Part:
    """All images of the files whose names are like the pattern."""
    places = (folder, folder / "cifar-10-batches-bin")
    files = {
        file.name.removesuffix(".gz"): file
        for suffix in (".gz", "")  # the plain one of two counts
        for place in places
        for file in place.glob(pattern + suffix)
        if file.is_file()
    }
    if not files:
        raise DatasetNotFoundError(
            f"CIFAR-10 is not in {folder}: there is no {pattern}. Unpack cifar-10-binary.tar.gz there "
            "(https://www.cs.toronto.edu/~kriz/cifar.html, MD5 c32a1d4ab5d03f1284b67883e8d87530), or set "
            "FASTNN_DATA to the folder in which cifar10/ holds its files"
        )
    parts = [_read(files[name]) for name in sorted(files)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _read(path: Path) -> Part:
    try:
        with open_unpacked(path) as stream:
            content = np.frombuffer(stream.read(), np.uint8)
    except READ_ERRORS as error:
        raise DatasetError(f"{path}: {error}") from error
    if content.size == 0 or content.size % RECORD:
        raise DatasetError(f"{path}: it has {content.size} bytes, which are no whole number of {RECORD}")
    records = content.reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        row = int(labels.argmax())
        raise DatasetError(
            f"{path}: image {row} has the label {labels[row]}, but there are {len(CLASSES)} classes"
        )
    pixels = records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels
