"""Features and labels from a table with named columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastnn.data.columns import Array, Column, columns_of

MOST_CATEGORIES = 1000  # a column of names or identifiers would need as many features as there are samples


@dataclass(frozen=True, eq=False)
class Table:
    """Features and labels of a table; `x, y, names = table` unpacks the first three.

    Args:
        x: Features (N, F).
        y: Labels (N,): int64 for classes and integers, floats otherwise. None without a label column.
        names: The names of the F features.
        classes: The names of the classes, if the labels were text, categories or booleans: `y` has their
            indices.
        categories: The columns that the features were made of, with their categories; None for numbers.
    """

    x: Array
    y: Array | None
    names: tuple[str, ...]
    classes: tuple[Any, ...] | None
    categories: Mapping[str, tuple[Any, ...] | None]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.x, self.y, self.names))


def from_table(
    table: Any,
    label: str | None = None,
    *,
    features: Iterable[str] | None = None,
    like: Table | None = None,
    fill: float | None = None,
    dtype: DTypeLike = np.float32,
) -> Table:
    """Make features and labels of a table with named columns.

    Numbers and booleans are features as they are. Text and categories become one feature of 0 and 1 per
    category, named "column=category": in the order that a categorical column declares, and sorted for text.
    All of them are 0 where the value is missing.

    Args:
        table: A pandas or polars DataFrame, an Arrow table, a dict of columns or a list of dicts.
        label: The column of the labels. None: there are no labels.
        features: The columns of the features. Default: all but the label.
        like: The result for the training set. Its columns, categories and classes are used, so that the
            features of a test set mean the same; further columns are left out.
        fill: Replaces missing numbers (NaN, None, null). Default: they are an error.
        dtype: float32 or float64.

    Returns:
        A `Table`, which unpacks into (x, y, names).

    Raises:
        ValueError: If a column is missing (the message has the nearest name), if there are no rows or no
            features, if numbers or labels are missing, if a column has more than 1000 categories, or a
            category that `like` lacks.
        TypeError: If `table` is no table, or if a column holds something else, such as dates.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, not {dtype}")
    if like is not None and features is not None:
        raise ValueError("features are those of `like`: pass one of the two")
    readers = columns_of(table)
    label = None if label is None else str(label)
    if like is not None:
        chosen = list(like.categories)
    elif features is not None:
        chosen = [features] if isinstance(features, str) else [str(name) for name in features]
    else:
        chosen = [name for name in readers if name != label]
    if label is not None and label in chosen:
        raise ValueError(f"the label {label!r} cannot be a feature, too")
    _check_names(readers, [*chosen, *([] if label is None else [label])])
    y, classes = None, None if like is None else like.classes
    if label is not None:
        y, classes = _labels(readers[label](), classes, known=like is not None and like.y is not None)
    columns = [_as_before(readers[name](), like) for name in chosen]
    names = [name for column in columns for name in _feature_names(column)]
    if not names:
        raise ValueError("the table has no columns for features")
    count = len(columns[0].values)
    if lengths := {len(column.values) for column in columns} - {count}:
        raise ValueError(f"the columns have different lengths, such as {count} and {lengths.pop()}")
    if y is not None and len(y) != count:
        raise ValueError(f"the columns have different lengths, such as {count} and {len(y)}")
    if count == 0:
        raise ValueError("the table has no rows")
    x = np.zeros((count, len(names)), dtype)
    place = 0
    for column in columns:
        width = 1 if column.categories is None else len(column.categories)
        _write(column, x[:, place : place + width], fill)
        place += width
    return Table(x, y, tuple(names), classes, {column.name: column.categories for column in columns})


def _check_names(readers: Mapping[str, Callable[[], Column]], wanted: Iterable[str]) -> None:
    for name in wanted:
        if name not in readers:
            import difflib  # 4 ms of import time, needed for an error only

            close = difflib.get_close_matches(name, list(readers), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it has {list(readers)}"
            raise ValueError(f"the table has no column {name!r}: {hint:.300}")


def _labels(
    column: Column, classes: tuple[Any, ...] | None, *, known: bool
) -> tuple[Array, tuple[Any, ...] | None]:
    """The labels and the names of their classes; those of the training set, if it is `known`."""
    if column.missing.any():
        raise ValueError(
            f"label {column.name!r} is missing in {_places(column.missing)}: drop such samples, or pass "
            "label=None if the table has no labels"
        )
    if column.values.dtype == bool:
        column = Column(column.name, column.values.astype(np.int64), column.missing, (False, True))
    if known and (classes is None) != (column.categories is None):
        kinds = "numbers", "names of classes"
        before, now = kinds if classes is None else kinds[::-1]
        raise TypeError(f"label {column.name!r} holds {now}, but {before} in the training set")
    if column.categories is None:
        is_whole = column.values.dtype.kind in "ui"
        return column.values.astype(np.int64 if is_whole else np.float64), None
    if known and classes is not None:
        column = _with_categories(column, classes)
    return column.values, column.categories


def _as_before(column: Column, like: Table | None) -> Column:
    """The column with the categories that it has in `like`."""
    if like is not None:
        before = like.categories[column.name]
        if before is not None and column.categories is None and column.missing.all():  # it has no kind
            column = Column(column.name, np.zeros(len(column.values), np.int64), column.missing, ())
        if (before is None) != (column.categories is None):
            kinds = "numbers", "categories"
            old, new = kinds if before is None else kinds[::-1]
            raise TypeError(f"column {column.name!r} holds {new}, but {old} in the training set")
        if before is not None:
            return _with_categories(column, before)
    if column.categories is not None and len(column.categories) > MOST_CATEGORIES:
        raise ValueError(
            f"column {column.name!r} has {len(column.categories):,} categories (at most "
            f"{MOST_CATEGORIES:,}), which need a feature each: group them, or leave it out (features=...)"
        )
    return column


def _with_categories(column: Column, categories: tuple[Any, ...]) -> Column:
    """The column with other categories. Raises ValueError if one that occurs is not among them."""
    assert column.categories is not None
    index = {category: number for number, category in enumerate(categories)}
    new = np.array([index.get(category, -1) for category in column.categories] + [-1], np.int64)
    values = new[np.where(column.missing, -1, column.values)]
    unknown = (values < 0) & ~column.missing
    if unknown.any():
        value = column.categories[column.values[unknown.argmax()]]
        raise ValueError(
            f"column {column.name!r} has {value!r} in {_places(unknown)}, which the training set lacks"
        )
    return Column(column.name, values, column.missing, categories)


def _feature_names(column: Column) -> list[str]:
    if column.categories is None:
        return [column.name]
    return [f"{column.name}={category}" for category in column.categories]


def _write(column: Column, x: Array, fill: float | None) -> None:
    """Write the features of a column into x (N, width), which holds zeros."""
    if column.categories is not None:
        rows = np.flatnonzero(~column.missing)
        x[rows, column.values[rows]] = 1
        return
    if fill is None and column.missing.any():
        raise ValueError(
            f"column {column.name!r} has no value in {_places(column.missing)}: pass fill=0 or another "
            "number, or drop such rows"
        )
    x[:, 0] = column.values
    if fill is not None:
        x[column.missing, 0] = fill


def _places(where: Array) -> str:
    count = int(where.sum())
    first = f"row {int(where.argmax())}"
    return first if count == 1 else f"{count} rows, first in {first}"
