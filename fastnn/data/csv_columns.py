"""Read the columns of a CSV file that has a header: numbers and text, by name.

A file of numbers alone goes through the kernel of `read_csv`. Any other file is parsed twice by the `csv`
module of Python, first to learn which columns hold numbers, then to keep each column in its final form:
memory is 8 bytes per cell, however long the cells are.
"""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from fastnn.data.columns import Array
from fastnn.data.csv import read_csv
from fastnn.data.csv_header import DELIMITERS, MOST_COLUMNS, number_of, shown
from fastnn.data.errors import DatasetError
from fastnn.data.unpacking import read_unpacked

# Cells that stand for a missing value, in any case; "None" and "?" are text, because they may be categories.
MISSING = ("", "na", "n/a", "nan", "null")

ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class CsvColumns:
    """The columns of a CSV file.

    Args:
        file: The file.
        values: The columns (N,) by name, in the order of the file: float64 or uint8 numbers, NaN where one is
            missing; or text, an array of objects, None where it is missing.
        mixed: The columns that hold both numbers and text, with the first text; `values` has them as text.
    """

    file: Path
    values: dict[str, Array]
    mixed: dict[str, str] = field(default_factory=dict)


def read_columns(path: Path, *, header: bool | None = None, categorical: Collection[str] = ()) -> CsvColumns:
    """Read a CSV file, plain or compressed with gzip, whose delimiter is a comma, a semicolon or a tab.

    Args:
        path: The file.
        header: Whether the first line has the names of the columns; otherwise they are named 1, 2, 3, ...
            Default: it has, but a first line of numbers alone is an error, because it may be a sample.
        categorical: Columns to read as text although they hold numbers.

    Raises:
        DatasetNotFoundError: If there is no such file.
        DatasetError: If the file is not a CSV file of text in UTF-8, if lines differ in their number of
            cells, if two columns have the same name, or if there are no rows.
    """
    text = _text_of(path)
    delimiter, names, start = _names_of(path, text, header)
    if not categorical and (table := _all_numbers(path, delimiter, header=start > 0)) is not None:
        return CsvColumns(path, {name: table[:, index] for index, name in enumerate(names)})
    parser = _Parser(path, text, delimiter, names, start)
    count, numbers, words = parser.classify()
    mixed = {
        name: word
        for name, holds_numbers, word in zip(names, numbers, words, strict=True)
        if holds_numbers and word is not None and name not in categorical
    }
    is_text = [word is not None or name in categorical for name, word in zip(names, words, strict=True)]
    values = parser.collect(count, is_text)
    return CsvColumns(path, dict(zip(names, values, strict=True)), mixed)


def _all_numbers(path: Path, delimiter: str, header: bool) -> Array | None:
    """Read the file as a table of numbers, uint8 if all fit; None if some cell is no number."""
    with warnings.catch_warnings(), contextlib.suppress(DatasetError):
        warnings.simplefilter("ignore")  # of columns that may be row numbers: the caller looks at the names
        table, _ = read_csv(path, label=None, delimiter=delimiter, header=header)
        if table.dtype == np.uint8:
            return table
        return read_csv(path, label=None, delimiter=delimiter, header=header, dtype=np.float64)[0]
    return None


