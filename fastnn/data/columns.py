"""The columns of pandas, polars and Arrow tables, dicts of columns and lists of rows, in one form.

The libraries of the tables are used through the objects that the user passes; none is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NUMBERS: dict[str, type] = {"b": np.bool, "u": np.uint64, "i": np.int64, "f": np.float64}  # by kind of dtype


@dataclass(frozen=True)
class Column:
    """The values (N,) of a column: numbers, or indices of `categories`; arbitrary where `missing` (N,)."""

    name: str
    values: Array
    missing: Array
    categories: tuple[Any, ...] | None = None  # None: numbers


def columns_of(table: Any) -> dict[str, Callable[[], Column]]:
    """Functions that read the columns of a table, by name.

    Raises TypeError if `table` is no table, ValueError if two columns have the same name or a row of a list
    has other columns than the first.
    """
    pairs: list[tuple[str, Callable[[str, Any], Column], Any]]
    library = type(table).__module__.partition(".")[0]
    if library == "pyarrow" and hasattr(table, "column_names"):
        pairs = [(name, _arrow_column, table.column(index)) for index, name in enumerate(table.column_names)]
    elif library == "polars" and hasattr(table, "get_columns"):
        pairs = [(series.name, _polars_column, series) for series in table.get_columns()]
    elif library == "pandas" and hasattr(table, "columns"):
        pairs = [
            (str(name), _pandas_column, table.iloc[:, index]) for index, name in enumerate(table.columns)
        ]
    elif isinstance(table, Mapping):
        pairs = [(str(name), _plain_column, values) for name, values in table.items()]
    elif isinstance(table, Sequence) and table and all(isinstance(row, Mapping) for row in table):
        pairs = [(str(name), _plain_column, values) for name, values in _columns_of_rows(table)]
    else:
        hint = ": collect it first" if hasattr(table, "collect") else ""
        raise TypeError(
            "a table must be a pandas or polars DataFrame, an Arrow table, a dict of columns or a list of "
            f"dicts, not {type(table).__name__}{hint}"
        )
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two columns are named {twice!r}: rename one of them")
    return {name: _reader(name, read, values) for name, read, values in pairs}


def _reader(name: str, read: Callable[[str, Any], Column], values: Any) -> Callable[[], Column]:
    return lambda: read(name, values)


def _columns_of_rows(rows: Sequence[Mapping[Any, Any]]) -> Iterator[tuple[Any, list[Any]]]:
    for index, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise ValueError(f"row {index} has the columns {list(row)}, but row 0 has {list(rows[0])}")
    for name in rows[0]:
        yield name, [row[name] for row in rows]


def _pandas_column(name: str, series: Any) -> Column:
    missing = np.asarray(series.isna())
    if series.dtype.name == "category":
        codes = np.asarray(series.cat.codes, np.int64)
        return Column(name, codes, missing, tuple(series.cat.categories))
    dtype = NUMBERS.get(series.dtype.kind)
    if dtype is not None:
        return Column(name, series.to_numpy(dtype=dtype, na_value=dtype(0)), missing)
    return _of_objects(name, series.to_numpy(dtype=object), missing, series.dtype)


def _polars_column(name: str, series: Any) -> Column:
    missing, dtype = series.is_null().to_numpy(), series.dtype
    kind = dtype.base_type().__name__
    if kind == "Boolean":
        return Column(name, series.fill_null(value=False).to_numpy(), missing)
    if dtype.is_numeric():
        return _numbers(name, series.cast(float) if dtype.is_decimal() else series, missing)
    if kind not in ("String", "Categorical", "Enum"):
        raise _not_usable(name, dtype)
    values = np.array([None, *series.to_list()], object)[1:]
    return _of_objects(name, values, missing, dtype, dtype.categories.to_list() if kind == "Enum" else None)


def _arrow_column(name: str, column: Any) -> Column:
    missing, dtype = np.asarray(column.is_null()), column.type
    text = str(dtype)
    if text == "bool":
        return Column(name, np.asarray(column.fill_null(False)), missing)
    if text.startswith("decimal"):
        column, text = column.cast("float64"), "double"
    if text in ("float", "double", "halffloat") or text.lstrip("u").startswith("int"):
        return _numbers(name, column, missing)
    if text.startswith("dictionary"):
        unified = column.unify_dictionaries() if hasattr(column, "unify_dictionaries") else column
        chunk = unified.chunk(0) if getattr(unified, "num_chunks", 0) else unified
        declared = chunk.dictionary.to_pylist() if hasattr(chunk, "dictionary") else None
    elif text in ("string", "large_string", "string_view"):
        declared = None
    else:
        raise _not_usable(name, dtype)
    values = np.array([None, *column.to_pylist()], object)[1:]
    return _of_objects(name, values, missing, dtype, declared)


def _numbers(name: str, column: Any, missing: Array) -> Column:
    """A polars or Arrow column of numbers, where NaN is missing too."""
    values = np.asarray(column.fill_null(0) if missing.any() else column)
    return Column(name, values, missing | np.isnan(values))


def _plain_column(name: str, column: Any) -> Column:
    """A column that is an array, a list or a pandas Series."""
    if hasattr(column, "isna"):
        return _pandas_column(name, column)
    if isinstance(column, np.ma.MaskedArray):
        plain, masked = _plain_column(name, column.data), np.ma.getmaskarray(column)
        return Column(name, plain.values, plain.missing | masked, plain.categories)
    values = np.asarray(column)
    if values.ndim != 1:
        raise ValueError(f"column {name!r} must have shape (N,), got {values.shape}")
    if values.dtype.kind in NUMBERS:
        return Column(name, values, np.isnan(values))
    if values.dtype.kind == "U" and not isinstance(column, np.ndarray):
        values = np.array([None, *column], object)[1:]  # NumPy makes text of numbers beside text
    values = values.astype(object)
    missing = np.array([value is None or value != value for value in values], bool)
    return _of_objects(name, values, missing, values.dtype)


def _of_objects(
    name: str, values: Array, missing: Array, dtype: object, declared: Sequence[Any] | None = None
) -> Column:
    """A column of Python objects: text, whose categories are sorted unless they are `declared`, or numbers.

    Raises TypeError for other objects.
    """
    present = values[~missing]
    if declared is None and all(isinstance(value, (bool, np.bool)) for value in present):
        return Column(name, np.where(missing, False, values).astype(bool), missing)
    if declared is None and all(isinstance(value, (int, float, np.number)) for value in present):
        return Column(name, np.where(missing, 0, values).astype(np.float64), missing)
    if declared is None and not all(isinstance(value, str) for value in present):
        raise _not_usable(name, dtype)
    categories = tuple(sorted(set(present)) if declared is None else declared)
    index = {category: number for number, category in enumerate(categories)}
    codes = np.array([index.get(value, -1) for value in values], np.int64)
    return Column(name, codes, missing, categories)


def _not_usable(name: str, dtype: object) -> TypeError:
    return TypeError(
        f"column {name!r} ({dtype}) holds neither numbers nor text nor categories: convert it, or leave it "
        "out with features=[...]"
    )
