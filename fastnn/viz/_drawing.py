"""Helpers of all pictures.

Figures are made without pyplot, so they change no global state and open no window.
"""

from __future__ import annotations

import math
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn.files import user_path, write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

TRAINING, VALIDATION, NOISE = "tab:blue", "tab:orange", "0.7"


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of this size in inches. Raises ImportError, which says what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastnn-kernels[demo]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write the figure with 120 dots per inch and return the path."""
    target = user_path(path)
    write_picture(figure, target, dpi=120)
    return target


def write_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Write the figure atomically, in the format that the suffix of `path` names; without one, PNG.

    `options` are those of `Figure.savefig`. Raises ValueError for an unknown format.
    """
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:] or "png", **options)
    write_atomic(path, content.getvalue())


def whole_numbers(axes: Axes, count: int) -> None:
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
