"""MNIST in other files than IDX: CSV, .npz and .mat, told apart by their content, whatever their names.

csv     one line for each image: its label, and 784 pixels; a file for training and another for testing
npz     NumPy's archive with the images and labels of both parts: Keras' x_train, y_train, x_test, y_test,
        or other names, told by their shapes
mat     MATLAB's file (version 5 to 7) of matrices train0 ... train9 and test0 ... test9, a row for each
        image; or of four arrays, as an archive
"""

import re
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.data.csv import DELIMITERS, read_csv
from fastnn.data.errors import DatasetError
from fastnn.data.idx import read_unpacked

Array = NDArray[Any]
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
Parts = tuple[Part, Part]

PIXELS = 28 * 28
CLASSES = 10

# No line of 785 numbers from 0 to 255 is longer, even with a few blanks for each.
LONGEST_LINE = 1 << 14

# How the names of files and arrays say which part they hold.
ROLES = (("train",), ("test", "t10k"))


def format_of(file: Path) -> str | None:
    """One of "csv", "npz" and "mat" by the first bytes of `file`; None for any other.

    Raises DatasetNotFoundError, and DatasetError for what cannot be read, such as files of MATLAB 7.3.
    """
    start = read_unpacked(file, LONGEST_LINE)
    if start.startswith(b"PK\x03\x04"):
        # Many files are zip archives; the name of the first member stands behind a header of 30 bytes.
        name = start[30 : 30 + int.from_bytes(start[26:28], "little")]
        return "npz" if name.endswith(b".npy") else None
    if start.startswith(b"PK\x05\x06"):  # an empty archive
        return "npz"
    if start.startswith(b"MATLAB 5.0 MAT-file"):
        return "mat"
    if start.startswith(b"MATLAB 7.3 MAT-file"):
        raise DatasetError(f"{file}: files of MATLAB 7.3 are not read here: save it there with -v7")
    line, *_ = start.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    columns = 1 + max(line.count(delimiter.encode()) for delimiter in DELIMITERS)
    return "csv" if columns == 1 + PIXELS and b"\0" not in line else None


def read_both(file: Path) -> Parts:
    """The training and the test part that one file holds. Raises DatasetError."""
    readers = {"npz": _arrays_of_npz, "mat": _arrays_of_mat}
    form = format_of(file)
    if form == "csv":
        raise DatasetError(
            f"{file} holds one part of MNIST: pass both files, as mnist((train, test)), or their folder"
        )
    if form is None:
        raise DatasetError(
            f"{file} is no file of MNIST: it is neither .npz nor .mat, nor does its first line have a label "
            f"and {PIXELS} pixels"
        )
    arrays = readers[form](file)
    if form == "mat" and any(re.fullmatch(r"(train|test)\d+", name) for name in arrays):
        return _by_digit(file, arrays, "train"), _by_digit(file, arrays, "test")
    return _by_name_or_shape(file, arrays)


def read_csv_part(file: Path) -> Part:
    """The part that a CSV file holds. Raises DatasetError, DatasetNotFoundError."""
    form = format_of(file)
    if form in ("npz", "mat"):
        raise DatasetError(f"{file} is a .{form} file, which holds both parts: pass it alone")
    pixels, labels = read_csv(file, label=0, dtype=np.uint8)
    assert labels is not None  # since there is a column of them
    return checked_part(file, pixels, labels)


def training_first(files: tuple[Path, Path], parts: Parts) -> Parts:
    """The parts of two files, training before testing: as their names say, or else the larger one first."""
    if by_name := _roles([file.name for file in files]):
        return parts[by_name[0]], parts[by_name[1]]
    sizes = [len(labels) for _, labels in parts]
    if sizes[0] == sizes[1]:
        raise DatasetError(
            f"{files[0]} and {files[1]} hold {sizes[0]} images each: which are for training? Pass "
            "mnist((train, test))"
        )
    return parts if sizes[0] > sizes[1] else (parts[1], parts[0])


def checked_part(where: Path | str, x: Array, y: Array, names: tuple[str, str] = ("", "")) -> Part:
    """Images (N, 28, 28) uint8 and labels (N,) int64 of arrays that say the same in another form.

    x (N, 28, 28), (N, 28, 28, 1) or (N, 784), of whole numbers from 0 to 255 or, as floats, of shares from 0
    to 1; y (N,), (N, 1), (1, N), or one-hot (N, 10). Raises DatasetError.
    """
    of_x, of_y = (f"{where}, {name}" if name else f"{where}" for name in names)
    if x.ndim < 2 or prod(x.shape[1:]) != PIXELS:
        raise DatasetError(f"{of_x}: images must be (N, 28, 28) or (N, {PIXELS}), not {x.shape}")
    images = _pixels(of_x, x).reshape(-1, 28, 28)
    if y.dtype.kind not in "buif":
        raise DatasetError(f"{of_y}: labels must be numbers, not {y.dtype}")
    if y.shape == (len(x), CLASSES) and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
        y = y.argmax(axis=1)
    labels = y.reshape(-1)
    if max(y.shape, default=0) != y.size or len(labels) != len(images):
        raise DatasetError(f"{of_y}: labels must be one for each of {len(x)} images, not of shape {y.shape}")
    wrong = np.flatnonzero(~((labels >= 0) & (labels < CLASSES) & (labels == np.floor(labels))))
    if len(wrong):
        raise DatasetError(
            f"{of_y}: labels must be digits from 0 to 9, not {labels[wrong[0]]} (image {wrong[0]}, from 0)"
        )
    return images, labels.astype(np.int64)


