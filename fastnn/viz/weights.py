"""Draw weights, convolution filters and feature maps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import Array, columns_for, finish, new_figure, shortened, tiled, wrapped

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


def save_weights(
    weights: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    image_shape: tuple[int, int] | None = None,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
    title: str | None = None,
    most: int = 64,
) -> Path:
    """Draw the weights of each unit as an image.

    All images share one colour scale: white is 0, blue is negative, red is positive. The 0.5 % of the weights
    with the largest magnitude share the darkest colours. Of more than `most` units, those with the largest
    norms are drawn: training has changed them most.

    Args:
        weights: Weight matrix (in, out): each column becomes an image.
        path: Picture to write (.png, .svg, .pdf).
        image_shape: Height and width of an image, with height * width = in. Default: square.
        columns: Number of images per row. Default: such that all rows are full and the grid is a little wider
            than high.
        titles: Titles of the images, one for each unit.
        title: Title of the picture. Default: says how many units are drawn.
        most: Largest number of units to draw.

    Returns:
        The path of the picture.

    Raises:
        ValueError: If the weights are not a matrix or not finite, or if the image shape or the number of
            titles does not fit.
        ImportError: If matplotlib is missing.
    """
    matrix = np.asarray(weights, np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"weights must be a matrix of shape (in, out), not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("the weights have NaN or infinite values, which have no colour")
    fan_in, count = matrix.shape
    if titles is not None and len(titles) != count:
        raise ValueError(f"there are {len(titles)} titles for {count} images")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    height, width = image_sides(fan_in, image_shape)
    shown = _largest(matrix, most)
    if title is None:
        units = f"{count:,} unit{'s' * (count > 1)}"
        largest_of = f"the {len(shown)} of {units} that have the largest norms"
        title = f"Weights of {units if len(shown) == count else largest_of}"
    names = [] if titles is None else [shortened(titles[unit], 22) for unit in shown]
    return finish(draw_mosaic(matrix[:, shown].T.reshape(-1, height, width), columns, names, title), path)


def _largest(matrix: Array, most: int) -> Array:
    """Return the indices of the `most` columns with the largest norms, in their order."""
    return np.sort(np.argsort(-np.linalg.norm(matrix, axis=0), kind="stable")[:most])


def draw_mosaic(images: Array, columns: int | None, titles: Sequence[str], title: str) -> Figure:
    """Draw images (count, H, W) on one diverging colour scale, with titles above them if there are any."""
    count, height, width = images.shape
    columns = columns_for(count) if columns is None else min(columns, count)
    rows = math.ceil(count / columns)
    # An image is one inch wide, or less if the picture would be wider than 12 or higher than 12; more if its
    # title needs it.
    inches = min(1.0, 12 / columns, 12 * width / (rows * height))
    inches = max(inches, 0.075 * max(map(len, titles), default=0), 0.9 if titles else 0)
    gap = max(1, round(width / 12))
    scale = inches / (width + gap)
    above = gap if not titles else gap + math.ceil(0.2 / scale)
    mosaic = tiled(images, rows, columns, above, gap)

    across, down = max(2.5, mosaic.shape[1] * scale), max(1.8, mosaic.shape[0] * scale)
    figure = new_figure(across + 1, down + 0.5)
    figure.suptitle(wrapped(title, across + 1, 10), fontsize=10, parse_math=False)
    axes = figure.add_subplot()
    largest = float(np.abs(images).max())
    # A few large weights would make all others pale, so they share the darkest colours.
    bound = float(np.quantile(np.abs(images), 0.995)) or largest or 1.0
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
    for index, title in enumerate(titles):
        row, column = divmod(index, columns)
        x = column * (width + gap) + (width - 1) / 2
        y = row * (height + above) + above - 1
        axes.text(x, y, title, ha="center", va="bottom", fontsize=8, parse_math=False)
    return figure


def save_filters(filters: npt.ArrayLike, path: str | os.PathLike[str], *, columns: int | None = None) -> Path:
    """Draw the filters (R, S, C, O) of a convolution and return the path of the picture.

    Filters with three channels become colour images, each scaled from its smallest to its largest weight.
    For any other number of channels, each channel of a filter is an image, on one scale around 0; with
    several channels, each row has the channels of one filter. Draws at most 256 filters, or 16 filters with
    16 channels, those with the largest norms. `columns` is the number of images per row.

    Raises ValueError if the filters have another shape or are not finite, and ImportError if matplotlib is
    missing.
    """
    weights = np.asarray(filters, np.float64)
    if weights.ndim != 4 or weights.size == 0:
        raise ValueError(f"filters must have shape (R, S, C, O) and be non-empty, not {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError("the filters have NaN or infinite values, which have no colour")
    R, S, C, count = weights.shape
    shown = _largest(weights.reshape(-1, count), 256 if C in (1, 3) else 16)
    number = f"{count}" if len(shown) == count else f"The {len(shown)} largest of {count}"
    title = f"{number} filter{'s' * (count > 1)} of {R} x {S}"
    weights = weights[..., shown]
    if C == 3:
        return finish(_colour_mosaic(weights.transpose(3, 0, 1, 2), columns, title), path)
    if C > 1:
        channels = min(C, 16)
        some = f"{channels} channels" if channels == C else f"the first {channels} of {C} channels"
        title = f"{title}: each row has {some} of a filter"
        weights, columns = weights[:, :, :channels], channels if columns is None else columns
    images = weights.transpose(3, 2, 0, 1).reshape(-1, R, S)
    return finish(draw_mosaic(images, columns, (), title), path)


def _colour_mosaic(images: Array, columns: int | None, title: str) -> Figure:
    """Draw images (count, H, W, 3), each scaled from its smallest to its largest value."""
    count, width = len(images), images.shape[2]
    low, high = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    tiles = (images - low) / np.maximum(high - low, 1e-12)
    across = columns_for(count) if columns is None else min(columns, count)
    gap = max(1, round(width / 12))
    grid = np.stack(
        [tiled(tiles[..., c], math.ceil(count / across), across, gap, gap) for c in range(3)], axis=2
    )
    inches = min(12.0, max(2.0, 0.7 * across), 12.0 * grid.shape[1] / len(grid))
    # The picture is wide enough for its title.
    figure = new_figure(max(inches, 3.5), max(1.5, inches * len(grid) / grid.shape[1]) + 0.7)
    figure.suptitle(
        wrapped(f"{title}, each from its smallest (black) to its largest weight", max(inches, 3.5), 10),
        fontsize=10,
    )
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(grid, nan=1.0), interpolation="nearest")
    axes.set_axis_off()
    return figure


def save_maps(
    image: npt.ArrayLike,
    maps: Mapping[str, npt.ArrayLike],
    path: str | os.PathLike[str],
    *,
    most: int = 12,
) -> Path:
    """Draw the feature maps of an image, one row per layer, and return the path of the picture.

    Args:
        image: The input image, (H, W) or (H, W, 3).
        maps: Outputs of layers for this image, arrays (H, W, C), by the name of the layer.
        path: Picture to write (.png, .svg, .pdf).
        most: Largest number of channels to draw per layer. Each row has its own colour scale: white is 0,
            blue is negative, red is positive.

    Raises:
        ValueError: If there are no maps, or if one does not have three dimensions.
        ImportError: If matplotlib is missing.
    """
    layers = {name: np.asarray(values, np.float64) for name, values in maps.items()}
    if not layers or any(values.ndim != 3 for values in layers.values()):
        raise ValueError("maps must have an array (H, W, C) for at least one layer")
    shown = np.asarray(image)
    across = 1 + max(min(values.shape[2], most) for values in layers.values())
    cell = min(0.9, 20 / across)
    width = cell * across + 1.2
    figure = new_figure(max(width, 4), (cell + 0.25) * len(layers) + 0.6)
    figure.suptitle(
        wrapped("Feature maps of the image on the left, a row for each layer; white is 0", max(width, 4), 10),
        fontsize=10,
    )
    grid = figure.subplots(len(layers), across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (name, values) in zip(grid, layers.items(), strict=True):
        row[0].imshow(shown, cmap="gray_r")
        row[0].set_title(shortened(name, max(int(15 * cell), 4)), fontsize=8, loc="left", parse_math=False)
        # One colour of 0 for all layers: after a ReLU, the blue half of the scale is not used.
        finite = values[np.isfinite(values)]
        bound = float(np.abs(finite).max(initial=0)) or 1.0
        low = -bound if (finite < 0).any() else 0.0
        scale = _colours(signed=low < 0)
        for channel, axes in enumerate(row[1 : 1 + min(values.shape[2], most)]):
            drawn = axes.imshow(values[..., channel], cmap=scale, vmin=low, vmax=bound)
            axes.set_title(str(channel), fontsize=7)
        bar = figure.colorbar(drawn, ax=row.tolist(), aspect=12, pad=0.01)
        bar.ax.tick_params(labelsize=7)
    return finish(figure, path)


def _colours(*, signed: bool) -> Colormap:
    """Return the diverging colours around a white 0, or their red half for values that are not negative."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    diverging = colormaps["RdBu_r"]
    return diverging if signed else ListedColormap(diverging(np.linspace(0.5, 1, 128)), "reds")


def image_sides(fan_in: int, image_shape: tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width of an image of `fan_in` weights: as given, or square. Raises ValueError."""
    if image_shape is None:
        side = math.isqrt(fan_in)
        if side * side != fan_in:
            raise ValueError(
                f"the {fan_in} weights of a unit do not form a square: pass image_shape=(height, width)"
            )
        return side, side
    height, width = image_shape
    if min(height, width) < 1 or height * width != fan_in:
        raise ValueError(f"image_shape {height} x {width} does not fit the {fan_in} weights of a unit")
    return height, width
