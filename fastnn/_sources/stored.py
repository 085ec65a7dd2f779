"""Features in a file that is read by slices: h5py datasets, Zarr arrays and similar objects.

A training announces the order in which it will use the rows. The order is made for files ("blocks" in
`training.orders`): it mixes the rows of one window of blocks after the other, so each block is read once per
epoch, as one slice. A thread reads the blocks of the next window while the rows of this one are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._arrays import REAL_KINDS, Array, reject_stripped
from fastnn._sources.base import WINDOW, Source, rows_of_block

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class StoredRows(Source):
    """The rows of an object with a shape, a dtype and slices.

    Raises TypeError unless it holds real numbers. Reading raises OSError if the object raises, for example
    because its file was closed.
    """

    is_sequential = True

    def __init__(self, stored: Any, name: str) -> None:
        if stored.dtype.kind not in REAL_KINDS:
            raise TypeError(f"{name} must hold real numbers, but its dtype is {stored.dtype}")
        self._stored, self._name = stored, name
        self.shape, self.dtype = tuple(map(int, stored.shape)), stored.dtype
        self.block = rows_of_block(self.shape, self.dtype, getattr(stored, "chunks", None))
        self._ahead: _ReadAhead | None = None

    def read(self, index: slice | Array) -> Array:
        if isinstance(index, slice):
            return self._slice(index)
        if self._ahead is not None:
            return self._gather(index, self._ahead.blocks(index // self.block))
        if len(index) and bool((np.diff(index) == 1).all()):
            return self._slice(slice(int(index[0]), int(index[-1]) + 1))
        return self._gather(index, {int(b): self._block(int(b)) for b in np.unique(index // self.block)})

    @contextmanager
    def reading_ahead(self, order: Array) -> Iterator[None]:
        if self._ahead is not None:  # the same object is in use by another training
            yield
            return
        from concurrent.futures import ThreadPoolExecutor  # imports logging

        with ThreadPoolExecutor(1, "fastnn-read") as pool:
            self._ahead = _ReadAhead(self, order // self.block, pool)
            try:
                yield
            finally:
                self._ahead = None
                pool.shutdown(cancel_futures=True)

    def _gather(self, index: Array, blocks: dict[int, Array]) -> Array:
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        numbers = index // self.block
        for number in np.unique(numbers).tolist():
            here = numbers == number
            rows[here] = blocks[number][index[here] - number * self.block]
        return rows

    def _block(self, number: int) -> Array:
        return self._slice(slice(number * self.block, min((number + 1) * self.block, len(self))))

    def _slice(self, index: slice) -> Array:
        start, stop, step = index.indices(len(self))
        expected = len(range(start, stop, step)), *self.shape[1:]
        try:
            rows = np.asarray(self._stored[start:stop:step] if step > 1 else self._stored[start:stop])
        except Exception as error:  # each library has its own
            raise OSError(
                f"rows {start} to {stop - 1} of {self._name} cannot be read ({type(error).__name__}: "
                f"{error}): its file must stay open and unchanged while it is used"
            ) from error
        if rows.shape != expected:
            raise OSError(
                f"rows {start} to {stop - 1} of {self._name} have the shape {rows.shape}, not {expected}: "
                "its file must not change while it is used"
            )
        return rows


class _ReadAhead:
    """The blocks in memory: those that still have unused rows, and the next ones, which a thread reads."""

    def __init__(self, source: StoredRows, numbers: Array, pool: ThreadPoolExecutor) -> None:
        self.source, self.pool = source, pool
        found, first, counts = np.unique(numbers, return_index=True, return_counts=True)
        self.sequence: list[int] = found[np.argsort(first)].tolist()  # in the order of the first use
        self.place = {number: place for place, number in enumerate(self.sequence)}
        self.unused = dict(zip(found.tolist(), counts.tolist(), strict=True))  # rows
        self.started = 0  # blocks of the sequence that have been requested
        self.futures: dict[int, Future[Array]] = {}

    def blocks(self, numbers: Array) -> dict[int, Array]:
        """The blocks with these numbers, one for each row; starts to read the `WINDOW` blocks after them."""
        needed, counts = (each.tolist() for each in np.unique(numbers, return_counts=True))
        # Callbacks may ask for other rows than those of the training.
        end = max(self.place.get(number, -1) for number in needed) + 1 + WINDOW
        for number in [*self.sequence[self.started : end], *needed]:
            if number not in self.futures:  # a failed step may need the rows of a forgotten block again
                self.futures[number] = self.pool.submit(self.source._block, number)
        self.started = max(self.started, end)
        blocks = {number: self.futures[number].result() for number in needed}
        for number, count in zip(needed, counts, strict=True):
            self.unused[number] = self.unused.get(number, 0) - count
            if self.unused[number] <= 0:
                del self.futures[number]
        return blocks


def is_stored(x: Any) -> bool:
    """Whether `x` has a shape of two or more dimensions, a NumPy dtype and slices, but is no array.

    Other libraries' arrays in memory have `__dlpack__`.
    """
    if isinstance(x, (np.ndarray, np.generic, list, tuple)) or hasattr(x, "isna") or hasattr(x, "__dlpack__"):
        return False
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    return (
        isinstance(shape, tuple)
        and len(shape) > 1
        and isinstance(dtype, np.dtype)
        and hasattr(x, "__getitem__")
    )


def stored_rows(x: Any, name: str) -> StoredRows | None:
    """`x` as a source, or None if it is no such object.

    Raises TypeError for values with units, and OSError if the file of `x` is closed.
    """
    try:
        found = is_stored(x)
    except Exception as error:  # h5py raises ValueError at every look at a closed file
        raise OSError(f"{name} cannot be read: {error}; open its file again") from error
    if not found:
        return None
    reject_stripped(x, name)
    return StoredRows(x, name)
