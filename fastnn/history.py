"""The curves of a training, per epoch and per update."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import numpy as np

from fastnn._schema import check_fields, each, numbers, optional, text
from fastnn._validation import Array, choose, positive_int
from fastnn.files import user_path, write_atomic
from fastnn.tables import html_table, html_text

SCHEMA = {"epochs": each(numbers), "updates": each(numbers), "stopped": optional(text)}
RECORDED = each({"epochs": numbers, "updates": numbers})  # missing in old files

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Moment(NamedTuple):
    """When a value was recorded: finished epochs, with the fraction of the current one, and updates made."""

    epoch: float
    update: int


class History(dict[str, list[float]]):
    """Curves by name: `history["loss"]` per epoch, `history.updates["loss"]` per update.

    Per epoch: "loss" (mean over the epoch's updates), "accuracy", "val_loss", "val_accuracy", where they
    apply; of a loss with `reduction="sum"` also the mean, "loss_mean" and "val_loss_mean". A curve may start
    late, stop early or have gaps, for example if only some epochs had validation: `epochs_of` and
    `updates_of` tell when each value was recorded. `stopped` says why training ended early, or is None.

    Per update: value n of a curve belongs to update n; it is NaN if update n did not record this curve.
    """

    def __init__(self) -> None:
        super().__init__()
        self.updates: dict[str, list[float]] = {"loss": []}
        self.stopped: str | None = None
        self._recorded: dict[str, list[Moment]] = {}

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return int(max((moment.epoch for name in self for moment in self._moments(name)[-1:]), default=0))

    def epochs_of(self, name: str) -> list[float]:
        """Return the epoch of each value of the curve `name`: 1 at the end of the first epoch.

        A value recorded within an epoch has a fraction: 1.5 in the middle of the second epoch. Raises
        KeyError if there is no such curve.
        """
        return [moment.epoch for moment in self._moments(name)]

    def updates_of(self, name: str) -> list[int]:
        """Return the number of updates that had been made when each value of the curve `name` was recorded.

        In a file without this information, the updates are divided evenly among the epochs. Raises KeyError
        if there is no such curve.
        """
        return [moment.update for moment in self._moments(name)]

    def _moments(self, name: str) -> list[Moment]:
        """Return when each value of a curve was recorded; by default, one value at the end of each epoch."""
        count, recorded = len(self[name]), self._recorded.get(name, [])
        if len(recorded) == count:
            return recorded
        # Someone changed the lists, or the history comes from a file without moments.
        epochs = max(map(len, self.values()))
        return [
            Moment(epoch, round(epoch * len(self.updates["loss"]) / epochs)) for epoch in range(1, count + 1)
        ]

    def add_epoch(self, values: dict[str, float]) -> None:
        """Append one value to each curve, at the end of the next epoch."""
        self.record(values, self.epochs + 1)

    def record(self, values: Mapping[str, float], epoch: float | None = None) -> None:
        """Append one value to each curve at the latest update.

        `epoch` counts the finished epochs, with the finished fraction of the current one. Default: the number
        of finished epochs.
        """
        moment = Moment(self.epochs if epoch is None else epoch, len(self.updates["loss"]))
        for name, value in values.items():
            curve = self.setdefault(name, [])
            self._recorded[name] = self._moments(name)
            self._recorded[name].append(moment)
            curve.append(value)

    def place_last_epoch(self, updates: int) -> None:
        """Say that the last epoch had this many updates: values recorded within it belong to fractions of it.

        Of data that come one after the other, this is known only at the end of the epoch.
        """
        end, epoch = len(self.updates["loss"]), self.epochs
        for name in self:
            moments = self._moments(name)
            for index in range(len(moments) - 1, -1, -1):
                update = moments[index].update
                if update <= end - updates:
                    break
                moments[index] = Moment(epoch - (end - update) / updates if update < end else epoch, update)

    def add_updates(self, values: Mapping[str, Iterable[float]]) -> None:
        """Append the values of the latest updates to the curves per update; "loss" is one of them."""
        before = len(self.updates["loss"])
        for name, new in values.items():
            curve = self.updates.setdefault(name, [])
            curve.extend([math.nan] * (before - len(curve)))
            curve.extend(new)

    def blocks(self, name: str, size: int) -> Array:
        """Return the means of the curve `name` per update over blocks of `size` updates, float64 (blocks,).

        Element n is the mean of the updates n size + 1 to (n + 1) size, without those that are NaN; a last
        block that is not full is left out.

        >>> history.blocks("loss", 150)  # the mean loss of every 150 updates

        Raises KeyError if there is no such curve, ValueError if `size` is below 1.
        """
        size = positive_int(size, "size")
        if name not in self.updates:
            raise KeyError(f"there is no curve {name!r} per update, only {', '.join(self.updates)}")
        values = np.asarray(self.updates[name], np.float64)
        rows = values[: len(values) // size * size].reshape(-1, size)
        recorded = ~np.isnan(rows)
        with np.errstate(invalid="ignore"):  # a block without any value is NaN
            return np.asarray(rows.sum(axis=1, where=recorded) / recorded.sum(axis=1))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all curves to a JSON file atomically and return its path; `History.load` reads it.

        NaN and inf are written as NaN and Infinity, which Python reads, but strict JSON does not have.
        """
        write_atomic(path, (json.dumps(self.as_dict()) + "\n").encode())
        return user_path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a history that `save` wrote. Raises ValueError if the file is not a history."""
        try:
            return cls.from_dict(json.loads(user_path(path).read_bytes()))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)} is not a history: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain lists, e.g. for JSON."""
        recorded = {name: {"epochs": self.epochs_of(name), "updates": self.updates_of(name)} for name in self}
        return {
            "epochs": dict(self),
            "updates": self.updates,
            "stopped": self.stopped,
            "recorded": recorded,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make a history from what `as_dict` returned. Raises ValueError for other content."""
        history = cls()
        history.load_dict(content)
        return history

    def load_dict(self, content: Mapping[str, Any]) -> None:
        """Replace everything by what `as_dict` returned.

        "recorded" may be missing, as in old files: then the values of each curve belong to the epochs 1, 2,
        3, ... Raises ValueError, which names the field, for other content; nothing has changed then.
        """
        check_fields(content, SCHEMA)
        check_fields(content.get("recorded", {}), RECORDED, "recorded")
        recorded = {
            name: _moments_from(name, content["epochs"], at)
            for name, at in content.get("recorded", {}).items()
        }
        self.clear()
        self.update({name: list(curve) for name, curve in content["epochs"].items()})
        self.updates.clear()
        self.updates.update({name: list(curve) for name, curve in content["updates"].items()})
        self.stopped = content["stopped"]
        self._recorded = recorded

    @overload
    def plot(self, path: None = None, *, by: str = ...) -> Figure: ...

    @overload
    def plot(self, path: str | os.PathLike[str], *, by: str = ...) -> Path: ...

    def plot(self, path: str | os.PathLike[str] | None = None, *, by: str = "epoch") -> Path | Figure:
        """Draw the loss of every update, and loss, accuracy and metrics by "epoch" or by "update".

        Writes the image file `path` (.png, .svg, .pdf) and returns its path. Without a path, returns the
        matplotlib figure, which a notebook shows. Needs matplotlib (the extra `demo`).
        """
        from fastnn.viz._drawing import finish
        from fastnn.viz.curves import draw_curves

        return finish(draw_curves(self, by=by), path)

    def _repr_html_(self) -> str:
        """The curves and their last values for notebooks; without matplotlib, the last values alone."""
        if not self.updates["loss"]:
            return html_text("an empty history: no update has been made")
        last = {name: f"{curve[-1]:.4g}" for name, curve in self.items() if curve}
        ended = f", {self.stopped}" if self.stopped else ""
        caption = f"{self.epochs} epochs, {len(self.updates['loss']):,} updates{ended}"
        table = html_table([list(last), list(last.values())], caption=caption) if last else html_text(caption)
        try:
            return table + picture_html(self.plot())
        except ImportError:
            return table


def picture_html(figure: Figure) -> str:
    """A figure as an HTML image."""
    import base64
    import io

    content = io.BytesIO()
    figure.savefig(content, format="png")
    encoded = base64.b64encode(content.getvalue()).decode()
    return f'<img style="max-width:100%" src="data:image/png;base64,{encoded}">'


def _moments_from(name: str, curves: Mapping[str, list[float]], at: Mapping[str, Any]) -> list[Moment]:
    """Read the moments of a curve from a file. Raises ValueError if they do not fit the curve."""
    epochs, updates = at["epochs"], at["updates"]
    if {len(epochs), len(updates)} != {len(curves.get(name, ()))} or not all(map(math.isfinite, updates)):
        raise ValueError(
            f"{name!r} must have an epoch and an update for each of its {len(curves.get(name, ()))} values"
        )
    return [Moment(epoch, int(update)) for epoch, update in zip(epochs, updates, strict=True)]


# Directions of improvement; "auto" decides by the name of the curve.
MODES = "auto", "min", "max"

# Parts of the names of curves for which larger, or smaller, values are better.
LARGER, SMALLER = ("acc", "precision", "recall", "f1", "auc", "top", "iou"), ("loss", "error")


def curve_name(value: object, name: str) -> str:
    """Return `value`. Raises TypeError unless it is a text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be the name of a curve, such as 'val_loss', not {value!r}")
    return value


def better(mode: str, monitor: str) -> str:
    """Whether larger or smaller values of the curve `monitor` are better: "max" or "min".

    `mode` decides; "auto" decides by the name. Raises ValueError for another mode, and for a name that "auto"
    does not know.
    """
    choose(mode, dict.fromkeys(MODES), "mode")
    curve_name(monitor, "monitor")
    if mode != "auto":
        return mode
    larger, smaller = (any(part in monitor.lower() for part in parts) for parts in (LARGER, SMALLER))
    if larger == smaller:
        raise ValueError(f"are larger or smaller values of {monitor!r} better? pass mode='max' or mode='min'")
    return "max" if larger else "min"
