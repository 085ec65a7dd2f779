"""Load EMNIST, handwritten letters and digits in the format of MNIST (Cohen et al. 2017), from files."""

import os
from pathlib import Path

import numpy as np

from fastnn.data.errors import DatasetNotFoundError
from fastnn.data.folders import default_folder
from fastnn.data.mnist import load_pair
from fastnn.data.mnist_formats import Part, Parts

# The splits, and a bound on their labels. The labels of "letters" are 1 to 26.
SPLITS = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 27, "mnist": 10}


def emnist(split: str = "balanced", path: str | os.PathLike[str] | None = None) -> Parts:
    """Load a split of EMNIST from its four IDX files, plain or compressed with gzip.

    Args:
        split: "balanced", "byclass", "bymerge", "digits", "letters" or "mnist".
        path: The folder with the files emnist-<split>-train-images-idx3-ubyte and so on, or whose folder gzip
            has them, as in the archive from NIST. Default: $FASTNN_DATA/emnist, or else fastnn/emnist in the
            user's cache folder.

    Returns:
        ((x_train, y_train), (x_test, y_test)): images x, uint8 (N, 28, 28), upright like those of MNIST (the
        files hold them transposed), and labels y, int64 (N,), as in the files: 0 to 46 or 61, or 1 to 26.

    Raises:
        DatasetNotFoundError: If a file is missing.
        DatasetError: If a file is damaged or does not have 28 x 28 images with one label each.
        ValueError: If the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r:.80}: choose one of {', '.join(SPLITS)}")
    folder = default_folder("emnist") if path is None else Path(path)
    return _part(folder, split, "train"), _part(folder, split, "test")


def _part(folder: Path, split: str, role: str) -> Part:
    """The upright images and the labels of the training or the test set."""
    images = _file(folder, f"emnist-{split}-{role}-images-idx3-ubyte")
    labels = _file(folder, f"emnist-{split}-{role}-labels-idx1-ubyte")
    x, y = load_pair(images, labels, SPLITS[split])
    return np.ascontiguousarray(x.transpose(0, 2, 1)), y


def _file(folder: Path, name: str) -> Path:
    for file in (place / f"{name}{suffix}" for place in (folder, folder / "gzip") for suffix in ("", ".gz")):
        if file.is_file():
            return file
    raise DatasetNotFoundError(
        f"EMNIST is not in {folder}: {name} is missing, plain or .gz. Unpack gzip.zip from "
        "https://www.nist.gov/itl/products-and-services/emnist-dataset there, or set FASTNN_DATA to the "
        "folder that has it in emnist/"
    )
