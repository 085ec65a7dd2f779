"""What happened during training, per epoch and per update."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastnn._validation import choose


class History(dict[str, list[float]]):
    """Curves by name: `history["loss"]` per epoch, `history.updates["loss"]` per update.

    Per epoch: "loss" (mean over the epoch's updates), "accuracy", "val_loss", "val_accuracy", where
    they apply. `stopped` says why training ended early, or is None.
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
        """Append one value to each of the epoch's curves."""
        for name, value in values.items():
            self.setdefault(name, []).append(value)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain lists, e.g. for JSON."""
        return {"epochs": dict(self), "updates": self.updates, "stopped": self.stopped}

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the loss per update and the curves per epoch into the picture `path`; returns its path.

        Needs matplotlib (the extra `demo`).
        """
        from fastnn.viz import save_curves

        return save_curves(self, path)


# Parts of the names of curves that are the better the larger, or the smaller.
LARGER, SMALLER = ("acc", "precision", "recall", "f1", "auc", "top", "iou"), ("loss", "error")


def better(mode: str, monitor: str) -> str:
    """What is better of the curve `monitor`: "max" or "min", as `mode` says, or for "auto" as its name does.

    Raises ValueError for another mode, and for a name that says neither.
    """
    choose(mode, dict.fromkeys(("auto", "min", "max")), "mode")
    if mode != "auto":
        return mode
    larger, smaller = (any(part in monitor.lower() for part in parts) for parts in (LARGER, SMALLER))
    if larger == smaller:
        raise ValueError(f"is {monitor!r} the better the larger or the smaller? pass mode='max' or 'min'")
    return "max" if larger else "min"
