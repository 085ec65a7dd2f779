"""Turn the columns of a CSV file into the samples of a network, for training and for prediction."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.cli.description import Column, Description
from fastnn.cli.own_settings import TableSettings
from fastnn.data import DatasetError, Table, from_table
from fastnn.data.csv_columns import CsvColumns
from fastnn.data.csv_header import INDEX_NAMES, LABEL_NAMES
from fastnn.data.table import MOST_CATEGORIES

# A column of text with more categories than this fraction of the rows probably has names or identifiers.
MOST_CATEGORIES_PER_ROW, FEW_CATEGORIES = 0.5, 20
MOST_CLASSES = 1000


def describe_table(settings: TableSettings, table: CsvColumns) -> tuple[Description, list[str]]:
    """Describe the samples that a CSV file has under the settings, and the notes for the user.

    Raises ValueError or DatasetError if the file does not fit the settings.
    """
    check_label(settings, table)
    notes = []
    names = [name for name in table.values if name != settings.label]
    for name in (*settings.drop, *settings.categorical):
        if name not in names:
            raise ValueError(f"{table.file} has no column {name!r} of features{nearest(name, names)}")
    numbered = [name for name in names if name in INDEX_NAMES and name not in settings.drop]
    if numbered:
        notes.append("a column without a name, or of row numbers as pandas writes them, is left out")
    names = [name for name in names if name not in settings.drop and name not in numbered]
    if not names:
        raise ValueError(f"{table.file} has no columns of features, only the label")
    classes = None if settings.is_regression else _classes(table, settings.label)
    if classes is not None and (text := table.mixed.get(settings.label)):
        notes.append(f"the label {settings.label!r} has numbers, but also {text}: each text is a class")
    about = Description((len(names),), classes, settings.label, missing=settings.missing)
    if settings.image is not None:
        return _pixels(about, settings.image, table, names), notes
    check_mixed(table, names, "; name the column in --categorical if the numbers are categories")
    columns = tuple(Column(name, _categories(name, table.values[name])) for name in names)
    return replace(about, inputs=(sum(column.width for column in columns),), columns=columns), notes


def _categories(name: str, cells: Array) -> tuple[str, ...] | None:
    """The different texts of a column, sorted; None for numbers. Raises ValueError if there are too many."""
    if cells.dtype != object:
        return None
    found = tuple(sorted({cell for cell in cells if cell is not None}))
    if len(found) > min(MOST_CATEGORIES, max(FEW_CATEGORIES, MOST_CATEGORIES_PER_ROW * len(cells))):
        raise ValueError(
            f"column {name!r} has {len(found):,} different texts in {len(cells):,} rows, so it seems to have "
            f"names or identifiers: leave it out with --drop {name!r}"
        )
    return found


def check_label(settings: TableSettings, table: CsvColumns) -> None:
    """Raise ValueError unless the settings name a column of the file as the label."""
    names = list(table.values)
    if not settings.label:
        likely = [name for name in names if name.lower() in LABEL_NAMES]
        listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        hint = f"did you mean --label {likely[0]}?" if likely else f"the columns are {listed}"
        raise ValueError(f"pass --label NAME, the column of {table.file} to predict: {hint}")
    if settings.label not in names:
        raise ValueError(f"{table.file} has no column {settings.label!r}{nearest(settings.label, names)}")


def text_columns(about: Description) -> set[str]:
    """The columns that a network takes as text, also the label: new files must be read so, too.

    Their cells may all be numbers or empty there.
    """
    names = {column.name for column in about.columns if column.categories is not None}
    if about.label is not None and about.classes is not None and isinstance(about.classes[0], str):
        names.add(about.label)
    return names


def features_of(about: Description, table: CsvColumns) -> tuple[Array, list[str]]:
    """The features (N, F), float64 with NaN for a missing number, or the images (N, H, W), uint8; and notes.

    Columns are found by name, in any order. A category that the training data lacked counts as missing: all
    features of its column are 0.

    Raises ValueError, with the nearest names, if a column is missing, DatasetError if a cell does not fit.
    """
    names = [column.name for column in about.columns]
    for name in names:
        if name not in table.values:
            raise ValueError(f"{table.file} has no column {name!r}{nearest(name, table.values)}")
    values = {name: table.values[name] for name in names}
    if about.is_image:
        return _images(about, table, names), []
    notes = []
    numbers = [column.name for column in about.columns if column.categories is None]
    check_mixed(table, numbers, "")
    if about.missing == "error":
        _check_complete(table, values)
    for column in about.columns:
        cells = values[column.name]
        if column.categories is None:
            if cells.dtype == object:
                row = next(row for row, cell in enumerate(cells, 1) if cell is not None)
                raise DatasetError(
                    f"{table.file}: column {column.name!r} must have numbers, as in the training, but has "
                    f"{cells[row - 1]!r:.60} in row {row}"
                )
            _check_finite(table, column.name, cells)
        else:
            values[column.name], unknown = _known(cells, column.categories)
            if unknown:
                listed = ", ".join(repr(each) for each in list(unknown)[:3]) + ", ..." * (len(unknown) > 3)
                notes.append(
                    f"column {column.name!r} has categories that the training data lacked ({listed}) in "
                    f"{sum(unknown.values()):,} rows: they count as missing"
                )
    like = Table(
        np.empty((0, 0)), None, (), None, {column.name: column.categories for column in about.columns}
    )
    x: Array = from_table(values, like=like, fill=math.nan, dtype=np.float64).x
    return x, notes


def labels_of(about: Description, table: CsvColumns) -> Array:
    """The labels (N,): the index of each class, int64, or float64 for regression.

    Raises DatasetError if a label is missing, is no class, or is no finite number.
    """
    assert about.label is not None
    cells = table.values[about.label]
    if about.classes is None:
        check_mixed(table, [about.label], "; drop the rows without a label")
        if cells.dtype == object:
            row = next(row for row, cell in enumerate(cells, 1) if cell is not None)
            raise DatasetError(
                f"{table.file}: the label {about.label!r} must have numbers for regression, but has "
                f"{cells[row - 1]!r:.60} in row {row}"
            )
        _check_complete(table, {about.label: cells}, label=True)
        _check_finite(table, about.label, cells)
        return cells.astype(np.float64)
    _check_complete(table, {about.label: cells}, label=True)
    index = {_same_kind(label): number for number, label in enumerate(about.classes)}
    labels = np.array([index.get(_same_kind(cell), -1) for cell in cells], np.int64)
    if (labels < 0).any():
        row = int((labels < 0).argmax())
        raise DatasetError(
            f"{table.file}: the label {str(cells[row])!r:.60} in row {row + 1} is no class of the training "
            "data"
        )
    return labels


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ": did you mean ...?" with up to 3 names like a missing one, or the first names."""
    spelled = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), list(spelled), n=3)
    if close:
        return f": did you mean {' or '.join(repr(spelled[each]) for each in close)}?"
    shown = list(spelled.values())
    return f": the columns are {', '.join(shown[:10])}{', ...' if len(shown) > 10 else ''}"


