"""Load the training and the test set of a run, from a named data set, a CSV file or a folder of pictures."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastnn import data
from fastnn._validation import Array
from fastnn.cli.description import Description, named
from fastnn.cli.named_data import DATASETS, Part
from fastnn.cli.own_settings import FolderSettings, OwnSettings, TableSettings
from fastnn.cli.settings import Settings
from fastnn.cli.table_data import check_label, describe_table, features_of, labels_of, text_columns
from fastnn.data.csv_columns import CsvColumns, read_columns
from fastnn.data.splits import held_out_rows
from fastnn.files import user_path


@dataclass(frozen=True)
class Loaded:
    """The data of a run: labels are indices of the classes, features of a CSV file are not yet standardized.

    Args:
        train: The training set, (x, y).
        test: The test set.
        description: What inputs and outputs mean, without the statistics of the training set.
        test_rows: The row of each test sample in its file, from 1; None for pictures.
    """

    train: Part
    test: Part
    description: Description
    test_rows: Array | None = None


def load(settings: Settings, *, download: bool = True, known: Description | None = None) -> Loaded:
    """Load the data that the settings name.

    Args:
        settings: The settings of a run.
        download: Whether missing data may be downloaded.
        known: The description of a finished run, whose classes and columns are used. Default: they are
            learned from the data.

    Raises:
        DatasetNotFoundError: If the data are missing.
        DatasetError: If the data are damaged or have cells that cannot be used.
        ValueError: If the data do not fit the settings.
    """
    _check_path(settings)
    with notes_printed():
        if isinstance(settings, TableSettings):
            return _load_table(settings, known)
        if isinstance(settings, FolderSettings):
            return _load_folder(settings, known)
    train, test = DATASETS[settings.dataset].load(download)
    return Loaded(train, test, named(settings))


def _load_table(settings: TableSettings, known: Description | None) -> Loaded:
    table = _read(settings, settings.path, known)
    description, notes = describe_table(settings, table) if known is None else (known, [])
    x, more = features_of(description, table)
    note(*notes, *more)
    y = labels_of(description, table)
    if settings.test_fraction is None:
        other = _read(settings, settings.test, description)
        check_label(settings, other)
        x_test, more = features_of(description, other)
        note(*more)
        y_test = labels_of(description, other)
        description = _with_source(description, settings.test, _checksum(other.file))
        return Loaded((x, y), (x_test, y_test), description, np.arange(1, len(y_test) + 1))
    description = _with_source(description, settings.path, _checksum(table.file))
    kept, held_out = split_rows(y, settings.test_fraction, settings.seed, "test")
    return Loaded((x[kept], y[kept]), (x[held_out], y[held_out]), description, held_out + 1)


def _read(settings: TableSettings, path: str, known: Description | None) -> CsvColumns:
    """Read a CSV file: columns that are text in the description `known` are read as text."""
    text = set() if known is None else text_columns(known)
    return read_columns(user_path(path), header=settings.header, categorical={*settings.categorical, *text})


def _load_folder(settings: FolderSettings, known: Description | None) -> Loaded:
    root = user_path(settings.path)
    names = None if known is None or known.classes is None else list(known.classes)
    grey = settings.colour == "grey" if known is None else known.channels == 1
    height, width = settings.size
    x, y, classes = data.image_folder(root, size=(height, width), classes=names, grey=grey)
    if len(classes) < 2:
        raise ValueError(
            f"{root} has pictures of one class only, {classes[0]!r}: put the pictures of each class into a "
            "sub-folder of its own"
        )
    if known is None and settings.colour == "auto" and _is_grey(x):
        x, grey = np.ascontiguousarray(x[..., 0]), True
    description = known or Description(x.shape[1:], tuple(classes))
    if settings.test_fraction is None:
        test = user_path(settings.test)
        x_test, y_test, _ = data.image_folder(test, size=(height, width), classes=classes, grey=grey)
        description = _with_source(description, settings.test, _counts(y_test, classes))
        return Loaded((x, y), (x_test, y_test), description)
    description = _with_source(description, settings.path, _counts(y, classes))
    kept, held_out = split_rows(y, settings.test_fraction, settings.seed, "test")
    return Loaded((x[kept], y[kept]), (x[held_out], y[held_out]), description)


def _with_source(description: Description, path: str, found: str | tuple[int, ...]) -> Description:
    """The description with the state of the data that have the test set; a note if a run knew another one."""
    if description.source not in (None, found):
        note(f"{Path(path).name} has changed since the training: the test set is not that of the run")
    return replace(description, source=found)


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _counts(labels: Array, classes: Sequence[str]) -> tuple[int, ...]:
    """The number of pictures of each class."""
    return tuple(np.bincount(labels, minlength=len(classes)).tolist())


def _is_grey(x: Array) -> bool:
    """Whether no image (N, H, W, 3) has colours."""
    return all(bool((image == image[..., :1]).all()) for image in x)


def split_rows(y: Array, fraction: float, seed: int, option: str) -> tuple[Array, Array]:
    """Draw a fraction of the rows at random: returns the other rows and the drawn ones, sorted.

    Of integer labels, the same fraction of each class is drawn, and one row of each stays in the first part.
    Raises ValueError if no row is left to draw.
    """
    labels = y if y.dtype.kind == "i" else None
    drawn = held_out_rows(np.random.default_rng(seed).permutation(len(y)), fraction, labels)
    if not len(drawn):
        needed = "one" if labels is None else f"one of each of the {len(np.unique(labels))} classes"
        raise ValueError(
            f"no samples can be held out for --{option}: there are {len(y)}, and training needs {needed}"
        )
    return np.delete(np.arange(len(y)), drawn), np.sort(drawn)


def prepared(settings: Settings, loaded: Loaded) -> tuple[Description, Part, Part | None]:
    """The description with the statistics of the training set, the training set and the validation set.

    The statistics come from the rows that are trained on alone: validation and test rows would tell the
    network about themselves.
    """
    training, validation = _split(settings, loaded.train)
    description = loaded.description.fitted(training)
    return description, description.ready(training), validation and description.ready(validation)


def _split(settings: Settings, part: Part) -> tuple[Part, Part | None]:
    """Split into training and validation set; the latter is None if its fraction is 0."""
    x, y = part
    if settings.validation == 0:
        return part, None
    if isinstance(settings, OwnSettings):
        kept, held_out = split_rows(y, settings.validation, settings.seed, "validation")
    else:  # as `fn.data.stratified` splits: named data keep the validation sets of earlier runs
        rows = np.arange(len(y))
        (kept, _), (held_out, _) = data.stratified(rows, y, 1 - settings.validation, seed=settings.seed)
    return (x[kept], y[kept]), (x[held_out], y[held_out])


def note(*notes: str) -> None:
    """Print notes on the error stream, which leaves the output to results."""
    for each in notes:
        print(f"fastnn: note: {each}", file=sys.stderr)


@contextlib.contextmanager
def notes_printed() -> Iterator[None]:
    """Print the warnings of readers as notes, once each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    note(*dict.fromkeys(str(each.message) for each in caught))


def source_of(settings: Settings) -> str:
    """The name of the data, for messages."""
    return settings.title if isinstance(settings, OwnSettings) else settings.dataset


def folder_name(settings: Settings) -> str:
    """The name of the data for the folder of the run: "iris" for iris.csv.gz."""
    name = source_of(settings)
    return name.strip(".").partition(".")[0] or name


def _check_path(settings: Settings) -> None:
    """Raise ValueError if the settings of own data have no path: it would stand for the current folder."""
    if isinstance(settings, OwnSettings) and not settings.path:
        raise ValueError(
            "pass the path of the data: fastnn train data.csv --label NAME, or fastnn train photos/"
        )


def absolute(settings: Settings) -> Settings:
    """The same settings with absolute paths, which hold from any folder."""
    if not isinstance(settings, OwnSettings):
        return settings
    _check_path(settings)
    test = settings.test if settings.test_fraction is not None else str(_full(settings.test))
    return replace(settings, path=str(_full(settings.path)), test=test)


def _full(path: str) -> Path:
    return user_path(path).absolute()
