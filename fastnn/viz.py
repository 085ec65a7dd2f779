"""Pictures of a training: its curves, and the weights as images.

Needs matplotlib (the extra `demo`). Figures are made without pyplot, so that neither its global state nor
the backend of a notebook or of a window is touched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

TRAINING, VALIDATION, NOISE = "tab:blue", "tab:orange", "0.7"


class Curves(Protocol):
    """What `save_curves` draws: `fastnn.History`, which stands above this module."""

    updates: dict[str, list[float]]

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> list[float]: ...


def save_curves(history: Curves, path: str | os.PathLike[str]) -> Path:
    """Draw a training into the picture `path` (.png, .svg, .pdf); returns its path.

    On the left the loss of every update and its mean over blocks of updates; on the right loss and
    accuracy of every epoch, for the training data (the mean over the epoch's updates) and the validation
    data. What the history lacks is left out.

    Raises ValueError for a history without a single update, ImportError when matplotlib is missing.
    """
    updates = np.asarray(history.updates["loss"], np.float64)
    if updates.size == 0:
        raise ValueError("the history is empty: there is nothing to draw before the first update")
    by_epoch = [name for name in ("loss", "accuracy") if name in history]

    figure = _figure(10 if by_epoch else 6, 4.5)
    grid = figure.add_gridspec(max(len(by_epoch), 1), 2 if by_epoch else 1)
    _draw_updates(figure.add_subplot(grid[:, 0]), updates)
    for row, name in enumerate(by_epoch):
        axes = figure.add_subplot(grid[row, 1])
        _draw_epochs(axes, history, name)
        if name == by_epoch[-1]:
            axes.set_xlabel("epoch")
    return _save(figure, path)


def save_weights(
    weights: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    image_shape: tuple[int, int] | None = None,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
) -> Path:
    """Draw each column of `weights` (in, out) as an image into the picture `path`; returns its path.

    The images have the `image_shape` (H, W) with H W = in, square by default, and stand in rows of
    `columns` images (by default such that the grid is full and a little wider than high), `titles` above
    them. One colour scale serves all: white is 0, blue negative, red positive; the 0.5 % of the weights
    that are largest share the darkest colours.

    Raises ValueError for weights that are no matrix or not finite, and for an image shape or a number of
    titles that does not fit; ImportError when matplotlib is missing.
    """
    matrix = np.asarray(weights, np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"weights must be a matrix of shape (in, out), not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the weights hold nan or infinite numbers: they have no colour")
    fan_in, count = matrix.shape
    if titles is not None and len(titles) != count:
        raise ValueError(f"there are {len(titles)} titles for {count} images")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    columns = _columns(count) if columns is None else min(columns, count)
    height, width = _image_shape(fan_in, image_shape)

    gap = max(1, round(width / 12))
    above = gap if titles is None else gap + round(height / 3)
    rows = math.ceil(count / columns)
    mosaic = _mosaic(matrix.T.reshape(count, height, width), rows, columns, above, gap)

    # An image is an inch wide, less where the picture would become wider than 12; the colour bar wants 2.
    scale = min(1.0, 12 / columns) / (width + gap)
    figure = _figure(max(2.0, mosaic.shape[1] * scale) + 1, max(2.0, mosaic.shape[0] * scale))
    axes = figure.add_subplot()
    largest = float(np.abs(matrix).max())
    # A few large weights would leave all others pale: they share the darkest colours.
    bound = float(np.quantile(np.abs(matrix), 0.995)) or largest or 1.0
    picture = axes.imshow(mosaic, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    axes.set_axis_off()
    figure.colorbar(
        picture,
        ax=axes,
        label="weight",
        extend="both" if largest > bound else "neither",
        shrink=0.8,
        aspect=30,
        pad=0.02,
    )
    for index, title in enumerate(titles or ()):
        row, column = divmod(index, columns)
        x = column * (width + gap) + (width - 1) / 2
        y = row * (height + above) + above - 1
        axes.text(x, y, title, ha="center", va="bottom", fontsize=9)
    return _save(figure, path)


def save_bars(
    bars: Sequence[tuple[str, float]], path: str | os.PathLike[str], *, title: str, label: str
) -> Path:
    """Draw named values as horizontal bars, the first on top, into the picture `path`; returns its path."""
    if not bars:
        raise ValueError("there are no bars to draw")
    names, values = zip(*bars, strict=True)
    figure = _figure(9, 1.2 + 0.3 * len(bars))
    axes = figure.add_subplot()
    drawn = axes.barh(names, values, color=TRAINING)
    axes.bar_label(drawn, fmt="%.3g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def _image_shape(fan_in: int, image_shape: tuple[int, int] | None) -> tuple[int, int]:
    """The (H, W) of an image of `fan_in` weights: the one given, or a square. Raises ValueError."""
    if image_shape is None:
        side = math.isqrt(fan_in)
        if side * side != fan_in:
            raise ValueError(
                f"the {fan_in} weights of a unit make no square image: pass image_shape=(height, width)"
            )
        return side, side
    height, width = image_shape
    if min(height, width) < 1 or height * width != fan_in:
        raise ValueError(f"image_shape {height} x {width} does not fit the {fan_in} weights of a unit")
    return height, width


def _columns(count: int) -> int:
    """How many of `count` images stand in a row: so many that all rows are full, if the grid is no strip."""
    side = math.ceil(math.sqrt(count))
    return next((columns for columns in range(side, 2 * side) if count % columns == 0), side)


def _mosaic(images: Array, rows: int, columns: int, above: int, gap: int) -> Array:
    """Images (count, H, W) side by side, nan (no colour) in between: one picture draws fast, 100 do not."""
    count, height, width = images.shape
    tiles = np.full((rows * columns, height + above, width + gap), np.nan)
    tiles[:count, above:, :width] = images
    grid = tiles.reshape(rows, columns, height + above, width + gap).swapaxes(1, 2)
    return grid.reshape(rows * (height + above), columns * (width + gap))[:, :-gap]


def _draw_updates(axes: Axes, losses: Array) -> None:
    """The loss of every update, and the means of about 100 blocks of updates."""
    count = len(losses)
    block = count // 100
    # A line needs two points and shows few ones badly.
    marker = "." if count < 100 else ""
    axes.plot(range(1, count + 1), losses, marker=marker, color=NOISE, linewidth=0.5, label="each update")
    if block > 1:
        means = losses[: count // block * block].reshape(-1, block).mean(axis=1)
        centres = np.arange(len(means)) * block + (block + 1) / 2
        axes.plot(centres, means, color=TRAINING, label=f"mean of {block:,} updates")
    axes.set(title="Loss per update", xlabel="update", ylabel="loss")
    _whole_numbers(axes, count)
    axes.legend()


def _draw_epochs(axes: Axes, history: Curves, name: str) -> None:
    """One quantity per epoch, of the training and, where there is one, of the validation data."""
    for key, label, colour in ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)):
        if key in history:
            values = history[key]
            axes.plot(range(1, len(values) + 1), values, marker=".", color=colour, label=label)
    axes.set(title=f"{name.capitalize()} per epoch", ylabel=name)
    _whole_numbers(axes, len(history[name]))
    axes.legend()


def _whole_numbers(axes: Axes, count: int) -> None:
    """Ticks at whole numbers only, with separators, on an x axis from 1 to `count`."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlim(1 - max(0.5, 0.01 * count), count + max(0.5, 0.01 * count))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Raises ImportError with what to install."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastnn-kernels[demo]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    figure.savefig(target, dpi=120)
    return target
