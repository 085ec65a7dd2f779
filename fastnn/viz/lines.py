"""Draw functions: lines through given points."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import COLOURS, LINES, MOST_MARKERS, finish, new_figure, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 7  # inches

Lines = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]


def save_lines(
    lines: Lines,
    path: str | os.PathLike[str],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    log: tuple[bool, bool] = (False, False),
) -> Path:
    """Draw lines through points and return the path of the picture.

    Args:
        lines: The coordinates (x, y) of each line, (N,) both, by its label. NaN leaves a gap.
        path: Picture to write (.png, .svg, .pdf).
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        title: Title of the picture.
        log: Whether the x axis and the y axis are logarithmic.

    Raises ValueError if there are no lines or x and y differ in length, ImportError if matplotlib is missing.
    """
    return finish(draw_lines(lines, x_label=x_label, y_label=y_label, title=title, log=log), path)


def draw_lines(
    lines: Lines, *, x_label: str, y_label: str, title: str = "", log: tuple[bool, bool] = (False, False)
) -> Figure:
    """Return the figure of `save_lines`."""
    if not lines:
        raise ValueError("there are no lines to draw")
    points = {label: (np.asarray(x, float), np.asarray(y, float)) for label, (x, y) in lines.items()}
    for label, (x, y) in points.items():
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(f"{label!r}: x and y must have the same shape (N,), got {x.shape} and {y.shape}")
    figure = new_figure(WIDTH, 4.5)
    axes = figure.add_subplot()
    for number, (x, y) in enumerate(points.values()):
        style = LINES[number // len(COLOURS) % len(LINES)]
        marker = "." if len(x) <= MOST_MARKERS else ""
        axes.plot(x, y, style, marker=marker, color=COLOURS[number % len(COLOURS)])
    if log[0]:
        axes.set_xscale("log")
    if log[1]:
        axes.set_yscale("log", nonpositive="mask")
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    axes.grid(alpha=0.3)
    if title:
        figure.suptitle(wrapped(title, WIDTH), parse_math=False)
    labels = [shortened(label, 40) for label in points]
    legend = figure.legend(
        axes.lines, labels, loc="outside lower left", ncols=min(len(labels), 4), fontsize=9, frameon=False
    )
    for text, label in zip(legend.texts, labels, strict=True):
        text.set(text=label, parse_math=False)
    return figure
