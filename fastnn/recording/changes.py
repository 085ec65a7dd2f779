"""A global count of changes to anything that a plan may depend on.

Layers, parameters, losses and optimizers increase the count when one of their attributes is set. A plan
remembers the count and compares itself with model, loss and optimizer in full only when the count has moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn._attributes import Declared

count = 0


def note() -> None:
    """Report a change."""
    global count
    count += 1


class Noted(Declared):
    """Base class of objects that report every attribute that is set or deleted."""

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            note()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        note()
