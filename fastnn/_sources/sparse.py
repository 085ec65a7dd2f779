"""SciPy sparse matrices as features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastnn._arrays import REAL_KINDS, Array
from fastnn._sources.base import Source


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
