"""The last change to anything that a plan may depend on.

Layers, parameters, losses and optimizers report a change when one of their attributes is set. A plan
remembers the last change before it was compared with model, loss and optimizer in full, and does so again
only after another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn._attributes import Declared

# A new object for each change. A counter could return to an earlier value: without the GIL, two threads that
# increment it at the same time may both store what the slower one has read.
last = object()


def note() -> None:
    """Report a change."""
    global last
    last = object()


class Noted(Declared):
    """Base class of objects that report every attribute that is set or deleted."""

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            note()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        note()
