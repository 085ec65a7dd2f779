"""A mapping from objects to values by identity, which does not keep the objects alive."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

V = TypeVar("V")


class PerObject(Generic[V]):
    """A value per object, dropped when the object dies. The objects need not be hashable."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[weakref.ref[object], V]] = {}

    def get(self, owner: object) -> V | None:
        """The value of `owner`, or None."""
        item = self._items.get(id(owner))
        return item[1] if item is not None and item[0]() is owner else None

    def values(self) -> list[V]:
        """The values of all objects that are alive."""
        return [value for _, value in list(self._items.values())]

    def set(self, owner: object, value: V) -> None:
        """Set the value of `owner`."""
        key = id(owner)
        self._items[key] = weakref.ref(owner, lambda _: self._items.pop(key, None)), value
