"""Read MNIST from CSV, .npz, .mat and pickle files, recognized by their content, not by their names.

The formats are::

    csv     one line per image, with the label and 784 pixels; one file for each part, training and test set
    npz     NumPy archive with images and labels of both parts, named x_train, y_train, x_test and y_test as
            in Keras, or by other names, which are recognized by their shapes
    mat     MATLAB file (version 5 to 7) with matrices train0 ... train9 and test0 ... test9, one row per
            image; or with four arrays, as in an npz file; or mnist-original.mat: data (784, 70000) and label
            (1, 70000), the 60,000 training images first
    pickle  mnist.pkl.gz of the Theano tutorials: the pairs (images, labels) of 50,000, 10,000 and 10,000
            images, of which the first two are the training set
"""

import re
import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.data.csv import read_csv
from fastnn.data.csv_header import DELIMITERS
from fastnn.data.errors import DatasetError
from fastnn.data.mat import matrices
from fastnn.data.pickled import read_arrays
from fastnn.data.unpacking import read_start, read_unpacked

Array = NDArray[Any]
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
Parts = tuple[Part, Part]

PIXELS = 28 * 28
CLASSES = 10
TRAINING, TEST = 60_000, 10_000  # images

# A line of 785 numbers from 0 to 255 is shorter than this, even with a few blanks per number.
LONGEST_LINE = 1 << 14

# Bytes that the arrays of a file may have: 70,000 images and labels as float64 take 440 MB.
LIMIT = 1 << 29

# Words in the names of files and arrays that tell the training set from the test set.
ROLES = (("train",), ("test", "t10k"))


def format_of(file: Path) -> str | None:
    """Return "csv", "npz", "mat" or "pickle" by the first bytes of `file`, or None for another format.

    Raises DatasetNotFoundError if there is no such file, and DatasetError if it cannot be read, or if it is a
    file of MATLAB 7.3.
    """
    start = read_start(file, LONGEST_LINE)
    if start.startswith(b"PK\x03\x04"):
        # Many formats are zip archives. The name of the first member follows a header of 30 bytes.
        name = start[30 : 30 + int.from_bytes(start[26:28], "little")]
        return "npz" if name.endswith(b".npy") else None
    if start.startswith(b"PK\x05\x06"):  # an empty archive
        return "npz"
    if start.startswith(b"MATLAB 5.0 MAT-file"):
        return "mat"
    if start.startswith(b"MATLAB 7.3 MAT-file"):
        raise DatasetError(f"{file}: files of MATLAB 7.3 are not supported: save it in MATLAB with -v7")
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):  # protocols since 2003
        return "pickle"
    line, *_ = start.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    columns = 1 + max(line.count(delimiter.encode()) for delimiter in DELIMITERS)
    return "csv" if columns == 1 + PIXELS and b"\0" not in line else None


def read_both(file: Path) -> Parts:
    """Read training and test set from one .npz, .mat or pickle file. Raises DatasetError."""
    readers = {"npz": _arrays_of_npz, "mat": _arrays_of_mat}
    form = format_of(file)
    if form == "csv":
        raise DatasetError(
            f"{file} has one part of MNIST: pass both files, as mnist((train, test)), or their folder"
        )
    if form is None:
        raise DatasetError(
            f"{file} is not a file of MNIST: it is no .npz, .mat or pickle file, and its first line does "
            f"not have a label and {PIXELS} pixels"
        )
    if form == "pickle":
        return _parts_of_pickle(file)
    arrays = readers[form](file)
    if {"data", "label"} <= arrays.keys() and arrays["data"].ndim == 2 and len(arrays["data"]) == PIXELS:
        return _training_first_of_one(file, arrays["data"].T, arrays["label"])
    if form == "mat" and any(re.fullmatch(r"(train|test)\d+", name) for name in arrays):
        return _by_digit(file, arrays, "train"), _by_digit(file, arrays, "test")
    return _by_name_or_shape(file, arrays)


def read_csv_part(file: Path) -> Part:
    """Read the training or the test set from a CSV file. Raises DatasetError or DatasetNotFoundError."""
    form = format_of(file)
    if form in ("npz", "mat", "pickle"):
        raise DatasetError(f"{file} is a .{form} file, which has both parts: pass this file alone")
    pixels, labels = read_csv(file, label=0, dtype=np.uint8)
    assert labels is not None  # because label=0
    return checked_part(file, pixels, labels)


