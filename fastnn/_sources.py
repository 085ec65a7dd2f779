"""Features that are not NumPy arrays. Rows are converted to an array when a mini-batch needs them.

A `Source` has the shape, dtype and indexing by rows of an array, so that the rest of the package treats it
like a memory-mapped file. Optional libraries are used, never imported, before an object of theirs is passed.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._arrays import REAL_KINDS, Array, real_array

# Convert at most this many values at once where the number of rows is not the user's choice.
VALUES_AT_ONCE = 2**22


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

    def values(self) -> Iterator[Array]:
        """Yield arrays that together hold all values, except for zeros."""
        step = rows_at_once(self, len(self))
        for start in range(0, len(self), step):
            yield self[start : start + step]


class SparseRows(Source):
    """The rows of a SciPy sparse matrix or array of any format. It is never densified as a whole.

    Raises ValueError if an index of the matrix points outside it, TypeError unless it has two dimensions and
    holds real numbers.
    """

    def __init__(self, matrix: Any, name: str) -> None:
        from scipy.sparse import csr_array

        if matrix.ndim != 2 or matrix.dtype.kind not in REAL_KINDS:
            raise TypeError(
                f"sparse {name} must have two dimensions and hold real numbers, but it has shape "
                f"{matrix.shape} and dtype {matrix.dtype}"
            )
        if hasattr(matrix, "check_format"):  # the formats with index pointers; SciPy does not check later
            try:
                matrix.check_format(full_check=True)
            except ValueError as error:
                raise ValueError(f"{name} is a damaged {type(matrix).__name__}: {error}") from error
        rows = matrix.tocsr()
        self._rows = csr_array((rows.data, rows.indices, rows.indptr), shape=rows.shape)
        if not self._rows.has_canonical_format:  # also in the user's own matrix, which must not change
            self._rows = self._rows.copy()
            self._rows.sum_duplicates()
        self.shape, self.dtype = self._rows.shape, self._rows.dtype

    def read(self, index: slice | Array) -> Array:
        dense: Array = self._rows[index].toarray()
        return dense

    def values(self) -> Iterator[Array]:
        yield self._rows.data


Rows = Array | Source


class Selection(Source):
    """Some rows of an array or a source, which are not copied."""

    def __init__(self, rows: Rows, index: Array) -> None:
        self.rows, self.index = rows, index
        self.shape, self.dtype = (len(index), *rows.shape[1:]), rows.dtype

    def read(self, index: slice | Array) -> Array:
        return self.rows[self.index[index]]


def feature_rows(x: object, name: str) -> Rows:
    """Return features as an array of real numbers or, where that would cost memory, as a `Source`.

    Raises TypeError or ValueError for anything else.
    """
    if isinstance(x, Source):
        return x
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(x):
        return SparseRows(x, name)
    return real_array(x, name)


def rows_at_once(rows: Rows, most: int) -> int:
    """How many rows to convert together: `most`, or fewer if a source has very long rows."""
    if isinstance(rows, np.ndarray):
        return most
    return max(1, min(most, VALUES_AT_ONCE // max(1, int(np.prod(rows.shape[1:])))))
