"""Read the rows of a large CSV file in chunks: columns of numbers as arrays, those of text as lists."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

import numpy as np

from fastnn.data.columns import Array
from fastnn.data.csv_header import number_of

# Cells that stand for a missing value, in any case; "None" and "?" are text, because they may be categories.
MISSING = ("", "na", "n/a", "nan", "null")

# A chunk has at most so many rows, and cells of numbers (8 MiB), which need 32 MiB more if Python reads them.
ROWS_AT_ONCE = 1024
MOST_CELLS = 1 << 20

Cells = Array | Sequence[str] | None
"""The cells of a column in a chunk: numbers (float64, NaN where missing), text, or None if it is left out."""


class OddTextError(Exception):
    """The text has a form that only the module `csv` reads, or rows of different lengths."""


class CompiledRows:
    """Reads rows with the kernel `parse_columns`; Python reads the cells of text, and numbers of odd forms.

    Args:
        text: The content of the file.
        delimiter: A comma, a semicolon or a tab.
        as_text: For each column, whether it holds text; None leaves it out. A column of numbers becomes one
            of text with the first chunk that has text in it.
        header: The number of rows to skip, 0 or 1.
    """

    def __init__(self, text: str, delimiter: str, as_text: Sequence[bool | None], header: int) -> None:
        self.content, self.delimiter = bytearray(text, "utf-8"), delimiter
        self.as_text, self.header = as_text, header

    def chunks(self) -> Iterator[list[Cells]]:
        """Yield the columns of successive rows. Raises `OddTextError`, maybe after some chunks."""
        from fastnn.kernels.jit.csv_cells import DONE, FULL, NUMBER, SKIPPED, TEXT, parse_columns

        # For the module `csv`, a return alone ends a row, a zero byte may be an error, and an empty cell in
        # quotes is a blank line if it is the only one.
        columns = len(self.as_text)
        odd_returns = self.content.count(b"\r") != self.content.count(b"\r\n")
        if odd_returns or b"\0" in self.content or columns == 1:
            raise OddTextError
        rows = max(1, min(ROWS_AT_ONCE, MOST_CELLS // columns))
        table, odd = np.empty((rows, columns)), np.empty((rows * columns, 4), np.int64)
        text, state = np.frombuffer(self.content, np.uint8), np.zeros(3, np.int64)

        def parse(kinds: Array, rows: int) -> Array:
            state[1:] = 0
            spans = np.empty((rows, np.count_nonzero(kinds == TEXT), 2), np.int64)
            reason = parse_columns(text, ord(self.delimiter), kinds, table[:rows], spans, odd, state)
            if reason not in (DONE, FULL):
                raise OddTextError
            return spans[: state[1]]

        if self.header:
            parse(np.full(columns, SKIPPED, np.uint8), self.header)
        of_text = {None: SKIPPED, False: NUMBER, True: TEXT}
        kinds = np.array([of_text[chosen] for chosen in self.as_text], np.uint8)
        while (start := int(state[0])) < len(text):
            spans = parse(kinds, rows)
            if late := self._read_odd(table, odd[: state[2]]):
                kinds[late] = TEXT
                state[0] = start
            elif len(spans):
                numbers = iter(np.ascontiguousarray(table[: len(spans), kinds == NUMBER].T))
                texts = iter(spans.transpose(1, 0, 2))
                yield [
                    next(numbers) if kind == NUMBER else self._cells(next(texts)) if kind == TEXT else None
                    for kind in kinds
                ]

    def _read_odd(self, table: Array, odd: Array) -> list[int]:
        """Write the numbers of cells that the kernel could not read; returns the columns that hold text."""
        if not len(odd):
            return []
        rows, columns = odd[:, 0], odd[:, 1]
        cells = self._cells(odd[:, 2:])
        if (values := as_numbers(cells)) is not None:
            table[rows, columns] = values
            return []
        late = []
        for column in np.unique(columns).tolist():
            own = np.flatnonzero(columns == column)
            if as_numbers([cells[i] for i in own]) is None:
                late.append(column)
        return late

    def _cells(self, spans: Array) -> list[str]:
        """The cells as the module `csv` returns them: without quotes around them."""
        cells = [self.content[begin:end].decode() for begin, end in spans.tolist()]
        return [self._unquoted(cell) if cell.lstrip(" ").startswith('"') else cell for cell in cells]

    def _unquoted(self, cell: str) -> str:
        row = next(csv.reader([cell], delimiter=self.delimiter, skipinitialspace=True))
        return row[0] if row else ""


def is_missing(cell: str) -> bool:
    """Whether the cell stands for a missing value."""
    return len(cell) <= 4 and cell.lower() in MISSING


def as_numbers(cells: Sequence[str]) -> Array | None:
    """Convert cells to float64, NaN where one is missing; None if one is text."""
    if "_" in "".join(cells):  # `float` accepts 1_000
        return None
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = [np.nan if is_missing(cell.strip()) else number_of(cell) for cell in cells]
        return None if None in values else np.array(values, np.float64)
