"""Draw weights, convolution filters and feature maps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import columns_for, new_figure, save_figure, tiled


def save_weights(
    weights: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    image_shape: tuple[int, int] | None = None,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
) -> Path:
    """Draw the weights of each unit as an image.

    All images share one colour scale: white is 0, blue is negative, red is positive. The 0.5 % of the weights
    with the largest magnitude share the darkest colours.

    Args:
        weights: Weight matrix (in, out): each column becomes an image.
        path: Picture to write (.png, .svg, .pdf).
        image_shape: Height and width of an image, with height * width = in. Default: square.
        columns: Number of images per row. Default: such that all rows are full and the grid is a little wider
            than high.
        titles: Titles of the images.

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
    columns = columns_for(count) if columns is None else min(columns, count)
    height, width = _image_shape(fan_in, image_shape)

    gap = max(1, round(width / 12))
    above = gap if titles is None else gap + round(height / 3)
    rows = math.ceil(count / columns)
    mosaic = tiled(matrix.T.reshape(count, height, width), rows, columns, above, gap)

    # An image is one inch wide, or less if the picture would be wider than 12. The colour bar needs 2 inches.
    scale = min(1.0, 12 / columns) / (width + gap)
    figure = new_figure(max(2.0, mosaic.shape[1] * scale) + 1, max(2.0, mosaic.shape[0] * scale))
    axes = figure.add_subplot()
    largest = float(np.abs(matrix).max())
    # A few large weights would make all others pale, so they share the darkest colours.
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
    return save_figure(figure, path)


def save_filters(filters: npt.ArrayLike, path: str | os.PathLike[str], *, columns: int | None = None) -> Path:
    """Draw the filters (R, S, C, O) of a convolution and return the path of the picture.

    Filters with three channels become colour images, each scaled from its smallest to its largest weight.
    For any other number of channels, each channel of a filter is an image (up to 256 images), on one scale
    around 0; with several channels, each row has the channels of one filter. `columns` is the number of
    images per row.

    Raises ValueError if the filters have another shape, and ImportError if matplotlib is missing.
    """
    weights = np.asarray(filters, np.float64)
    if weights.ndim != 4 or weights.size == 0:
        raise ValueError(f"filters must have shape (R, S, C, O) and be non-empty, not {weights.shape}")
    R, S, C, count = weights.shape
    if C != 3:
        drawn = min(count, max(256 // C, 1))
        planes = weights[..., :drawn].transpose(0, 1, 3, 2).reshape(R * S, -1)
        across = columns if columns is not None or C == 1 else min(C, 32)
        return save_weights(planes, path, image_shape=(R, S), columns=across)
    images = weights.transpose(3, 0, 1, 2)
    low, high = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    tiles = (images - low) / np.maximum(high - low, 1e-12)
    across = columns_for(count) if columns is None else min(columns, count)
    gap = max(1, round(S / 12))
    grid = np.stack(
        [tiled(tiles[..., c], math.ceil(count / across), across, gap, gap) for c in range(3)], axis=2
    )
    figure = new_figure(
        max(2.0, min(12.0, 0.7 * across)), max(2.0, min(12.0, 0.7 * across) * len(grid) / grid.shape[1])
    )
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(grid, nan=1.0), interpolation="nearest")
    axes.set_axis_off()
    return save_figure(figure, path)


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
        most: Largest number of channels to draw per layer. Each row has its own colour scale; the largest
            values are bright.

    Raises:
        ValueError: If there are no maps, or if one does not have three dimensions.
        ImportError: If matplotlib is missing.
    """
    layers = {name: np.asarray(values, np.float64) for name, values in maps.items()}
    if not layers or any(values.ndim != 3 for values in layers.values()):
        raise ValueError("maps must have an array (H, W, C) for at least one layer")
    shown = np.asarray(image)
    across = 1 + max(min(values.shape[2], most) for values in layers.values())
    figure = new_figure(0.9 * across + 1, 1.15 * len(layers) + 0.3)
    grid = figure.subplots(len(layers), across, squeeze=False)
    for row, (name, values) in zip(grid, layers.items(), strict=True):
        low, high = float(values.min()), float(values.max())
        for axes in row:
            axes.set_axis_off()
        row[0].imshow(shown, cmap="gray")
        row[0].set_title(name, fontsize=8, loc="left")
        for channel, axes in enumerate(row[1 : 1 + min(values.shape[2], most)]):
            axes.imshow(values[..., channel], cmap="magma", vmin=low, vmax=max(high, low + 1e-12))
            axes.set_title(str(channel), fontsize=7)
    return save_figure(figure, path)


def _image_shape(fan_in: int, image_shape: tuple[int, int] | None) -> tuple[int, int]:
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
