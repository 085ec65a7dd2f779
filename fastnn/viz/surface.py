"""Draw the loss over two weights, and the paths of trainings on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import COLOURS, finish, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = 24
MARKERS = "osD^vP*"


def loss_surface(
    surface: npt.ArrayLike,
    grid: Sequence[npt.ArrayLike],
    path: str | os.PathLike[str] | None = None,
    *,
    trajectories: Mapping[str, npt.ArrayLike] = MappingProxyType({}),
    labels: tuple[str, str] = ("first weight", "second weight"),
) -> Path | Figure:
    """Draw the loss over two weights (`fn.loss_surface`) as contours, with the paths of trainings.

    Args:
        surface: The losses (A, B). NaN and infinite ones are left white.
        grid: The values (A,) of the first weight, on the x axis, and the values (B,) of the second one; both
            increase.
        path: Picture to write (.png, .svg, .pdf).
        trajectories: The values (N, 2) of both weights after each update, by the label of the training. A
            circle marks the start of each.
        labels: Labels of the axes.

    Returns:
        The path of the picture; without a path, the matplotlib figure, which a notebook shows.

    Raises:
        ValueError: If the shapes do not fit, the values of a weight do not increase, or no loss is finite.
        ImportError: If matplotlib is missing.
    """
    losses = np.asarray(surface, np.float64)
    values = [np.asarray(each, np.float64) for each in grid]
    if len(values) != 2 or losses.shape != tuple(each.size for each in values):
        shapes = ", ".join(str(each.shape) for each in values)
        raise ValueError(f"grid must have the values (A,) and (B,) of a surface {losses.shape}, got {shapes}")
    if min(losses.shape) < 2 or any(each.ndim != 1 or (np.diff(each) <= 0).any() for each in values):
        raise ValueError("grid must have at least 2 increasing values (N,) of each weight")
    if not np.isfinite(losses).any():
        raise ValueError("no loss of the surface is finite")
    paths = {label: np.asarray(points, np.float64) for label, points in trajectories.items()}
    for label, points in paths.items():
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"the trajectory {label!r} must have shape (N, 2), got {points.shape}")

    figure = new_figure(7, 5.5)
    axes = figure.add_subplot()
    shown = np.ma.masked_invalid(losses.T)
    filled = axes.contourf(*values, shown, LEVELS, cmap="Greys", alpha=0.6)
    axes.contour(*values, shown, LEVELS, colors="0.45", linewidths=0.6)
    figure.colorbar(filled, ax=axes, label="loss")
    for number, (label, points) in enumerate(paths.items()):
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(*points.T, "-", marker=marker, markersize=4, color=colour, label=shortened(label, 40))
        axes.plot(*points[0], "o", markersize=9, markerfacecolor="none", color=colour)
    axes.set_xlabel(labels[0], parse_math=False)
    axes.set_ylabel(labels[1], parse_math=False)
    if paths:
        handles, names = axes.get_legend_handles_labels()
        legend = figure.legend(
            handles, names, loc="outside lower left", ncols=min(len(names), 3), fontsize=9, frameon=False
        )
        for text in legend.texts:
            text.set_parse_math(False)
    return finish(figure, path)
