"""What happened during training, per epoch and per update."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


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
