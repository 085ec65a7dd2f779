"""CSV files of numbers: one row for each sample, with its label in one of the columns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.data.errors import DatasetError
from fastnn.data.idx import read_unpacked

PIECE = 1 << 24  # bytes between two looks at the clock and at Ctrl-C
DELIMITERS = (",", ";", "\t")

Table = tuple[NDArray[Any], NDArray[np.int64] | None]


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: int | str | None = 0,
    dtype: DTypeLike | None = None,
    delimiter: str | None = None,
) -> Table:
    """The numbers in a CSV file as (x, y): x (N, columns) without the label, y (N,) int64, or None.

    `label` is the column of the labels, from 0 (negative: from the end), or its name in the header; None:
    there are none. The first line is a header if it holds anything but numbers. `dtype` is uint8 (whole
    numbers from 0 to 255), float32 or float64; by default uint8 if all cells fit, else float32. `delimiter`
    is a comma, a semicolon or a tab, by default what the first line has. Plain or gzip, told apart by
    content; blank lines, spaces around numbers, "\\r\\n" and quotes around a number do not matter. Shows a
    bar for what takes long.

    Raises DatasetNotFoundError when there is no such file, DatasetError naming line and column of a cell that
    is no number or does not fit, a line of another length, a file without numbers, ValueError or TypeError
    for arguments that cannot be meant.
    """
    file = Path(path)
    wanted = None if dtype is None else np.dtype(dtype)
    if wanted is not None and wanted not in (np.uint8, np.float32, np.float64):
        raise ValueError(f"dtype must be uint8, float32 or float64, not {wanted}")
    if delimiter is not None and delimiter not in DELIMITERS:
        raise ValueError(f"delimiter must be one of {', '.join(map(repr, DELIMITERS))}, not {delimiter!r}")
    text = _bytes_of(file)
    first = _first_line(file, text)
    between = delimiter or max(DELIMITERS, key=first.count)
    names = [name.strip().strip('"') for name in first.split(between)]
    has_header = not all(map(_is_number, names))
    column = _label_column(file, label, names, has_header)
    reader = _Reader(file, text, between, column, len(names), has_header)
    if wanted is not None:
        return reader.read(wanted)
    try:
        return reader.read(np.dtype(np.uint8))
    except _NotWholeError:
        return reader.read(np.dtype(np.float32))


class _NotWholeError(DatasetError):
    """A cell that is no whole number from 0 to 255."""


class _Reader:
    """A file whose columns are known."""

    def __init__(
        self, file: Path, text: NDArray[np.uint8], delimiter: str, label: int, columns: int, has_header: bool
    ) -> None:
        self.file, self.text, self.delimiter, self.label, self.columns = file, text, delimiter, label, columns
        self.start = _behind_line(text, 0) if has_header else 0

    def read(self, dtype: np.dtype[Any]) -> Table:
        from tqdm import tqdm

        from fastnn.kernels.jit.csv_cells import DONE, OTHER, SHORT, parse

        rows = 1 + sum(
            int(np.count_nonzero(self.text[at : at + PIECE] == ord("\n")))
            for at in range(self.start, len(self.text), PIECE)
        )
        whole = dtype == np.uint8
        table = np.empty((rows, self.columns - (self.label >= 0)), dtype)
        labels = np.empty(rows)
        state = np.array([self.start, 0, 0])
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
                ended = parse(self.text, end, ord(self.delimiter), self.label, whole, table, labels, state)
                if ended == OTHER:
                    self._other(whole, table, labels, state)
                elif ended != DONE:
                    raise self._wrong_length(state, short=ended == SHORT)
                bar.update(int(state[0] - before[0]))
                if (state == before).all():
                    break
        found = int(state[1])
        if found == 0:
            raise DatasetError(f"{self.file}: there is not one line of numbers")
        x = table[:found]
        return x, None if self.label < 0 else self._as_labels(labels[:found])

    def _other(
        self, whole: bool, table: NDArray[Any], labels: NDArray[np.float64], state: NDArray[np.int64]
    ) -> None:
        """Read the cell at `state` by Python's own rules, or say what is wrong with it."""
        position, row, column = map(int, state)
        line_end = _behind_line(self.text, position)
        line = bytes(self.text[position:line_end]).decode("utf-8", "replace").rstrip("\r\n")
        cell, delimiter, _ = line.partition(self.delimiter)
        if column >= self.columns:
            raise self._wrong_length(state, short=False)
        number = _number_of(cell)
        of_label = column == self.label
        where = f"{self.file}, line {self._line(position)}, column {column + 1}"
        if number is None:
            told = f"{cell.strip()!r} is no number" if cell.strip() else "the cell is empty"
            raise DatasetError(f"{where}: {told}")
        if whole and not of_label and not (number.is_integer() and 0 <= number <= 255):
            raise _NotWholeError(f"{where}: {cell.strip()!r} is no whole number from 0 to 255")
        if of_label:
            labels[row] = number
        else:
            table[row, column - (0 <= self.label < column)] = number
        behind = position + len(cell.encode()) + len(delimiter)
        if delimiter:
            if column + 1 == self.columns:
                raise self._wrong_length(state, short=False)
            state[:] = behind, row, column + 1
        elif column + 1 < self.columns:
            raise self._wrong_length(np.array([position, row, column + 1]), short=True)
        else:
            state[:] = line_end, row + 1, 0

    def _wrong_length(self, state: NDArray[np.int64], *, short: bool) -> DatasetError:
        position, _, column = map(int, state)
        line = self._line(position - 1 if short and position == len(self.text) else max(position - short, 0))
        cells = f"{column} cells" if short else f"more than {self.columns} cells"
        return DatasetError(f"{self.file}, line {line} has {cells}, but the first line has {self.columns}")

    def _line(self, position: int) -> int:
        """The number of the line at a position, from 1."""
        return 1 + int(np.count_nonzero(self.text[:position] == ord("\n")))

    def _as_labels(self, labels: NDArray[np.float64]) -> NDArray[np.int64]:
        bad = np.flatnonzero((labels != np.floor(labels)) | ~np.isfinite(labels))
        if len(bad):
            raise DatasetError(
                f"{self.file}: labels must be whole numbers, but column {self.label + 1} of the row "
                f"{bad[0] + 1} of numbers holds {labels[bad[0]]:g}: which column has them? (label=None: "
                "none)"
            )
        return labels.astype(np.int64)


