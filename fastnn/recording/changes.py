"""A count of changes to anything that a recorded training step depends on.

Layers, parameters, losses and optimizers report here when an attribute of theirs is set. A plan remembers
the count; only when it has moved does it compare itself with model, loss and optimizer in full.
"""

from __future__ import annotations

from typing import Any

count = 0


def note() -> None:
    """Something has changed."""
    global count
    count += 1


class Noted:
    """Base class whose instances report every attribute that is set or deleted."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        note()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        note()
