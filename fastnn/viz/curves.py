"""Draw learning curves of one run or of several runs, and bar charts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fastnn.viz._drawing import NOISE, TRAINING, VALIDATION, Array, new_figure, save_figure, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Curves(Protocol):
    """The part of `fastnn.History` that this module uses; it cannot import `History`, which is above it."""

    updates: dict[str, list[float]]

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> list[float]: ...


def save_curves(history: Curves, path: str | os.PathLike[str]) -> Path:
    """Draw the learning curves of one run into the picture `path` (.png, .svg, .pdf) and return the path.

    The left panel shows the loss of every update and its mean over blocks of updates. The right panels show
    loss and accuracy per epoch, on the training set (mean over the updates of the epoch) and on the
    validation set, as far as the history has them.

    Raises ValueError if the history has no update, and ImportError if matplotlib is missing.
    """
    updates = np.asarray(history.updates["loss"], np.float64)
    if updates.size == 0:
        raise ValueError("the history is empty: there are no curves before the first update")
    by_epoch = [name for name in ("loss", "accuracy") if name in history]

    figure = new_figure(10 if by_epoch else 6, 4.5)
    grid = figure.add_gridspec(max(len(by_epoch), 1), 2 if by_epoch else 1)
    _draw_updates(figure.add_subplot(grid[:, 0]), updates)
    for row, name in enumerate(by_epoch):
        axes = figure.add_subplot(grid[row, 1])
        _draw_epochs(axes, history, name)
        if name == by_epoch[-1]:
            axes.set_xlabel("epoch")
    return save_figure(figure, path)


def save_bands(
    groups: Mapping[str, Sequence[Curves]],
    path: str | os.PathLike[str],
    *,
    name: str = "val_accuracy",
    log: bool = False,
) -> Path:
    """Draw one curve of several groups of runs: the mean of each group, in a band of one standard deviation.

    Args:
        groups: Histories by the label of their group, for example the runs with different seeds. Histories of
            a group may differ in length; each mean is over the histories that are long enough.
        path: Picture to write (.png, .svg, .pdf).
        name: Curve to draw: a quantity per epoch such as "val_accuracy", or one per update such as
            "updates.loss".
        log: Use a logarithmic y axis.

    Returns:
        The path of the picture. The standard deviation is that of the sample (divided by runs - 1).

    Raises:
        ValueError: If there are no groups, a group has no histories, or a history does not have the curve.
        ImportError: If matplotlib is missing.
    """
    if not groups:
        raise ValueError("there are no histories to draw")
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    if log:
        axes.set_yscale("log", nonpositive="clip")
    longest, block = 0, 1
    for label, histories in groups.items():
        curves = [_curve(history, name, label) for history in histories]
        if not curves:
            raise ValueError(f"the group {label!r} has no history")
        length = max(map(len, curves))
        table = np.full((len(curves), length), np.nan)
        for row, curve in zip(table, curves, strict=True):
            row[: len(curve)] = curve
        block = _block(length)
        table = table[:, : length // block * block].reshape(len(curves), -1, block).mean(axis=2)
        x = np.arange(table.shape[1]) * block + (block + 1) / 2
        mean, count = np.nanmean(table, axis=0), np.count_nonzero(~np.isnan(table), axis=0)
        spread = np.sqrt(np.nansum((table - mean) ** 2, axis=0) / np.maximum(count - 1, 1))
        several = f" ({len(curves)} runs)" if len(curves) > 1 else ""
        (line,) = axes.plot(x, mean, marker="." if length < 50 else "", label=f"{label}{several}")
        if len(curves) > 1:
            # On a logarithmic axis, a band that reaches 0 or less would have no lower end.
            low = np.maximum(mean - spread, mean / 10) if log else mean - spread
            axes.fill_between(x, low, mean + spread, color=line.get_color(), alpha=0.2, linewidth=0)
        longest = max(longest, length)
    quantity = name.removeprefix("updates.")
    blocks = f" (means of {block:,})" if block > 1 else ""
    axes.set(
        xlabel=("update" if name != quantity else "epoch") + blocks,
        ylabel=quantity.replace("val_", "validation ").replace("_", " "),
        title="Mean and standard deviation of several runs",
    )
    whole_numbers(axes, longest)
    axes.grid(alpha=0.3)
    axes.legend()
    return save_figure(figure, path)


def _block(length: int) -> int:
    """Choose how many consecutive values to average, so that a long curve has about 200 points."""
    return max(length // 200, 1)


def _curve(history: Curves, name: str, label: str) -> Array:
    """Return the values of a curve. Raises ValueError, with the group's label, if there is no such curve."""
    source = history.updates if name.startswith("updates.") else history
    key = name.removeprefix("updates.")
    if key not in source:
        raise ValueError(f"a history of {label!r} has no {name!r}")
    return np.asarray(source[key], np.float64)


def save_bars(
    bars: Sequence[tuple[str, float]], path: str | os.PathLike[str], *, title: str, label: str
) -> Path:
    """Draw (name, value) pairs as horizontal bars, the first on top, and return the path of the picture.

    `title` is the title of the picture and `label` the label of the axis of values. Raises ValueError if
    there are no bars, and ImportError if matplotlib is missing.
    """
    if not bars:
        raise ValueError("there are no bars to draw")
    names, values = zip(*bars, strict=True)
    figure = new_figure(9, 1.2 + 0.3 * len(bars))
    axes = figure.add_subplot()
    drawn = axes.barh(names, values, color=TRAINING)
    axes.bar_label(drawn, fmt="%.3g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)


def _draw_updates(axes: Axes, losses: Array) -> None:
    """Draw the loss of every update, and the means over about 100 blocks of updates."""
    count = len(losses)
    block = count // 100
    # Markers, because a line needs at least two points and shows few points badly.
    marker = "." if count < 100 else ""
    axes.plot(range(1, count + 1), losses, marker=marker, color=NOISE, linewidth=0.5, label="each update")
    if block > 1:
        means = losses[: count // block * block].reshape(-1, block).mean(axis=1)
        centres = np.arange(len(means)) * block + (block + 1) / 2
        axes.plot(centres, means, color=TRAINING, label=f"mean of {block:,} updates")
    axes.set(title="Loss per update", xlabel="update", ylabel="loss")
    whole_numbers(axes, count)
    axes.legend()


def _draw_epochs(axes: Axes, history: Curves, name: str) -> None:
    """Draw one quantity per epoch, on the training set and, if the history has it, on the validation set."""
    for key, label, colour in ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)):
        if key in history:
            values = history[key]
            axes.plot(range(1, len(values) + 1), values, marker=".", color=colour, label=label)
    axes.set(title=f"{name.capitalize()} per epoch", ylabel=name)
    whole_numbers(axes, len(history[name]))
    axes.legend()