def training_first(files: tuple[Path, Path], parts: Parts) -> Parts:
    """Order the parts of two files, training set first: by the names of the files, or else by size."""
    if by_name := _roles([file.name for file in files]):
        return parts[by_name[0]], parts[by_name[1]]
    sizes = [len(labels) for _, labels in parts]
    if sizes[0] == sizes[1]:
        raise DatasetError(
            f"{files[0]} and {files[1]} have {sizes[0]} images each, so it is unclear which is the training "
            "set: pass mnist((train, test))"
        )
    return parts if sizes[0] > sizes[1] else (parts[1], parts[0])


def checked_part(where: Path | str, x: Array, y: Array, names: tuple[str, str] = ("", "")) -> Part:
    """Convert arrays in one of several forms to images, uint8 (N, 28, 28), and labels, int64 (N,).

    Args:
        where: Name of the file, for error messages.
        x: Images (N, 28, 28), (N, 28, 28, 1) or (N, 784): integers from 0 to 255, or floats from 0 to 1 that
            are such integers / 255.
        y: Labels (N,), (N, 1) or (1, N), or one-hot (N, 10).
        names: Names of the two arrays in the file, for error messages.

    Raises:
        DatasetError: If an array has another form.
    """
    x_name, y_name = (f"{where}, {name}" if name else f"{where}" for name in names)
    if x.ndim < 2 or prod(x.shape[1:]) != PIXELS:
        raise DatasetError(f"{x_name}: images must be (N, 28, 28) or (N, {PIXELS}), not {x.shape}")
    images = _pixels(x_name, x).reshape(-1, 28, 28)
    if y.dtype.kind not in "buif":
        raise DatasetError(f"{y_name}: labels must be numbers, not {y.dtype}")
    if y.shape == (len(x), CLASSES) and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
        y = y.argmax(axis=1)
    labels = y.reshape(-1)
    if max(y.shape, default=0) != y.size or len(labels) != len(images):
        raise DatasetError(f"{y_name}: there must be one label for each of {len(x)} images, not {y.shape}")
    wrong = np.flatnonzero(~((labels >= 0) & (labels < CLASSES) & (labels == np.floor(labels))))
    if len(wrong):
        raise DatasetError(
            f"{y_name}: labels must be digits from 0 to 9, not {labels[wrong[0]]} (at index {wrong[0]})"
        )
    return images, labels.astype(np.int64)


def _pixels(where: str, x: Array) -> NDArray[np.uint8]:
    """Convert pixels to uint8. Raises DatasetError unless they are integers up to 255, or those / 255."""
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind not in "buif":
        raise DatasetError(f"{where}: pixels must be numbers, not {x.dtype}")
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):
        raise DatasetError(f"{where}: pixels must be from 0 to 255, not from {low:g} to {high:g}")
    scaled = x * 255.0 if x.dtype.kind == "f" and high <= 1 else x
    if x.dtype.kind == "f" and high == 255 / 256:  # mnist.pkl.gz
        scaled = x * 256.0
    rounded = np.rint(scaled)
    if np.abs(scaled - rounded).max(initial=0) > 1e-3:
        raise DatasetError(f"{where}: pixels must be integers from 0 to 255, or such integers / 255")
    return rounded.astype(np.uint8)


def _arrays_of_npz(file: Path) -> dict[str, Array]:
    """Read all arrays of an archive, by name. Raises DatasetError if the file is damaged or too large."""
    content = BytesIO(read_unpacked(file, LIMIT))
    try:
        # zipfile reads no more bytes of a member than the archive's directory states.
        nbytes = sum(member.file_size for member in zipfile.ZipFile(content).infolist())
        if nbytes > LIMIT:
            raise ValueError(f"{len(content.getbuffer())} bytes unpack to {nbytes}, more than {LIMIT}")
        with np.load(content, allow_pickle=False) as archive:
            # Other files of an archive are bytes.
            return {name: member for name in archive.files if isinstance(member := archive[name], np.ndarray)}
    except Exception as error:  # damaged files make NumPy, zipfile and tokenize raise many types
        raise DatasetError(f"{file}: {error or type(error).__name__}") from error


