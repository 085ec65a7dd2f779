"""Print the epochs of a training, and measure its time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastnn.history import History
from fastnn.training.callbacks import Callback


class PrintedHistory(History):
    """A history that prints a line after every epoch."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._total = epochs
        self._started = time.perf_counter()

    def add_epoch(self, values: dict[str, float]) -> None:
        before = self.epochs
        super().add_epoch(values)
        within = {
            name: curve[-1]
            for name, curve in self.items()
            if name not in values and self.epochs_of(name)[-1] > before
        }
        now = time.perf_counter()
        shown = "  ".join(
            f"{name.replace('val_', 'validation ')} {value:.4f}" for name, value in (values | within).items()
        )
        # Flush, because users also watch a run through a pipe.
        print(f"epoch {self.epochs}/{self._total}  {shown}  {now - self._started:.1f} s", flush=True)
        self._started = now


class Stopwatch(Callback):
    """Measures the training time, including the time before an interruption."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Training time so far, in seconds."""
        return self._before + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._before, self._started = float(state["seconds"]), time.perf_counter()
