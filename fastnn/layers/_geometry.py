"""Helpers of convolution and pooling layers: (height, width) pairs and output sizes."""

from __future__ import annotations

import numpy as np

from fastnn._validation import Shape

Pair = tuple[int, int]


def pair(value: int | Pair, name: str, least: int) -> Pair:
    """Return `value`, an integer or a pair of integers, as (height, width).

    Raises TypeError for anything else, and ValueError if an integer is below `least`.
    """
    both = value if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) for size in both)
    if len(both) != 2 or not whole:
        raise TypeError(f"{name} must be an integer or a pair of integers, not {value!r}")
    if min(both) < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return int(both[0]), int(both[1])


def shortest(sizes: Pair) -> int | Pair:
    """The shortest argument for `pair`: 3 for (3, 3)."""
    return sizes[0] if sizes[0] == sizes[1] else sizes


def short(sizes: Pair) -> str:
    """Format a pair for a message: "3" for (3, 3)."""
    return str(shortest(sizes))


def output_sides(layer: object, shape: Shape, window: Pair, stride: Pair, padding: tuple[Pair, Pair]) -> Pair:
    """Return the output height and width (P, Q) of a sliding window over images.

    Args:
        layer: The layer that the error message names.
        shape: The shape of one image, (H, W, ...).
        window: The height and width of the window, dilation included.
        stride: The vertical and horizontal stride.
        padding: ((above, below), (left, right)), in pixels.

    Raises:
        ValueError: If the window is larger than the padded image.
    """
    sides = []
    for name, size, extent, step, (before, after) in zip(
        ("height", "width"), shape, window, stride, padding, strict=False
    ):
        padded = size + before + after
        if padded < extent:
            raise ValueError(
                f"the window of {layer} has a {name} of {extent} pixels, but the image has {padded}, "
                "padding included"
            )
        sides.append((padded - extent) // step + 1)
    return sides[0], sides[1]
