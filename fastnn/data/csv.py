"""Read CSV files of numbers: one row per sample, with the label in one of the columns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.data.errors import DatasetError
from fastnn.data.unpacking import read_unpacked

PIECE = 1 << 24  # bytes to parse between two updates of the progress bar, when Ctrl-C takes effect
DELIMITERS = (",", ";", "\t")

Table = tuple[NDArray[Any], NDArray[np.int64] | None]


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: int | str | None = 0,
    dtype: DTypeLike | None = None,
    delimiter: str | None = None,
) -> Table:
    """Read a CSV file of numbers.

    The first line is a header unless all its cells are numbers. Blank lines, spaces and quotes around a
    number, and "\\r\\n" are ignored. A progress bar is shown for large files.

    Args:
        path: The file, plain or compressed with gzip (detected by content).
        label: Column of the labels: an index from 0 (negative: from the end), or a name in the header. None:
            the file has no labels.
        dtype: uint8 (for integers from 0 to 255), float32 or float64. Default: uint8 if all cells fit, else
            float32.
        delimiter: A comma, a semicolon or a tab. Default: the one that is most frequent in the first line.

    Returns:
        (x, y): the values x (N, columns) without the labels, and the labels y, int64 (N,), or None.

    Raises:
        DatasetNotFoundError: If there is no such file.
        DatasetError: If a cell is not a number or does not fit the dtype (the message has its line and
            column), if lines differ in their number of cells, or if the file has no numbers.
        ValueError: If `label`, `dtype` or `delimiter` is invalid.
        TypeError: If `label` is neither an integer nor a name nor None.
    """
    file = Path(path)
    chosen = None if dtype is None else np.dtype(dtype)
    if chosen is not None and chosen not in (np.uint8, np.float32, np.float64):
        raise ValueError(f"dtype must be uint8, float32 or float64, not {chosen}")
    if delimiter is not None and delimiter not in DELIMITERS:
        raise ValueError(f"delimiter must be one of {', '.join(map(repr, DELIMITERS))}, not {delimiter!r}")
    text = _bytes_of(file)
    first = _first_line(file, text)
    separator = delimiter or max(DELIMITERS, key=first.count)
    names = [name.strip().strip('"') for name in first.split(separator)]
    has_header = not all(map(_is_number, names))
    column = _label_column(file, label, names, has_header)
    reader = _Reader(file, text, separator, column, len(names), has_header)
    if chosen is not None:
        return reader.read(chosen)
    try:
        return reader.read(np.dtype(np.uint8))
    except _NotUint8Error:
        return reader.read(np.dtype(np.float32))


class _NotUint8Error(DatasetError):
    """A cell is not an integer from 0 to 255."""


class _Reader:
    """Reads the content `text` of a file with `columns` columns; `label` is the label's column or -1."""

    def __init__(
        self, file: Path, text: NDArray[np.uint8], delimiter: str, label: int, columns: int, has_header: bool
    ) -> None:
        self.file, self.text, self.delimiter, self.label, self.columns = file, text, delimiter, label, columns
        self.start = _next_line(text, 0) if has_header else 0

    def read(self, dtype: np.dtype[Any]) -> Table:
        """Read all rows. Raises DatasetError as `read_csv`."""
        from tqdm import tqdm

        from fastnn.kernels.jit.csv_cells import DONE, OTHER, SHORT, parse

        rows = 1 + sum(
            int(np.count_nonzero(self.text[at : at + PIECE] == ord("\n")))
            for at in range(self.start, len(self.text), PIECE)
        )
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
                before = state.copy()
                reason = parse(
                    self.text, end, ord(self.delimiter), self.label, integers, table, labels, state
                )
                if reason == OTHER:
                    self._read_cell(integers, table, labels, state)
                elif reason != DONE:
                    raise self._wrong_length(state, short=reason == SHORT)
                bar.update(int(state[0] - before[0]))
                if (state == before).all():
                    break
        found = int(state[1])
        if found == 0:
            raise DatasetError(f"{self.file}: the file has no line of numbers")
        x = table[:found]
        return x, None if self.label < 0 else self._as_labels(labels[:found])

    def _read_cell(
        self, integers: bool, table: NDArray[Any], labels: NDArray[np.float64], state: NDArray[np.int64]
    ) -> None:
        """Read one cell with `float`, because the kernel could not, and advance `state` to the next cell.

        Raises DatasetError if the cell is not a number, or if `integers` and it is not an integer up to 255.
        """
        position, row, column = map(int, state)
        line_end = _next_line(self.text, position)
        line = bytes(self.text[position:line_end]).decode("utf-8", "replace").rstrip("\r\n")
        cell, delimiter, _ = line.partition(self.delimiter)
        if column >= self.columns:
            raise self._wrong_length(state, short=False)
        number = _number_of(cell)
        is_label = column == self.label
        where = f"{self.file}, line {self._line(position)}, column {column + 1}"
        if number is None:
            problem = f"{cell.strip()!r} is not a number" if cell.strip() else "the cell is empty"
            raise DatasetError(f"{where}: {problem}")
        if integers and not is_label and not (number.is_integer() and 0 <= number <= 255):
            raise _NotUint8Error(f"{where}: {cell.strip()!r} is not an integer from 0 to 255")
        if is_label:
            labels[row] = number
        else:
            table[row, column - (0 <= self.label < column)] = number
        if delimiter:
            if column + 1 == self.columns:
                raise self._wrong_length(state, short=False)
            state[:] = position + len(cell.encode()) + len(delimiter), row, column + 1
        elif column + 1 < self.columns:
            raise self._wrong_length(np.array([position, row, column + 1]), short=True)
        else:
            state[:] = line_end, row + 1, 0

    def _wrong_length(self, state: NDArray[np.int64], *, short: bool) -> DatasetError:
        """Make the error for a line with too few cells (`short`) or too many."""
        position, _, column = map(int, state)
        line = self._line(position - 1 if short and position == len(self.text) else max(position - short, 0))
        cells = f"{column} cells" if short else f"more than {self.columns} cells"
        return DatasetError(f"{self.file}, line {line} has {cells}, but the first line has {self.columns}")

    def _line(self, position: int) -> int:
        """Return the number, from 1, of the line that has the byte at `position`."""
        return 1 + int(np.count_nonzero(self.text[:position] == ord("\n")))

    def _as_labels(self, labels: NDArray[np.float64]) -> NDArray[np.int64]:
        """Convert labels to int64. Raises DatasetError if one is not an integer."""
        bad = np.flatnonzero((labels != np.floor(labels)) | ~np.isfinite(labels))
        if len(bad):
            raise DatasetError(
                f"{self.file}: labels must be integers, but row {bad[0] + 1} of the data has "
                f"{labels[bad[0]]:g} in column {self.label + 1}: pass label=, the column of the labels, or "
                "label=None if there are no labels"
            )
        return labels.astype(np.int64)


