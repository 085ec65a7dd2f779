"""A mapping from objects to values by identity, which does not keep the objects alive."""

from __future__ import annotations

import weakref
from functools import partial
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

    def set(self, owner: object, value: V) -> None:
        """Set the value of `owner`."""
        self._items[id(owner)] = self._item(owner, value)

    def setdefault(self, owner: object, value: V) -> V:
        """The value of `owner`; if it has none, `value` is set, by the first of several threads."""
        return self._items.setdefault(id(owner), self._item(owner, value))[1]

    def _item(self, owner: object, value: V) -> tuple[weakref.ref[object], V]:
        # Calls nothing but C when the owner dies: Ctrl-C in a Python function there would leave the item.
        return weakref.ref(owner, partial(self._items.pop, id(owner))), value
