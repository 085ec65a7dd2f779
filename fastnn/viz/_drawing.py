"""Helpers of all pictures.

Figures are made without pyplot, so they change no global state and open no window.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from fastnn.files import user_path, write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

DPI = 120

# The colours of Okabe and Ito (2008), which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES = ("-", "--", ":", "-.")  # more than seven curves differ in their line styles, too
TRAINING, VALIDATION, TEST, NOISE = BLUE, ORANGE, GREEN, "0.7"

MOST_MARKERS = 50  # with more points, markers hide the line


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of this size in inches. Raises ImportError, which says what to install."""
    try:
        from fastnn.viz._figure import Picture
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastnn-kernels[demo]'") from error
    return Picture(figsize=(width, height), layout="constrained", dpi=DPI)


def write_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Write the figure atomically, in the format that the suffix of `path` names; without one, PNG.

    `options` are those of `Figure.savefig`. Raises ValueError for an unknown format.
    """
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:] or "png", **options)
    write_atomic(path, content.getvalue())


@overload
def finish(figure: Figure, path: None = None) -> Figure: ...


@overload
def finish(figure: Figure, path: str | os.PathLike[str]) -> Path: ...


@overload
def finish(figure: Figure, path: str | os.PathLike[str] | None) -> Path | Figure: ...


def finish(figure: Figure, path: str | os.PathLike[str] | None = None) -> Path | Figure:
    """Write the figure to `path` and return the path. Without a path, return the figure."""
    if path is None:
        return figure
    target = user_path(path)
    write_picture(figure, target, dpi=DPI)
    return target


def shortened(text: str, most: int) -> str:
    """Cut the middle out of a text of more than `most` characters: names often differ at their ends."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def wrapped(text: str, inches: float, size: float = 12) -> str:
    """Break a text into lines that fit this width, for a font of `size` points."""
    return textwrap.fill(text, max(int(inches * 72 / (0.62 * size)), 10))


def heading(axes: Axes, title: str, labels: Sequence[str] = ()) -> None:
    """Put the title above the axes on the left, and a legend beside it, where it hides no curve."""
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    if labels:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 0.99),
            ncols=len(labels),
            fontsize=9,
            frameon=False,
            borderpad=0.2,
            handlelength=1.5,
            columnspacing=1,
        )


def whole_numbers(axes: Axes, count: float) -> None:
    """Scale the x axis from 1 to `count`, with ticks at integers and separators between thousands."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlim(1 - max(0.5, 0.01 * count), count + max(0.5, 0.01 * count))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def columns_for(count: int) -> int:
    """Choose the number of columns of a grid of `count` images.

    The smallest number between sqrt(count) and 2 sqrt(count) that fills all rows, or else sqrt(count)
    rounded up.
    """
    side = math.ceil(math.sqrt(count))
    return next((columns for columns in range(side, 2 * side) if count % columns == 0), side)


def tiled(images: Array, rows: int, columns: int, above: int, gap: int) -> Array:
    """Put images (count, H, W) into one grid, because matplotlib draws one picture faster than 100.

    Gaps of `gap` pixels between columns and `above` pixels above each row are NaN, which has no colour.
    """
    count, height, width = images.shape
    tiles = np.full((rows * columns, height + above, width + gap), np.nan)
    tiles[:count, above:, :width] = images
    grid = tiles.reshape(rows, columns, height + above, width + gap).swapaxes(1, 2)
    return grid.reshape(rows * (height + above), columns * (width + gap))[:, :-gap]
