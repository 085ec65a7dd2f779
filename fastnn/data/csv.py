"""Read CSV files of numbers: one row per sample, with the label in one of the columns."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.data.csv_header import (
    DELIMITERS,
    LONGEST_CELL,
    FirstLine,
    first_line,
    label_column,
    number_of,
    problem_of,
    shown,
    warn_of_guesses,
)
from fastnn.data.errors import DatasetError
from fastnn.data.unpacking import read_unpacked

PIECE = 1 << 24  # bytes to parse between two updates of the progress bar, when Ctrl-C takes effect

# Bytes that Python parses after a cell that the kernel cannot: a call per cell would take minutes.
BLOCK = 1 << 12

# Labels must be below: float64 holds all integers up to here, and 2^53 + 1 becomes 2^53.
LABEL_LIMIT = 2.0**53

Table = tuple[NDArray[Any], NDArray[np.int64] | None]


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: int | str | EllipsisType | None = ...,
    dtype: DTypeLike | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
) -> Table:
    """Read a CSV file of numbers.

    Blank lines, spaces and quotes around a number, and "\\r\\n" are ignored. A progress bar is shown for
    large files.

    Args:
        path: The file, plain or compressed with gzip (detected by content). A gzip file may unpack to 64 MiB
            or to 200 times its size, whichever is more.
        label: Column of the labels: an index from 0 (negative: from the end), or a name in the header. None:
            the file has no labels. Default: column 0, with a warning if the other columns have floats.
        dtype: uint8 (for integers from 0 to 255), float32 or float64. Default: uint8 if all cells fit, else
            float32.
        delimiter: A comma, a semicolon or a tab. Default: the one that is most frequent in the first line.
        header: Whether the first line has the names of the columns. Default: it has if no cell is a number,
            or if the cells are the numbers 0, 1, 2, ... that pandas writes as names.

    Returns:
        (x, y): the values x (N, columns) without the labels, and the labels y, int64 (N,), or None.

    Raises:
        DatasetNotFoundError: If there is no such file.
        DatasetError: If a cell is not a number or does not fit the dtype (the message has its line and
            column), if lines differ in their number of cells, if the file has no numbers or more than 2^20
            columns, if only some cells of the first line are numbers, or if labels are not integers.
        ValueError: If `label`, `dtype` or `delimiter` is invalid.
        TypeError: If `label` is neither an integer nor a name nor None, or `header` not a bool or None.
    """
    file = Path(path)
    chosen = None if dtype is None else np.dtype(dtype)
    if chosen is not None and chosen not in (np.uint8, np.float32, np.float64):
        raise ValueError(f"dtype must be uint8, float32 or float64, not {chosen}")
    if delimiter is not None and delimiter not in DELIMITERS:
        raise ValueError(f"delimiter must be one of {', '.join(map(repr, DELIMITERS))}, not {delimiter!r}")
    if not (header is None or isinstance(header, bool)):
        raise TypeError(f"header must be True, False or None, not {header!r}")
    text, start = _text_of(file)
    end = _next_line(text, start)
    line = text[start:end]
    if b"\0" in line:
        hint = ": is it UTF-16? Save it as UTF-8" if line.count(0) > len(line) // 4 else ""
        raise DatasetError(f"{file}: not a CSV file: the first line has zero bytes{hint}")
    number = 1 + text.count(b"\n", 0, start)
    first = first_line(file, line.decode("utf-8", "replace").rstrip("\r\n"), number, delimiter, header)
    reader = _Reader(first, text, end if first.is_header else start, label_column(first, label))
    if isinstance(label, EllipsisType):
        reader.check_default_label()
    if chosen is not None:
        table = reader.read(chosen)
    else:
        try:
            table = reader.read(np.dtype(np.uint8))
        except _NotUint8Error:
            table = reader.read(np.dtype(np.float32))
    warn_of_guesses(first, label, floats=table[0].dtype.kind == "f")
    return table


class _NotUint8Error(DatasetError):
    """A cell is not an integer from 0 to 255."""


class _Reader:
    """Reads the content `text` of a file from byte `start` on; `label` is the label's column or -1."""

    def __init__(self, first: FirstLine, text: bytearray, start: int, label: int) -> None:
        self.first, self.text, self.start, self.label = first, text, start, label
        self.file, self.columns = first.file, len(first.cells)
        self.delimiter = first.delimiter.encode()
        # A cell in quotes: from one delimiter, or the start, to the next, or the end.
        self.quoted = re.compile(rb'(?<![^%b])"([^"%b]*)"\r?(?=%b|$)' % (3 * (self.delimiter,)))

    def check_default_label(self) -> None:
        """Raise DatasetError if the label in the first row is written as a float, such as 1.0 or 1e0."""
        row = self.text[self.start : self.start + BLOCK].lstrip(b"\r\n ")
        cell = row.partition(b"\n")[0].partition(self.delimiter)[0].decode("utf-8", "replace").strip()
        if number_of(cell) is not None and not cell.strip('"+- ').isdecimal():
            raise DatasetError(
                f"{self.file}: labels must be integers, but row 1 of the data has {cell} in column 1: pass "
                "label=0 if these are labels, or another column, or label=None if there are no labels"
            )

    def read(self, dtype: np.dtype[Any]) -> Table:
        """Read all rows. Raises DatasetError as `read_csv`."""
        from tqdm import tqdm

        from fastnn.kernels.jit.csv_cells import DONE, OTHER, SHORT, parse

        # Rows cannot be more than the lines, nor than the rows of single digits that the text has room for,
        # which matters if there are many columns and many blank lines.
        size = len(self.text) - self.start
        rows = 1 + min(self.text.count(b"\n", self.start), size // (2 * self.columns))
        text = np.frombuffer(self.text, np.uint8)
        integers = dtype == np.uint8
        table = np.empty((rows, self.columns - (self.label >= 0)), dtype)
        labels = np.empty(rows)
        state = np.array([self.start, 0, 0])  # byte, row and column of the next cell
        bar = tqdm(
            total=len(self.text),
            unit="B",
            unit_scale=True,
            desc=self.file.name,
            delay=1.0,
            disable=None,
            leave=False,
        )
        with bar:
            while state[0] < len(self.text):
                end = min(int(state[0]) + PIECE, len(self.text))
                before = int(state[0])
                reason = parse(text, end, ord(self.delimiter), self.label, integers, table, labels, state)
                if reason == OTHER:
                    self._read_lines(table, labels, state)
                elif reason != DONE:
                    position, _, column = map(int, state)
                    short = reason == SHORT
                    raise self._wrong_length(self._line(position - short), column, short=short)
                bar.update(int(state[0]) - before)
        found = int(state[1])
        if found == 0:
            raise DatasetError(f"{self.file}: the file has no line of numbers")
        x = table[:found]
        return x, None if self.label < 0 else self._as_labels(labels[:found])

    def _read_lines(self, table: NDArray[Any], labels: NDArray[np.float64], state: NDArray[np.int64]) -> None:
        """Read the line at `state` and the next lines up to `BLOCK` bytes with `float`, and advance `state`.

        Raises DatasetError if a cell is not a number or does not fit the table, or if a line has a wrong
        number of cells.
        """
        position, row, _ = map(int, state)
        start = max(self.start, self.text.rfind(b"\n", 0, position) + 1)
        end = _next_line(self.text, min(position + BLOCK, len(self.text) - 1))
        blanks = b" \r" if self.delimiter == b"\t" else b" \r\t"
        lines = {at: line for at, line in enumerate(self.text[start:end].split(b"\n")) if line.strip(blanks)}
        values = self._values(list(lines.values()))
        if values is None:
            values = np.array([self._row(start, at, line) for at, line in lines.items()])
        is_feature = np.arange(self.columns) != self.label
        bad, problem = _misfits(values, table.dtype)
        if bad[:, is_feature].any():
            nth, column = np.argwhere(bad & is_feature)[0]
            at, line = list(lines.items())[nth]
            cell = shown(line.split(self.delimiter)[column].decode("utf-8", "replace").strip())
            error = _NotUint8Error if table.dtype == np.uint8 else DatasetError
            raise error(f"{self._where(self._line(start) + at, column)}: {cell} {problem}")
        table[row : row + len(values)] = values[:, is_feature]
        if self.label >= 0:
            labels[row : row + len(values)] = values[:, self.label]
        state[:] = end, row + len(values), 0

    def _values(self, lines: list[bytearray]) -> NDArray[np.float64] | None:
        """Convert lines to rows of numbers; None if a line or a cell needs a closer look."""
        joined = self.delimiter.join(lines)
        if len(joined) > 2 * BLOCK and max(map(len, joined.split(self.delimiter))) > LONGEST_CELL:
            return None
        if b"_" in joined or {line.count(self.delimiter) for line in lines} != {self.columns - 1}:
            return None
        cells = self.quoted.sub(rb"\1", joined).split(self.delimiter)
        try:
            values = np.array(list(map(float, cells))).reshape(len(lines), self.columns)
        except ValueError:
            return None
        return None if np.isinf(values).any() else values

    def _row(self, start: int, at: int, line: bytearray) -> list[float]:
        """Convert a line, number `at` from the byte `start` on, to numbers.

        Raises DatasetError if a cell is not a number, or if the line has a wrong number of cells.
        """
        cells = line.split(self.delimiter, self.columns)  # at most one too many
        if len(cells) != self.columns:
            raise self._wrong_length(self._line(start) + at, len(cells), short=len(cells) < self.columns)
        row = []
        for column, cell in enumerate(cells):
            text = cell.strip()[: LONGEST_CELL + 1].decode("utf-8", "replace").strip()
            value = number_of(text)
            problem = problem_of(text, value)
            if value is None or problem:
                raise DatasetError(f"{self._where(self._line(start) + at, column)}: {problem}")
            row.append(value)
        return row

    def _where(self, line: int, column: int) -> str:
        """Describe a cell by its line, from 1, and its column, with the column's name."""
        name = f" ({shown(self.first.cells[column])})" if self.first.is_header else ""
        return f"{self.file}, line {line}, column {column + 1}{name}"

    def _wrong_length(self, line: int, cells: int, *, short: bool) -> DatasetError:
        """Make the error for a line that has too few cells (`short`) or too many."""
        found = f"{cells} cell{'s' * (cells != 1)}" if short else f"more than {self.columns} cells"
        return DatasetError(f"{self.file}, line {line} has {found}, but the first line has {self.columns}")

    def _line(self, position: int) -> int:
        """Return the number, from 1, of the line that has the byte at `position`."""
        return 1 + self.text.count(b"\n", 0, position)

    def _as_labels(self, labels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Convert labels to int64. Raises DatasetError if one is not an integer or too large."""
        bad = np.flatnonzero((labels != np.floor(labels)) | ~(np.abs(labels) < LABEL_LIMIT))
        if len(bad):
            raise DatasetError(
                f"{self.file}: labels must be integers below 2^53, but row {bad[0] + 1} of the data has "
                f"{labels[bad[0]]:g} in column {self.label + 1}: pass label=, the column of the labels, or "
                "label=None if there are no labels"
            )
        return labels.astype(np.int64)


def _text_of(file: Path) -> tuple[bytearray, int]:
    """Return all bytes of the file, decompressed, and the start of the first line that is not blank.

    Raises DatasetError if all lines are blank.
    """
    content = read_unpacked(file)
    if b"\n" not in content:  # the line ends of old Macs
        content = content.replace(b"\r", b"\n")
    mark = len(b"\xef\xbb\xbf") if content.startswith(b"\xef\xbb\xbf") else 0  # that spreadsheets write
    start = len(content) - len(content[mark:].lstrip(b"\r\n "))
    if start == len(content):
        raise DatasetError(f"{file}: the file is empty" if not content else f"{file}: all lines are blank")
    return content, start


def _next_line(text: bytearray, position: int) -> int:
    """Return the start of the line after the one at `position`."""
    return text.find(b"\n", position) + 1 or len(text)


def _misfits(values: NDArray[np.float64], dtype: np.dtype[Any]) -> tuple[NDArray[np.bool_], str]:
    """Return which values do not fit the dtype, and why."""
    if dtype == np.uint8:
        bad = (values < 0) | ~(values <= 255) | (values != np.floor(values))
        return bad, "is not an integer from 0 to 255"
    bad = (np.abs(values) > np.finfo(dtype).max) & np.isfinite(values)
    return bad, f"is too large for {dtype}: pass dtype=np.float64"
