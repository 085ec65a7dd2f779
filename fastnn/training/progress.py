"""Show the progress of a training: a bar during each epoch and a line after it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any
from warnings import catch_warnings


class HiddenBar:
    """A bar that shows nothing."""

    def update(self, steps: int) -> None:
        """Do nothing."""

    def set_postfix(self, values: Mapping[str, float]) -> None:
        """Do nothing."""


HIDDEN = HiddenBar()


class Progress:
    """The display of one training, on the error stream.

    A terminal or a notebook shows a bar while an epoch runs, which then gives way to one line with the losses
    and metrics of the epoch. A file or a pipe gets the lines alone.

    `shown` is True, False, None (only in a terminal or a notebook) or "bar" (as None, but without the lines).
    Raises ValueError for anything else.
    """

    def __init__(self, shown: bool | str | None, epochs: int) -> None:
        if not (shown is None or isinstance(shown, bool) or shown == "bar"):
            raise ValueError(f'progress must be True, False, None or "bar", not {shown!r}')
        is_live = _is_terminal() or _is_notebook()
        self._shows_bar = is_live and shown is not False
        self._shows_lines = shown is True or (is_live and shown is None)
        self._epochs = epochs
        self._validated: dict[str, float] = {}  # in this epoch
        self._started = time.perf_counter()

    def bar(self, epoch: int, updates: int | None, done: int) -> Any:
        """A tqdm bar for the updates of an epoch (None: unknown), of which `done` are already made."""
        if not self._shows_bar:  # a disabled tqdm still takes 40 us, a fifth of a short epoch
            return nullcontext(HIDDEN)
        with catch_warnings(action="ignore"):  # ipywidgets is missing: then the bar is text
            from tqdm.auto import tqdm  # a widget in a notebook
        title = f"epoch {epoch + 1}/{self._epochs}"
        return tqdm(total=updates, initial=done, desc=title, leave=False)

    def show(self, bar: Any, values: Mapping[str, float]) -> None:
        """Show the results of a validation within an epoch, beside the bar and in the line of the epoch."""
        self._validated = dict(values)
        bar.set_postfix(values)

    def report(self, epoch: int, values: Mapping[str, float]) -> None:
        """Print a line with the values of an epoch."""
        values, self._validated = {**values, **self._validated, **values}, {}
        if not self._shows_lines or sys.stderr is None:  # print would take the output stream instead
            return
        now = time.perf_counter()
        listed = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        with suppress(OSError, ValueError):  # a closed or broken stream must not end the training
            line = f"epoch {epoch + 1}/{self._epochs}  {listed}  {now - self._started:.1f} s"
            print(line, file=sys.stderr, flush=True)
        self._started = now


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


def _is_notebook() -> bool:
    """Whether the output goes to a Jupyter kernel, whose error stream is no terminal."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
