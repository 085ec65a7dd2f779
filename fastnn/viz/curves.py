"""Draw learning curves of one run or of several runs, and bar charts."""

from __future__ import annotations

import itertools
import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from fastnn._validation import choose
from fastnn.viz._drawing import (
    COLOURS,
    LINES,
    MOST_MARKERS,
    NOISE,
    TEST,
    TRAINING,
    VALIDATION,
    Array,
    finish,
    heading,
    new_figure,
    shortened,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Curves(Protocol):
    """The part of `fastnn.History` that this module uses; it cannot import `History`, which is above it."""

    updates: dict[str, list[float]]

    @property
    def epochs(self) -> int: ...

    def epochs_of(self, name: str) -> list[float]: ...

    def updates_of(self, name: str) -> list[int]: ...

    def get(self, name: str, default: list[float], /) -> list[float]: ...

    def __iter__(self) -> Iterator[str]: ...

    def __getitem__(self, name: str, /) -> list[float]: ...


def save_curves(history: Curves, path: str | os.PathLike[str], *, by: str = "epoch") -> Path:
    """Draw the learning curves of one run into the picture `path` (.png, .svg, .pdf) and return the path.

    The left panel shows the loss of every update and its mean over blocks of updates. The right panels show
    loss, accuracy and other metrics over the epochs, on the training set (mean over the updates of the
    epoch) and on each validation and test set, as far as the history has them. With by="update" they show
    the same values over the updates.

    Raises ValueError if the history has no update or `by` is neither "epoch" nor "update", and ImportError if
    matplotlib is missing.
    """
    return finish(draw_curves(history, by=by), path)


# The data sets with names and colours of their own; others take the colours that are left.
SETS = {"": ("training", TRAINING), "val_": ("validation", VALIDATION), "test_": ("test", TEST)}
SETS |= {"running_": ("training, running", NOISE)}
AXES = {"epoch": "the epochs", "update": "the updates"}


def _sets(history: Curves) -> dict[str, tuple[str, str]]:
    """The data sets that a history has: the prefix of their curves, what they are called, their colour."""
    prefixes = [name.removesuffix("loss") for name in history if name.endswith("_loss")]
    colours = itertools.cycle(colour for colour in COLOURS if colour not in (TRAINING, VALIDATION, TEST))
    others = {prefix: (prefix[:-1], next(colours)) for prefix in prefixes if prefix not in SETS}
    return SETS | others


def draw_curves(history: Curves, *, by: str = "epoch") -> Figure:
    """Return the figure of `save_curves`."""
    choose(by, AXES, "x axis")
    sets = _sets(history)
    updates = np.asarray(history.updates["loss"], np.float64)
    if updates.size == 0:
        raise ValueError("the history is empty: there are no curves before the first update")
    prefixes = sorted(sets, key=len, reverse=True)  # of "a_" and "a_b_", the longer one fits first
    prefix_of = {name: next(filter(name.startswith, prefixes)) for name in history}
    quantities = dict.fromkeys(name.removeprefix(prefix) for name, prefix in prefix_of.items())
    shown = sorted((name for name in quantities if name != "lr"), key=lambda name: name != "loss")

    figure = new_figure(10 if shown else 6, max(4.5, 2.25 * len(shown)))
    grid = figure.add_gridspec(max(len(shown), 1), 2 if shown else 1)
    _draw_updates(figure.add_subplot(grid[:, 0]), updates)
    for row, name in enumerate(shown):
        axes = figure.add_subplot(grid[row, 1])
        _draw_quantity(axes, history, name, sets, by)
        if name == shown[-1]:
            axes.set_xlabel(by)
    return figure


def save_bands(
    groups: Mapping[str, Sequence[Curves]],
    path: str | os.PathLike[str],
    *,
    name: str = "val_accuracy",
    log: bool = False,
    note: str = "",
) -> Path:
    """Draw one curve of several groups of runs: the mean of each group, in a band of one standard deviation.

    Args:
        groups: Histories by the label of their group, for example the runs with different seeds. Histories of
            a group may differ in length and in their epochs; each mean is over the histories that have a
            finite value there.
        path: Picture to write (.png, .svg, .pdf).
        name: Curve to draw: a quantity per epoch such as "val_accuracy", or one per update such as
            "updates.loss".
        log: Use a logarithmic y axis.
        note: A remark to print above the legend.

    Returns:
        The path of the picture. The standard deviation is that of the sample (divided by runs - 1). A band
        ends at 0 if no value is negative, and at 1 if no value is larger, as of accuracies.

    Raises:
        ValueError: If there are no groups, a group has no histories, or a history does not have the curve.
        ImportError: If matplotlib is missing.
    """
    return finish(draw_bands(groups, name=name, log=log, note=note), path)


class _Band(NamedTuple):
    """The runs of one group: their number, the places of their values, mean and standard deviation there."""

    runs: int
    x: Array
    mean: Array
    spread: Array


def draw_bands(
    groups: Mapping[str, Sequence[Curves]],
    *,
    name: str = "val_accuracy",
    log: bool = False,
    note: str = "",
) -> Figure:
    """Return the figure of `save_bands`."""
    if not groups:
        raise ValueError("there are no histories to draw")
    tables = {label: _table(histories, name, label) for label, histories in groups.items()}
    block = _block(max(len(x) for x, _ in tables.values()))
    bands = [_band(x, values, block) for x, values in tables.values()]
    labels = [
        textwrap.fill(f"{label} ({band.runs} runs)" if band.runs > 1 else label, LEGEND_WIDTH)
        for label, band in zip(tables, bands, strict=True)
    ]
    columns = max(1, min(len(labels), 4, LEGEND_WIDTH // (max(map(len, labels)) + 6)))
    lines = math.ceil(len(labels) / columns) * max(label.count("\n") + 1 for label in labels)

    remark = textwrap.fill(note, LEGEND_WIDTH)
    figure = new_figure(7, 4.5 + 0.19 * (lines + remark.count("\n") + bool(note)))
    axes = figure.add_subplot()
    if log:
        axes.set_yscale("log", nonpositive="clip")
    low, high = _limits(name, [values for _, values in tables.values()])
    for number, band in enumerate(bands):
        style = LINES[number // len(COLOURS) % len(LINES)]
        colour = COLOURS[number % len(COLOURS)]
        marker = "." if len(band.x) <= MOST_MARKERS else ""
        axes.plot(band.x, band.mean, style, marker=marker, color=colour)
        if band.runs > 1:
            # On a logarithmic axis, a band that reaches 0 or less would have no lower end.
            bottom = np.maximum(band.mean - band.spread, band.mean / 10 if log else low)
            top = np.minimum(band.mean + band.spread, high)
            axes.fill_between(band.x, bottom, top, color=colour, alpha=0.2, linewidth=0)
    quantity = name.removeprefix("updates.")
    words = quantity.replace("val_", "validation ").replace("_", " ")
    several = any(band.runs > 1 for band in bands)
    axes.set(xlabel=("update" if name != quantity else "epoch") + (f" (means of {block:,})" * (block > 1)))
    axes.set_ylabel(words, parse_math=False)
    heading(axes, words.capitalize() + ", mean and standard deviation" * several)
    whole_numbers(axes, max(float(x.max()) for x, _ in tables.values()))
    axes.grid(alpha=0.3)
    legend = figure.legend(
        axes.lines, labels, loc="outside lower left", ncols=columns, fontsize=9, frameon=False
    )
    # A label that starts with "_" would be left out, and "$" would start a formula.
    for text, label in zip(legend.texts, labels, strict=True):
        text.set(text=label, parse_math=False)
    if note:
        legend.set_title(remark)
        legend.get_title().set(fontsize=8, color="0.4", parse_math=False)
        legend.set_alignment("left")
    return figure


LEGEND_WIDTH = 84  # characters that fit the width of the picture of `draw_bands`


def _block(length: int) -> int:
    """Choose how many consecutive values to average, so that a long curve has about 200 points."""
    return max(length // 200, 1)


def _table(histories: Sequence[Curves], name: str, label: str) -> tuple[Array, Array]:
    """Return the places of a curve, in epochs or updates, and its values: a row per run, NaN if it has none.

    Raises ValueError, with the group's label, if there is no history or no such curve.
    """
    if not histories:
        raise ValueError(f"the group {label!r} has no history")
    curves = []
    for history in histories:
        key = name.removeprefix("updates.")
        source = history if key == name else history.updates
        values = np.asarray(source.get(key, []), np.float64)
        if not values.size:
            known = ", ".join([*history, *(f"updates.{each}" for each in history.updates)])
            raise ValueError(f"a history of {label!r} has no {name!r}: it has {known}")
        per_update = range(1, len(values) + 1)
        curves.append((np.asarray(history.epochs_of(key) if key == name else per_update), values))
    x = np.unique(np.concatenate([places for places, _ in curves]))
    table = np.full((len(curves), len(x)), np.nan)
    for row, (places, values) in zip(table, curves, strict=True):
        row[np.searchsorted(x, places)] = values
    return x, table


def _band(x: Array, table: Array, block: int) -> _Band:
    """Average blocks of consecutive places, and then the runs, without values that are not finite."""
    blocks = math.ceil(len(x) / block)
    missing = blocks * block - len(x)
    padded = np.pad(np.vstack([x, table]), ((0, 0), (0, missing)), constant_values=np.nan)
    means = np.ma.masked_invalid(padded).reshape(-1, blocks, block).mean(axis=2)
    centres, values = means[0], means[1:]
    mean = values.mean(axis=0)
    squares = ((values - mean) ** 2).sum(axis=0)
    return _Band(len(values), centres, mean, np.ma.sqrt(squares / np.maximum(values.count(axis=0) - 1, 1)))


def _limits(name: str, tables: Sequence[Array]) -> tuple[float, float]:
    """Return the limits of a quantity: 0 if no value is negative; 1 if none is larger and it is no loss."""
    values = np.concatenate([table[np.isfinite(table)] for table in tables])
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return (0 if low >= 0 else -np.inf), (1 if high <= 1 and "loss" not in name else np.inf)


def save_bars(
    bars: Sequence[tuple[str, float]], path: str | os.PathLike[str], *, title: str, label: str
) -> Path:
    """Draw (name, value) pairs as horizontal bars, the first on top, and return the path of the picture.

    `title` is the title of the picture and `label` the label of the axis of values. Raises ValueError if
    there are no bars, and ImportError if matplotlib is missing.
    """
    return finish(draw_bars(bars, title=title, label=label), path)


def draw_bars(bars: Sequence[tuple[str, float]], *, title: str, label: str) -> Figure:
    """Return the figure of `save_bars`."""
    if not bars:
        raise ValueError("there are no bars to draw")
    names, values = zip(*bars, strict=True)
    height, size = (0.3, 10) if len(bars) <= 40 else (0.18, 7)
    figure = new_figure(9, 1.2 + height * len(bars))
    axes = figure.add_subplot()
    # Numbers as places, because bars of equal names would lie on each other.
    drawn = axes.barh(range(len(bars)), values, color=TRAINING)
    axes.set_yticks(
        range(len(bars)), [shortened(name, 50) for name in names], fontsize=size, parse_math=False
    )
    axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=size)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    figure.suptitle(wrapped(title, 9), parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_updates(axes: Axes, losses: Array) -> None:
    """Draw the loss of every update, and the means over about 100 blocks of updates."""
    count = len(losses)
    block = count // 100
    averaged = block > 1
    # Markers, because a line needs at least two points and shows few points badly.
    marker = "." if count < 100 else ""
    colour, width = (NOISE, 0.5) if averaged else (TRAINING, 1.0)
    axes.plot(range(1, count + 1), losses, marker=marker, color=colour, linewidth=width, label="each update")
    if averaged:
        means = losses[: count // block * block].reshape(-1, block).mean(axis=1)
        centres = np.arange(len(means)) * block + (block + 1) / 2
        axes.plot(centres, means, color=TRAINING, label=f"mean of {block:,} updates")
    axes.set(xlabel="update", ylabel="loss")
    whole_numbers(axes, count)
    heading(axes, "Loss per update", ["each update", "mean"] if averaged else [])


def _draw_quantity(
    axes: Axes, history: Curves, name: str, sets: Mapping[str, tuple[str, str]], by: str
) -> None:
    """Draw one quantity over the epochs or updates, on each set of data for which the history has it."""
    labels = []
    for prefix, (label, colour) in sets.items():
        key = f"{prefix}{name}"
        values = history.get(key, [])
        if values:
            single = len(values) == 1
            labels.append(f"{label} {values[0]:.4g}" if single else label)
            marker = "D" if single else "." if len(values) <= MOST_MARKERS else ""
            places = history.epochs_of(key) if by == "epoch" else history.updates_of(key)
            axes.plot(places, values, marker=marker, color=colour, label=labels[-1])
    words = name.replace("_", " ")
    axes.set_ylabel(shortened(words, 20), parse_math=False)
    whole_numbers(axes, max(history.epochs if by == "epoch" else len(history.updates["loss"]), 1))
    axes.grid(alpha=0.3)
    heading(axes, shortened(words.capitalize(), 16), labels)
