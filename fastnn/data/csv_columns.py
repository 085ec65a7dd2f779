"""Read the columns of a CSV file that has a header: numbers and text, by name.

A file of numbers alone goes through the kernel of `read_csv`. Any other file is parsed in chunks of rows,
whose columns become arrays at once: memory is 8 bytes per cell, however long the cells are. A compiled parser
does this for large files, and the module `csv` of Python for small files and for rare forms of text.
"""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from fastnn.data.columns import Array
from fastnn.data.csv import read_csv
from fastnn.data.csv_header import DELIMITERS, MOST_COLUMNS, number_of, shown
from fastnn.data.csv_rows import Cells, CompiledRows, OddTextError, as_numbers, is_missing
from fastnn.data.errors import DatasetError
from fastnn.data.unpacking import read_unpacked

ROWS_AT_ONCE = 1024  # by the module `csv`

# Characters from which the compiled parser is used: the module `csv` reads fewer while Numba compiles.
LARGE = 1 << 22


@dataclass(frozen=True)
class CsvColumns:
    """The columns of a CSV file.

    Args:
        file: The file.
        values: The columns (N,) by name, in the order of the file: float64 or uint8 numbers, NaN where one is
            missing; or text, an array of objects, None where it is missing.
        mixed: The columns that hold both numbers and text, with the first text; `values` has them as text.
        table: All columns together (N, columns), if all hold numbers and none is missing.
    """

    file: Path
    values: dict[str, Array]
    mixed: dict[str, str] = field(default_factory=dict)
    table: Array | None = None


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
        return CsvColumns(path, {name: table[:, index] for index, name in enumerate(names)}, table=table)
    values, mixed = _Parser(path, text, delimiter, names, start).columns(categorical)
    return CsvColumns(path, dict(zip(names, values, strict=True)), mixed)


def _all_numbers(path: Path, delimiter: str, header: bool) -> Array | None:
    """Read the file as a table of numbers, uint8 if all fit; None if some cell is no number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that may be row numbers: the caller looks at the names
        for dtype in (np.uint8, np.float64):
            with contextlib.suppress(DatasetError):
                return read_csv(path, label=None, delimiter=delimiter, header=header, dtype=dtype)[0]
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
    first = [cell.strip() for cell in next(_cells(path, text, delimiter))]
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
    """Yield the cells of each line that is not blank. Raises DatasetError."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield row
    except csv.Error as error:
        raise DatasetError(f"{path}: not a CSV file: line {reader.line_num}: {error}") from error


class _Parser:
    """Reads the lines of `text` after the header, in chunks of columns."""

    def __init__(self, path: Path, text: str, delimiter: str, names: list[str], header: int) -> None:
        self.path, self.text, self.delimiter = path, text, delimiter
        self.names, self.header = names, header

    def columns(self, categorical: Collection[str]) -> tuple[list[Array], dict[str, str]]:
        """Return the columns (N,), numbers or text, and the first text of each column that has both.

        Raises DatasetError if there are no rows.
        """
        found = self._read([name in categorical for name in self.names])
        if not found[0].count:
            raise DatasetError(f"{self.path}: the file has no rows below the names of the columns")
        mixed = {
            name: column.first_text
            for name, column in zip(self.names, found, strict=True)
            if column.has_numbers and column.first_text is not None
        }
        if mixed:  # read again: the spelling of their numbers, which may be identifiers, was not kept
            again = self._read([True if name in mixed else None for name in self.names])
            found = [new if new.count else old for new, old in zip(again, found, strict=True)]
        return [column.values() for column in found], mixed

    def _read(self, as_text: list[bool | None]) -> list[_Column]:
        """Read all rows; `as_text` says which columns to read as text, and None which to leave empty."""
        if len(self.text) >= LARGE:
            with contextlib.suppress(OddTextError):
                rows = CompiledRows(self.text, self.delimiter, as_text, self.header)
                return _filled(as_text, rows.chunks())
        return _filled(as_text, self._chunks())

    def _chunks(self) -> Iterator[Sequence[Cells]]:
        """Yield the columns of the next `ROWS_AT_ONCE` rows. Raises DatasetError if the lengths differ."""
        rows = islice(_cells(self.path, self.text, self.delimiter), self.header, None)
        done, width = 0, len(self.names)
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            lengths = list(map(len, chunk))
            if lengths.count(width) < len(lengths):
                row = next(row for row, length in enumerate(lengths) if length != width)
                raise DatasetError(
                    f"{self.path}: row {done + row + 1} of the data has {lengths[row]} cells, but there are "
                    f"{width} columns"
                )
            done += len(chunk)
            yield list(zip(*chunk, strict=True))


def _filled(as_text: list[bool | None], chunks: Iterable[Sequence[Cells]]) -> list[_Column]:
    """Return the columns of all chunks, without those that `as_text` marks with None."""
    columns = [_Column(as_text=bool(chosen)) for chosen in as_text]
    for chunk in chunks:
        for column, cells, chosen in zip(columns, chunk, as_text, strict=True):
            if chosen is not None and cells is not None:
                column.add(cells)
    return columns


class _Column:
    """A column that grows by chunks of cells: float64 while all cells are numbers or missing, else text."""

    def __init__(self, *, as_text: bool) -> None:
        self.as_text = as_text
        self.first_text: str | None = None
        self.count, self.has_numbers = 0, False
        self._chunks: list[Array] = []
        self._known: dict[str, str] = {}  # equal texts share one object

    def add(self, cells: Array | Sequence[str]) -> None:
        """Append the cells of the next rows."""
        numbers = cells if isinstance(cells, np.ndarray) else None if self.as_text else as_numbers(cells)
        if numbers is not None:
            self.has_numbers = self.has_numbers or not np.isnan(numbers).all()
            self._chunks.append(numbers)
        else:
            stripped = [cell.strip() for cell in cells]
            if not self.as_text:
                self._look_at(stripped)
            text = np.empty(len(cells), object)
            text[:] = [None if is_missing(each) else self._known.setdefault(each, each) for each in stripped]
            self._chunks.append(text)
        self.count += len(cells)

    def _look_at(self, cells: list[str]) -> None:
        """Remember the first text, and whether there are numbers, of cells with at least one text."""
        for row, cell in enumerate(cells, self.count + 1):
            if self.has_numbers and self.first_text is not None:
                return
            if is_missing(cell):
                continue
            if number_of(cell) is not None:
                self.has_numbers = True
            elif self.first_text is None:
                self.first_text = f"{shown(cell)} in row {row}"

    def values(self) -> Array:
        """The column: float64, or an array of objects where text is; a chunk of NaN is missing there."""
        if all(chunk.dtype != object for chunk in self._chunks):
            return np.concatenate(self._chunks)
        return np.concatenate(
            [chunk if chunk.dtype == object else np.full(len(chunk), None) for chunk in self._chunks]
        )