def _pixels(where: str, x: Array) -> NDArray[np.uint8]:
    """Pixels as bytes. Raises DatasetError unless they are whole numbers up to 255 or, as floats, shares."""
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind not in "buif":
        raise DatasetError(f"{where}: pixels must be numbers, not {x.dtype}")
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):
        raise DatasetError(f"{where}: pixels must be from 0 to 255, not from {low:g} to {high:g}")
    scaled = x * 255.0 if x.dtype.kind == "f" and high <= 1 else x
    whole = np.rint(scaled)
    if np.abs(scaled - whole).max(initial=0) > 1e-3:
        raise DatasetError(f"{where}: pixels must be whole numbers from 0 to 255, or such numbers / 255")
    return whole.astype(np.uint8)


def _arrays_of_npz(file: Path) -> dict[str, Array]:
    """All arrays of an archive, by name. Raises DatasetError."""
    content = BytesIO(read_unpacked(file))
    try:
        with np.load(content, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged file makes NumPy, zipfile and tokenize raise much
        raise DatasetError(f"{file}: {error or type(error).__name__}") from error
    return _only_arrays(members)


def _arrays_of_mat(file: Path) -> dict[str, Array]:
    """All arrays of numbers in a file of MATLAB, by name. Raises DatasetError, ImportError."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            f"{file}: a .mat file needs scipy to be read: pip install 'fastnn-kernels[demo]'"
        ) from error
    content = BytesIO(read_unpacked(file))
    try:
        found = loadmat(content)
    except Exception as error:  # a damaged file makes SciPy raise whatever it stumbles over
        raise DatasetError(f"{file}: the file is damaged: {error or type(error).__name__}") from error
    return _only_arrays(found)


def _only_arrays(members: Mapping[str, Any]) -> dict[str, Array]:
    """Without what is no array: an archive may hold other files, and one of MATLAB has a header."""
    return {name: member for name, member in members.items() if isinstance(member, np.ndarray)}


def _by_digit(file: Path, arrays: Mapping[str, Array], role: str) -> Part:
    """The part held as ten matrices, one for each digit: train0 (N0, 784), train1 (N1, 784), ..."""
    names = [f"{role}{digit}" for digit in range(CLASSES)]
    if missing := [name for name in names if name not in arrays]:
        raise DatasetError(
            f"{file}: missing are {', '.join(missing)}: each digit has a matrix (N, {PIXELS}) of its own, "
            "train0 to train9 and test0 to test9"
        )
    if beyond := [name for name in arrays if re.fullmatch(rf"{role}\d+", name) and name not in names]:
        raise DatasetError(f"{file} holds {', '.join(beyond)}: there are the digits from 0 to 9 only")
    parts = [
        checked_part(file, arrays[name], np.full(len(arrays[name]), digit), (name, name))
        for digit, name in enumerate(names)
    ]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _by_name_or_shape(file: Path, arrays: Mapping[str, Array]) -> Parts:
    """Both parts of an archive: two arrays are images, two are labels, and names or lengths pair them."""
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    images = [name for name, a in arrays.items() if a.ndim >= 2 and prod(a.shape[1:]) == PIXELS]
    labels = [name for name, a in arrays.items() if name not in images and _may_be_labels(a)]
    wanted = "x_train (N, 28, 28), y_train (N,), x_test (M, 28, 28) and y_test (M,), or others of such shapes"
    if len(images) != 2 or len(labels) != 2:
        raise DatasetError(f"{file} must hold {wanted}, not {shapes}")
    if (roles := _roles(images)) and (roles_of_labels := _roles(labels)):
        images = [images[role] for role in roles]
        labels = [labels[role] for role in roles_of_labels]
    elif len(arrays[images[0]]) == len(arrays[images[1]]):
        raise DatasetError(
            f"{file}: the names do not say which images are for training, and the lengths are equal: "
            f"name them as in {wanted}. It holds {shapes}"
        )
    else:  # the larger part is for training
        images.sort(key=lambda name: arrays[name].size, reverse=True)
        labels.sort(key=lambda name: arrays[name].size, reverse=True)
    first, second = (
        checked_part(file, arrays[x], arrays[y], (x, y)) for x, y in zip(images, labels, strict=True)
    )
    return first, second


def _may_be_labels(array: Array) -> bool:
    return array.ndim == 1 or (array.ndim == 2 and (1 in array.shape or array.shape[1] == CLASSES))


def _roles(names: list[str]) -> tuple[int, int] | None:
    """Which of two names is the training part's, and which the test's; None if they do not say."""
    found = []
    for words in ROLES:
        said = [i for i, name in enumerate(names) if any(word in name.lower() for word in words)]
        if len(said) != 1:
            return None
        found += said
    training, test = found
    return (training, test) if training != test else None
