"""Load CIFAR-10, 60,000 colour images of ten classes (Krizhevsky 2009), from a local folder."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastnn.data.errors import DatasetError, DatasetNotFoundError
from fastnn.data.folders import default_folder
from fastnn.data.unpacking import read_unpacked

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SIDE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIDE * SIDE  # a label, then the red, the green and the blue pixels
LIMIT = 60_000 * RECORD  # bytes: the whole data set in one file

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def cifar10(folder: str | os.PathLike[str] | None = None) -> tuple[Part, Part]:
    """Load CIFAR-10 from the files of its binary version.

    Args:
        folder: Folder with the files, or with a folder cifar-10-batches-bin that has them. Default:
            $FASTNN_DATA/cifar10, or else fastnn/cifar10 in the user's cache folder. The training set is made
            from all files `data_batch_*.bin`, in the order of their names, the test set from
            `test_batch*.bin`; the files may be compressed with gzip. The Python version of the data set is
            not read, because a pickle can run code.

    Returns:
        ((x_train, y_train), (x_test, y_test)): images x, uint8 (N, 32, 32, 3), and labels y, int64 (N,),
        which are indices into `CLASSES` of this module. The complete data set has 50,000 and 10,000 images;
        with fewer files there are fewer images.

    Raises:
        DatasetNotFoundError: If files are missing.
        DatasetError: If a file is damaged, or has more than 60,000 images.
    """
    source = default_folder("cifar10") if folder is None else Path(folder)
    return _load(source, "data_batch_*.bin"), _load(source, "test_batch*.bin")


def _load(folder: Path, pattern: str) -> Part:
    """Load the images of all files whose names match the pattern, with or without `.gz`."""
    places = (folder, folder / "cifar-10-batches-bin")
    files = {
        file.name.removesuffix(".gz"): file
        for suffix in (".gz", "")  # a plain file replaces a compressed one of the same name
        for place in places
        for file in place.glob(pattern + suffix)
        if file.is_file()
    }
    if not files:
        raise DatasetNotFoundError(
            f"CIFAR-10 is not in {folder}: there is no {pattern}. Unpack cifar-10-binary.tar.gz there "
            "(https://www.cs.toronto.edu/~kriz/cifar.html, MD5 c32a1d4ab5d03f1284b67883e8d87530), or set "
            "FASTNN_DATA to the folder that has the files in cifar10/"
        )
    parts = [_read(files[name]) for name in sorted(files)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _read(path: Path) -> Part:
    """Read the images and labels of one file. Raises DatasetError if the file is damaged."""
    content = np.frombuffer(read_unpacked(path, LIMIT), np.uint8)
    if content.size == 0 or content.size % RECORD:
        raise DatasetError(
            f"{path}: the size must be a positive multiple of {RECORD} bytes, not {content.size} bytes"
        )
    records = content.reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        row = int(labels.argmax())
        raise DatasetError(
            f"{path}: image {row} has the label {labels[row]}, but there are {len(CLASSES)} classes"
        )
    pixels = records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels
