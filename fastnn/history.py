"""The curves of a training, per epoch and per update."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from fastnn._schema import check_fields, each, numbers, optional, text
from fastnn._validation import choose

SCHEMA = {"epochs": each(numbers), "updates": each(numbers), "stopped": optional(text)}


class History(dict[str, list[float]]):
    """Curves by name: `history["loss"]` per epoch, `history.updates["loss"]` per update.

    Per epoch: "loss" (mean over the epoch's updates), "accuracy", "val_loss", "val_accuracy", where they
    apply. `stopped` says why training ended early, or is None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.updates: dict[str, list[float]] = {"loss": []}
        self.stopped: str | None = None

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return len(self.get("loss", []))

    def add_epoch(self, values: dict[str, float]) -> None:
        """Append one value to each curve per epoch."""
        for name, value in values.items():
            self.setdefault(name, []).append(value)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain lists, e.g. for JSON."""
        return {"epochs": dict(self), "updates": self.updates, "stopped": self.stopped}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make a history from what `as_dict` returned. Raises ValueError for other content."""
        history = cls()
        history.load_dict(content)
        return history

    def load_dict(self, content: Mapping[str, Any]) -> None:
        """Replace everything by what `as_dict` returned.

        Raises ValueError, which names the field, for other content; nothing has changed then.
        """
        check_fields(content, SCHEMA)
        self.clear()
        self.update({name: list(curve) for name, curve in content["epochs"].items()})
        self.updates.clear()
        self.updates.update({name: list(curve) for name, curve in content["updates"].items()})
        self.stopped = content["stopped"]

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the loss per update and the curves per epoch into the image file `path`; returns its path.

        Needs matplotlib (the extra `demo`).
        """
        from fastnn.viz import save_curves

        return save_curves(self, path)


# Parts of the names of curves for which larger, or smaller, values are better.
LARGER, SMALLER = ("acc", "precision", "recall", "f1", "auc", "top", "iou"), ("loss", "error")


def better(mode: str, monitor: str) -> str:
    """Whether larger or smaller values of the curve `monitor` are better: "max" or "min".

    `mode` decides; "auto" decides by the name. Raises ValueError for another mode, and for a name that "auto"
    does not know.
    """
    choose(mode, dict.fromkeys(("auto", "min", "max")), "mode")
    if not isinstance(monitor, str):
        raise TypeError(f"monitor must be the name of a curve, such as 'val_loss', not {monitor!r}")
    if mode != "auto":
        return mode
    larger, smaller = (any(part in monitor.lower() for part in parts) for parts in (LARGER, SMALLER))
    if larger == smaller:
        raise ValueError(f"are larger or smaller values of {monitor!r} better? pass mode='max' or mode='min'")
    return "max" if larger else "min"
