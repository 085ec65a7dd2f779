"""The interface of features that are not NumPy arrays, and what it needs of arrays.

A `Source` has the shape, dtype and indexing by rows of an array, so that the rest of the package treats it
like a memory-mapped file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._arrays import Array

# Convert at most this many values at once where the number of rows is not the user's choice.
VALUES_AT_ONCE = 2**20

# Rows are read from files in blocks of about this many bytes; the rows of a window of blocks are mixed.
BLOCK_BYTES, WINDOW = 2**22, 4


class HasRows(Protocol):
    """An object with rows that is no array, such as a sparse matrix."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...


Features = npt.ArrayLike | HasRows


class Source(ABC):
    """Features (N, ...) whose rows are read on demand: `source[index]` is an array of its dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_sequential = False
    """Whether reading rows in random order is slow: only the orders "blocks" and "fixed" are useful."""
    block = 1024
    """The number of rows to read together."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> Array:
        """The rows that a slice or an array of integers selects, or a single row."""
        if isinstance(index, (int, np.integer)):
            row: Array = self.read(slice(int(index), int(index) + 1))[0]
            return row
        return self.read(index)

    @abstractmethod
    def read(self, index: slice | Array) -> Array:
        """The rows that a slice or an array of integers (M,) selects, in the order of the index."""

    def block_numbers(self) -> Array:
        """The number of the block of each row, ascending (N,)."""
        return np.arange(len(self)) // self.block

    def reading_ahead(self, order: Array) -> AbstractContextManager[None]:
        """A context in which the rows are read in this order, so that they may be read before their use."""
        return nullcontext()

    def values(self) -> Iterator[Array]:
        """Yield arrays that together hold all values, except for zeros."""
        step = rows_at_once(self, len(self))
        for start in range(0, len(self), step):
            yield self[start : start + step]


Rows = Array | Source


class Selection(Source):
    """The rows `index`, ascending, of an array or a source; they are not copied."""

    def __init__(self, rows: Rows, index: Array) -> None:
        self.rows, self.index = rows, index
        self.shape, self.dtype = (len(index), *rows.shape[1:]), rows.dtype
        self.is_sequential = isinstance(rows, Source) and rows.is_sequential

    def read(self, index: slice | Array) -> Array:
        return self.rows[self.index[index]]

    def block_numbers(self) -> Array:
        return block_numbers(self.rows)[self.index]

    def reading_ahead(self, order: Array) -> AbstractContextManager[None]:
        return reading_ahead(self.rows, self.index[order])


def rows_at_once(rows: Rows, most: int) -> int:
    """How many rows to convert together: `most`, or fewer if a source has very long rows."""
    if isinstance(rows, np.ndarray):
        return most
    return max(1, min(most, VALUES_AT_ONCE // max(1, math.prod(rows.shape[1:]))))


def reading_ahead(rows: Rows, order: Array) -> AbstractContextManager[None]:
    """A context in which `rows` are read in this order; arrays are in memory already."""
    return rows.reading_ahead(order) if isinstance(rows, Source) else nullcontext()


def rows_of_block(shape: tuple[int, ...], dtype: np.dtype[Any], chunks: object = None) -> int:
    """How many rows to read together: about `BLOCK_BYTES`, and whole chunks of the file."""
    rows = max(1, BLOCK_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))
    chunk = chunks[0] if isinstance(chunks, tuple) and chunks and isinstance(chunks[0], int) else 1
    return max(1, round(rows / chunk)) * chunk


def block_numbers(rows: Rows) -> Array:
    """The number of the block of each row of an array, which may be a memory-mapped file, or of a source."""
    if isinstance(rows, Source):
        return rows.block_numbers()
    return np.arange(len(rows)) // rows_of_block(rows.shape, rows.dtype)
