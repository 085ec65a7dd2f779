"""What all pictures share: figures without pyplot, so that neither its state nor a window is touched."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

TRAINING, VALIDATION, NOISE = "tab:blue", "tab:orange", "0.7"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Raises ImportError with what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastnn-kernels[demo]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    figure.savefig(target, dpi=120)
    return target


def whole_numbers(axes: Axes, count: int) -> None:
    """Ticks at whole numbers only, with separators, on an x axis from 1 to `count`."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlim(1 - max(0.5, 0.01 * count), count + max(0.5, 0.01 * count))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def columns_for(count: int) -> int:
    """How many of `count` images stand in a row: so many that all rows are full, if the grid is no strip."""
    side = math.ceil(math.sqrt(count))
    return next((columns for columns in range(side, 2 * side) if count % columns == 0), side)


def tiled(images: Array, rows: int, columns: int, above: int, gap: int) -> Array:
    """Images (count, H, W) side by side, nan (no colour) in between: one picture draws fast, 100 do not."""
    count, height, width = images.shape
    tiles = np.full((rows * columns, height + above, width + gap), np.nan)
    tiles[:count, above:, :width] = images
    grid = tiles.reshape(rows, columns, height + above, width + gap).swapaxes(1, 2)
    return grid.reshape(rows * (height + above), columns * (width + gap))[:, :-gap]