def _bytes_of(file: Path) -> NDArray[np.uint8]:
    """Read all bytes of the file, decompressed, without the byte order mark that spreadsheets write."""
    return np.frombuffer(read_unpacked(file).removeprefix(b"\xef\xbb\xbf"), np.uint8)


def _next_line(text: NDArray[np.uint8], position: int) -> int:
    """Return the start of the line after the one at `position`."""
    while position < len(text):
        ends = np.flatnonzero(text[position : position + PIECE] == ord("\n"))
        if len(ends):
            return position + int(ends[0]) + 1
        position += PIECE
    return len(text)


def _first_line(file: Path, text: NDArray[np.uint8]) -> str:
    """Return the first line. Raises DatasetError if it is blank or has zero bytes."""
    line = bytes(text[: _next_line(text, 0)])
    if not line.strip():
        raise DatasetError(f"{file}: the first line is empty" if len(text) else f"{file}: the file is empty")
    if b"\0" in line:
        raise DatasetError(f"{file}: not a CSV file: the first line has zero bytes")
    return line.decode("utf-8", "replace").rstrip("\r\n")


def _label_column(file: Path, label: int | str | None, names: list[str], has_header: bool) -> int:
    """Return the index of the labels' column, or -1 for None. Raises ValueError or TypeError."""
    if label is None:
        return -1
    if isinstance(label, str):
        if not has_header:
            raise ValueError(f"{file} has no header with a column {label!r}: pass the index of the column")
        if label not in names:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ValueError(f"{file} has no column {label!r}: the columns are {shown}")
        return names.index(label)
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise TypeError(f"label must be the index or the name of a column, or None, not {label!r}")
    if not -len(names) <= label < len(names):
        raise ValueError(f"label must be a column from 0 to {len(names) - 1}, not {label}")
    return int(label) % len(names)


def _is_number(cell: str) -> bool:
    return _number_of(cell) is not None


def _number_of(cell: str) -> float | None:
    """Convert a cell to a number; None if it is not one."""
    text = cell.strip().strip('"').strip()
    if "_" in text:  # `float` accepts 1_000, which is not a number in a CSV file
        return None
    try:
        return float(text)
    except ValueError:
        return None
