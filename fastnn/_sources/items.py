"""Data sets that give one sample at a time, such as those of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fastnn._arrays import Array, as_array, real_array
from fastnn._sources.base import Source


class Items(Protocol):
    """A data set whose items are pairs (x, y)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ItemRows(Source):
    """The features of a data set whose items are pairs (x, y) of one sample; `targets` are all y (N, ...).

    Every item is read once for its target. Raises ValueError if there are no items, and what `read` raises:
    TypeError if an item is no pair of numbers, ValueError if its shape or dtype differs from those of item 0.
    What the data set raises passes through, with the number of the item as a note.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        count = len(items)
        if count == 0:
            raise ValueError(f"{type(items).__name__} is empty: pass at least one sample")
        x, y = self._item(0)
        self.shape, self.dtype = (count, *x.shape), x.dtype
        targets = [self._like(self._item(number)[1], y, number, "y") for number in range(count)]
        self.targets: Array = np.stack(targets)
        self._first = x

    def read(self, index: slice | Array) -> Array:
        numbers = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        rows: Array = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            rows[place] = self._like(self._item(number)[0], self._first, number, "x")
        return rows

    def _item(self, number: int) -> tuple[Array, Array]:
        try:
            item = self._items[number]
        except Exception as error:
            error.add_note(f"raised by item {number} of the data, {type(self._items).__name__}")
            raise
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            keys = f" with the keys {list(item)}" if isinstance(item, Mapping) else ""
            raise TypeError(
                f"item {number} of {type(self._items).__name__} must be a pair (x, y) of one sample, not "
                f"{type(item).__name__}{keys}"
            )
        return real_array(item[0], f"x of item {number}"), as_array(item[1], f"y of item {number}")

    @staticmethod
    def _like(array: Array, first: Array, number: int, name: str) -> Array:
        is_text = array.dtype.kind == first.dtype.kind == "U"  # of any length
        if array.shape != first.shape or not (is_text or array.dtype == first.dtype):
            raise ValueError(
                f"{name} of item {number} has shape {array.shape} and dtype {array.dtype}, but that of item "
                f"0 has {first.shape} and {first.dtype}"
            )
        return array


def has_items(data: object) -> bool:
    """Whether `data` gives samples by number, and is no array, table, dict or sequence."""
    if isinstance(data, (np.ndarray, tuple, list, str, bytes, range, Mapping)):
        return False
    if hasattr(data, "isna") or hasattr(data, "shape") or hasattr(data, "columns"):
        return False
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")