def _bytes_of(file: Path) -> NDArray[np.uint8]:
    """All bytes of the file, unpacked, without the mark of UTF-8 that spreadsheets write in front."""
    return np.frombuffer(read_unpacked(file).removeprefix(b"\xef\xbb\xbf"), np.uint8)


def _behind_line(text: NDArray[np.uint8], position: int) -> int:
    """Where the line after that at `position` begins."""
    while position < len(text):
        ends = np.flatnonzero(text[position : position + PIECE] == ord("\n"))
        if len(ends):
            return position + int(ends[0]) + 1
        position += PIECE
    return len(text)


def _first_line(file: Path, text: NDArray[np.uint8]) -> str:
    """The first line that is not blank."""
    line = bytes(text[: _behind_line(text, 0)])
    if not line.strip():
        raise DatasetError(f"{file}: the first line is empty" if len(text) else f"{file}: the file is empty")
    if b"\0" in line:
        raise DatasetError(f"{file}: no CSV file: its first line holds zero bytes")
    return line.decode("utf-8", "replace").rstrip("\r\n")


def _label_column(file: Path, label: int | str | None, names: list[str], has_header: bool) -> int:
    """The column of the labels, or -1. Raises ValueError, TypeError."""
    if label is None:
        return -1
    if isinstance(label, str):
        if not has_header:
            raise ValueError(f"{file} has no header, so there is no column {label!r}: pass its number")
        if label not in names:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ValueError(f"{file} has no column {label!r}: there are {shown}")
        return names.index(label)
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise TypeError(f"label must be a column's number or name, or None, not {label!r}")
    if not -len(names) <= label < len(names):
        raise ValueError(f"label must be a column from 0 to {len(names) - 1}, not {label}")
    return int(label) % len(names)


def _is_number(cell: str) -> bool:
    return _number_of(cell) is not None


def _number_of(cell: str) -> float | None:
    text = cell.strip().strip('"').strip()
    if "_" in text:  # Python reads 1_000, people do not mean it
        return None
    try:
        return float(text)
    except ValueError:
        return None