def _arrays_of_mat(file: Path) -> dict[str, Array]:
    """Read the matrices of a MATLAB file, by name. Raises DatasetError if it is damaged or too large."""
    content = read_unpacked(file, LIMIT)
    try:
        return matrices(content, LIMIT)
    except ValueError as error:
        raise DatasetError(f"{file}: the file is damaged: {error}") from error


def _parts_of_pickle(file: Path) -> Parts:
    """Read mnist.pkl.gz. Raises DatasetError if it is damaged or holds anything but the three pairs."""
    content = read_unpacked(file, LIMIT)
    try:
        pairs = read_arrays(content)
    except (ValueError, MemoryError) as error:
        raise DatasetError(f"{file}: {error}") from error
    forms = [[isinstance(array, np.ndarray) for array in pair] for pair in pairs if isinstance(pair, list)]
    if forms != [[True, True]] * 3:
        raise DatasetError(
            f"{file}: a pickle must hold three pairs (images, labels): training, validation and test set"
        )
    first, second, test = (checked_part(file, images, labels) for images, labels in pairs)
    return (np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])), test


def _training_first_of_one(file: Path, x: Array, y: Array) -> Parts:
    """Split the 70,000 images of mnist-original.mat, the training set first."""
    images, labels = checked_part(file, x, y, ("data", "label"))
    if len(images) != TRAINING + TEST:
        raise DatasetError(f"{file}: data must have {TRAINING + TEST} images in columns, not {len(images)}")
    return (images[:TRAINING], labels[:TRAINING]), (images[TRAINING:], labels[TRAINING:])


def _by_digit(file: Path, arrays: Mapping[str, Array], role: str) -> Part:
    """Join the part that is stored as one matrix per digit: train0 (N0, 784), train1 (N1, 784), ..."""
    names = [f"{role}{digit}" for digit in range(CLASSES)]
    if missing := [name for name in names if name not in arrays]:
        raise DatasetError(
            f"{file}: missing are {', '.join(missing)}: the file must have a matrix (N, {PIXELS}) for each "
            "digit, train0 to train9 and test0 to test9"
        )
    if beyond := [name for name in arrays if re.fullmatch(rf"{role}\d+", name) and name not in names]:
        raise DatasetError(f"{file} has {', '.join(beyond)}, but the digits are only 0 to 9")
    parts = [
        checked_part(file, arrays[name], np.full(len(arrays[name]), digit), (name, name))
        for digit, name in enumerate(names)
    ]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _by_name_or_shape(file: Path, arrays: Mapping[str, Array]) -> Parts:
    """Find both parts in an archive: two arrays of images and two of labels, paired by name or length."""
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    images = [name for name, a in arrays.items() if a.ndim >= 2 and prod(a.shape[1:]) == PIXELS]
    labels = [name for name, a in arrays.items() if name not in images and _may_be_labels(a)]
    expected = "x_train (N, 28, 28), y_train (N,), x_test (M, 28, 28) and y_test (M,)"
    if len(images) != 2 or len(labels) != 2:
        raise DatasetError(f"{file} must have {expected}, or other names with these shapes, not {shapes}")
    if (roles := _roles(images)) and (roles_of_labels := _roles(labels)):
        images = [images[role] for role in roles]
        labels = [labels[role] for role in roles_of_labels]
    elif len(arrays[images[0]]) == len(arrays[images[1]]):
        raise DatasetError(
            f"{file}: neither names nor lengths tell the training set from the test set: name the arrays "
            f"{expected}. The file has {shapes}"
        )
    else:  # the larger part is the training set
        images.sort(key=lambda name: arrays[name].size, reverse=True)
        labels.sort(key=lambda name: arrays[name].size, reverse=True)
    first, second = (
        checked_part(file, arrays[x], arrays[y], (x, y)) for x, y in zip(images, labels, strict=True)
    )
    return first, second


def _may_be_labels(array: Array) -> bool:
    """Whether the array has a shape of labels, (N,), (N, 1), (1, N) or one-hot (N, 10)."""
    return array.ndim == 1 or (array.ndim == 2 and (1 in array.shape or array.shape[1] == CLASSES))


def _roles(names: list[str]) -> tuple[int, int] | None:
    """Return the index of the training set's name and of the test set's; None if the names do not tell."""
    found = []
    for words in ROLES:
        matches = [i for i, name in enumerate(names) if any(word in name.lower() for word in words)]
        if len(matches) != 1:
            return None
        found += matches
    training, test = found
    return (training, test) if training != test else None
