"""Data sets that give one sample at a time, such as those of PyTorch and Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fastnn._arrays import Array, as_array, real_array
from fastnn._sources.base import Source

# The keys of dicts for features, targets and weights. Exactly one key for features and for targets is needed.
KEYS = {
    "x": ("x", "image", "img", "features", "pixel_values"),
    "y": ("y", "label", "labels", "target"),
    "sample_weight": ("sample_weight",),
}


class Items(Protocol):
    """A data set whose items are pairs (x, y)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ItemRows(Source):
    """The features of a data set whose items are samples; `parts_of` says what they may be.

    `targets` are all y (N, ...), `weights` all weights (N,), or None without weights. Every item is read once
    for these. Raises ValueError if there are no items, and what `read` raises: TypeError if an item is no
    sample, ValueError if its shape or dtype differs from those of item 0. What the data set raises passes
    through, with the number of the item as a note.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        count = len(items)
        if count == 0:
            raise ValueError(f"{type(items).__name__} is empty: pass at least one sample")
        x, y, weight = self._item(0)
        self.shape, self.dtype = (count, *x.shape), x.dtype
        targets, weights = [], []
        for number in range(count):
            _, own, of_sample = self._item(number)
            targets.append(self._like(own, y, number, "y"))
            if (of_sample is None) != (weight is None):
                raise ValueError(f"either all items or none must have a weight: item {number} differs from 0")
            weights.append(of_sample)
        self.targets: Array = np.stack(targets)
        self.weights = None if weight is None else weights
        self._first = x

    def read(self, index: slice | Array) -> Array:
        numbers = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        rows: Array = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            rows[place] = self._like(self._item(number)[0], self._first, number, "x")
        return rows

    def _item(self, number: int) -> tuple[Array, Array, Any]:
        try:
            item = self._items[number]
        except Exception as error:
            error.add_note(f"raised by item {number} of the data, {type(self._items).__name__}")
            raise
        x, y, weight = parts_of(item, f"item {number} of {type(self._items).__name__}")
        return real_array(x, f"x of item {number}"), as_array(y, f"y of item {number}"), weight

    @staticmethod
    def _like(array: Array, first: Array, number: int, name: str) -> Array:
        is_text = array.dtype.kind == first.dtype.kind == "U"  # of any length
        if array.shape != first.shape or not (is_text or array.dtype == first.dtype):
            raise ValueError(
                f"{name} of item {number} has shape {array.shape} and dtype {array.dtype}, but that of item "
                f"0 has {first.shape} and {first.dtype}"
            )
        return array


def parts_of(item: Any, what: str) -> tuple[Any, Any, Any]:
    """Features, targets and weight, or None without a weight, of an item: a tuple, or a dict with `KEYS`.

    `what` begins the messages. Raises TypeError for anything else. Other keys of a dict are ignored.
    """
    if isinstance(item, Mapping):
        return part_of(item, "x", what), part_of(item, "y", what), part_of(item, "sample_weight", what)
    if isinstance(item, (tuple, list)) and len(item) in (2, 3):
        return item[0], item[1], item[2] if len(item) == 3 else None
    size = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    raise TypeError(
        f'{what} must be (x, y), (x, y, sample_weight), or a dict such as {{"image": x, "label": y}}, not '
        f"{type(item).__name__}{size}"
    )


def part_of(item: Mapping[Any, Any], part: str, what: str) -> Any:
    """The value of the one of `KEYS[part]` in the item. Raises TypeError if there is none, or several."""
    found = [key for key in KEYS[part] if key in item]
    if len(found) == 1:
        return item[found[0]]
    if not found and part == "sample_weight":
        return None
    raise TypeError(
        f"{what} must have one of the keys {', '.join(KEYS[part])} for {part}, but has the keys {list(item)}"
    )


def is_hugging_face(data: object) -> bool:
    """Whether `data` is a data set of Hugging Face's `datasets`, whose items are dicts."""
    return hasattr(data, "column_names") and hasattr(data, "with_format")


def has_items(data: object) -> bool:
    """Whether `data` gives samples by number, and is no array, table, dict or pair (x, y).

    A list is a data set if it has dicts, or more than three pairs.
    """
    if isinstance(data, list):
        return bool(data) and all(
            isinstance(item, Mapping) or (isinstance(item, tuple) and len(data) > 3) for item in data
        )
    if isinstance(data, (np.ndarray, tuple, str, bytes, range, Mapping)):
        return False
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        return False
    return is_hugging_face(data) or not any(hasattr(data, name) for name in ("isna", "shape", "columns"))