def _text_of(path: Path) -> str:
    """Return the content of the file as text. Raises DatasetError."""
    try:
        text = read_unpacked(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not text in UTF-8 ({error.reason}): save it as CSV, UTF-8") from None
    if "\0" in text[:10_000]:
        raise DatasetError(f"{path}: not a CSV file: it has zero bytes")
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty")
    return text


def _names_of(path: Path, text: str, header: bool | None) -> tuple[str, list[str], int]:
    """Return the delimiter, the names of the columns and the number of lines of the header, 0 or 1.

    Raises DatasetError.
    """
    stripped = text.lstrip("\r\n ")
    line = stripped[: min(i for i in (stripped.find("\n"), stripped.find("\r"), len(stripped)) if i >= 0)]
    delimiter = max(DELIMITERS, key=line.count)
    if line.count(delimiter) >= MOST_COLUMNS:
        raise DatasetError(f"{path}: the first line has more than {MOST_COLUMNS} columns")
    first = next(_cells(path, text, delimiter), None)
    assert first is not None, "the text is not blank"
    if header is False:
        return delimiter, [str(number) for number in range(1, len(first) + 1)], 0
    if header is None and all(number_of(cell) is not None for cell in first):
        raise DatasetError(
            f"{path}: the first line has only numbers, so it may be a sample: pass --header false if the "
            "file has no names of columns (they are then 1, 2, 3, ...), or --header true"
        )
    if twice := next((name for name in first if first.count(name) > 1), None) if len(first) < 5000 else None:
        raise DatasetError(f"{path}: two columns are named {twice!r}: rename one of them")
    if len(set(first)) < len(first):
        raise DatasetError(f"{path}: some columns have the same name: rename them")
    return delimiter, first, 1


def _cells(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of each line that is not blank, without spaces around them. Raises DatasetError."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise DatasetError(f"{path}: not a CSV file: line {reader.line_num}: {error}") from error


class _Parser:
    """Reads the lines of `text` after the header, in chunks of columns."""

    def __init__(self, path: Path, text: str, delimiter: str, names: list[str], header: int) -> None:
        self.path, self.text, self.delimiter = path, text, delimiter
        self.names, self.header = names, header

    def chunks(self) -> Iterator[list[tuple[str, ...]]]:
        """Yield the columns of the next `ROWS_AT_ONCE` rows. Raises DatasetError if the lengths differ."""
        rows = islice(_cells(self.path, self.text, self.delimiter), self.header, None)
        done = 0
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            for row, cells in enumerate(chunk, done + 1):
                if len(cells) != len(self.names):
                    raise DatasetError(
                        f"{self.path}: row {row} of the data has {len(cells)} cells, but there are "
                        f"{len(self.names)} columns"
                    )
            done += len(chunk)
            yield list(zip(*chunk, strict=True))

    def classify(self) -> tuple[int, list[bool], list[str | None]]:
        """Return the number of rows, whether each column has a number, and its first text.

        Raises DatasetError if there are no rows.
        """
        count, numbers, words = 0, [False] * len(self.names), [None] * len(self.names)
        found: list[str | None] = [*words]
        for chunk in self.chunks():
            for index, cells in enumerate(chunk):
                if found[index] is not None and numbers[index]:
                    continue
                if found[index] is None and _as_numbers(cells) is not None:
                    numbers[index] = numbers[index] or any(not is_missing(cell) for cell in cells)
                    continue
                for row, cell in enumerate(cells, count + 1):
                    if is_missing(cell):
                        continue
                    if number_of(cell) is not None:
                        numbers[index] = True
                    elif found[index] is None:
                        found[index] = f"{shown(cell)} in row {row}"
            count += len(chunk[0])
        if count == 0:
            raise DatasetError(f"{self.path}: the file has no rows below the names of the columns")
        return count, numbers, found

    def collect(self, count: int, is_text: list[bool]) -> list[Array]:
        """Return the columns (count,), numbers or text."""
        columns: list[Array] = [np.empty(count, object if each else np.float64) for each in is_text]
        known: dict[str, str | None] = {}  # equal texts share one object
        done = 0
        for chunk in self.chunks():
            size = len(chunk[0])
            for column, cells in zip(columns, chunk, strict=True):
                if column.dtype == object:
                    column[done : done + size] = [
                        None if is_missing(cell) else known.setdefault(cell, cell) for cell in cells
                    ]
                else:
                    column[done : done + size] = _as_numbers(cells)
            done += size
        return columns


def is_missing(cell: str) -> bool:
    """Whether the cell stands for a missing value."""
    return len(cell) <= 4 and cell.lower() in MISSING


def _as_numbers(cells: tuple[str, ...]) -> Array | None:
    """Convert cells to float64, NaN where one is missing; None if one is text."""
    try:
        return np.array(list(map(float, cells))) if not any("_" in cell for cell in cells) else None
    except ValueError:
        values = [np.nan if is_missing(cell) else number_of(cell) for cell in cells]
        return None if None in values else np.array(values, np.float64)