def check_mixed(table: CsvColumns, names: Iterable[str], hint: str) -> None:
    """Raise DatasetError if one of the columns has both numbers and text."""
    for name in names:
        if name in table.mixed:
            raise DatasetError(
                f"{table.file}: column {name!r} has numbers, but also {table.mixed[name]}: missing cells "
                f"must be empty or NA{hint}"
            )


def _classes(table: CsvColumns, label: str) -> tuple[Any, ...]:
    """The classes of a column of labels, in sorted order. Raises ValueError or DatasetError."""
    cells = table.values[label]
    _check_complete(table, {label: cells}, label=True)
    if cells.dtype != object:
        usable = (cells == np.floor(cells)) & (np.abs(cells) < 2.0**53)
        if not usable.all():
            row = int((~usable).argmax())
            raise ValueError(
                f"the label {label!r} has numbers such as {cells[row]:.17g} (row {row + 1}), which are no "
                "classes: pass --task regression to predict the number"
            )
    values = np.unique(cells if cells.dtype == object else cells.astype(np.int64)).tolist()
    if len(values) < 2:
        raise ValueError(f"the label {label!r} is {values[0]!r} in all rows: there is nothing to learn")
    if len(values) > min(MOST_CLASSES, max(FEW_CATEGORIES, MOST_CATEGORIES_PER_ROW * len(cells))):
        hint = "" if cells.dtype == object else ": pass --task regression if it is a quantity"
        raise ValueError(
            f"the label {label!r} has {len(values):,} different values in {len(cells):,} rows, which are too "
            f"many classes{hint}"
        )
    return tuple(values)


def _pixels(
    about: Description, image: tuple[int, ...], table: CsvColumns, names: Sequence[str]
) -> Description:
    """The description of images whose pixels are the columns `names`. Raises ValueError or DatasetError."""
    inputs = next((sides for sides in (image, (*image, 3)) if math.prod(sides) == len(names)), None)
    if inputs is None:
        raise ValueError(
            f"images of {image[0]} x {image[1]} need {math.prod(image)} columns of pixels, or "
            f"{3 * math.prod(image)} in colour, but {table.file} has {len(names)} beside the label: choose "
            "another --image, or leave columns out with --drop"
        )
    return replace(about, inputs=tuple(inputs), columns=tuple(Column(name) for name in names))


def _images(about: Description, table: CsvColumns, names: Sequence[str]) -> Array:
    """The images (N, H, W) or (N, H, W, 3) whose pixels are columns, uint8. Raises DatasetError."""
    if table.table is not None and table.table.dtype == np.uint8:
        places = {name: index for index, name in enumerate(table.values)}
        return np.ascontiguousarray(table.table[:, [places[name] for name in names]]).reshape(
            -1, *about.inputs
        )
    pixels = np.empty((len(table.values[names[0]]), len(names)), np.uint8)
    for index, name in enumerate(names):
        cells = table.values[name]
        if cells.dtype != np.uint8:
            bad = (
                np.array([cell is not None for cell in cells])
                if cells.dtype == object
                else ~((cells >= 0) & (cells <= 255) & (cells == np.floor(cells)))
            )
            if bad.any() or cells.dtype == object:
                row = int(bad.argmax())
                raise DatasetError(
                    f"{table.file}: pixels must be integers from 0 to 255, but column {name!r} has "
                    f"{cells[row]!s:.60} in row {row + 1}"
                )
        pixels[:, index] = cells
    return pixels.reshape(-1, *about.inputs)


def _known(cells: Array, categories: tuple[str, ...]) -> tuple[Array, dict[str, int]]:
    """The cells without unknown categories, which become missing, and how often each of those occurs."""
    known, unknown = set(categories), dict[str, int]()
    found = np.empty(len(cells), object)
    for row, cell in enumerate(cells):
        if cell is None or cell in known:
            found[row] = cell
        else:
            unknown[cell] = unknown.get(cell, 0) + 1
    return found, unknown


def _check_complete(table: CsvColumns, values: dict[str, Array], *, label: bool = False) -> None:
    """Raise DatasetError, which names row and column, if a value is missing."""
    for name, cells in values.items():
        if cells.dtype == np.uint8:
            continue
        missing = np.array([cell is None for cell in cells]) if cells.dtype == object else np.isnan(cells)
        if not missing.any():
            continue
        count, row = int(missing.sum()), int(missing.argmax()) + 1
        where = f"row {row}" if count == 1 else f"{count:,} rows, first in row {row}"
        advice = (
            "drop such rows"
            if label
            else "train with --missing mean to fill such cells, or --drop the column"
        )
        raise DatasetError(f"{table.file}: column {name!r} has no value in {where}: {advice}")


def _check_finite(table: CsvColumns, name: str, cells: Array) -> None:
    infinite = np.isinf(cells)
    if infinite.any():
        raise DatasetError(f"{table.file}: column {name!r} is infinite in row {int(infinite.argmax()) + 1}")


def _same_kind(label: Any) -> Any:
    """A label as a key: text as it is; integral numbers, also in text, as integers."""
    if isinstance(label, str):
        return label
    return int(label) if math.isfinite(label) and label == math.floor(label) else float(label)
