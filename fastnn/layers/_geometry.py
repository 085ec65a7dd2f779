"""Helpers of convolution and pooling layers: sizes along the sides of an image, windows and output sizes.

A sequence (L, C) is computed as an image (1, L, C) of height 1.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from fastnn._validation import Shape, whole_number

Pair = tuple[int, int]
# Pixels ((above, below), (left, right)), or "same": as many as an output of ceil(size / stride) needs.
Padding = tuple[Pair, Pair] | str


class Window(NamedTuple):
    """A window that slides over images, with (height, width) of each size."""

    size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """Height and width in pixels, dilation included."""
        rows, columns = (step * (size - 1) + 1 for size, step in zip(self.size, self.dilation, strict=True))
        return rows, columns

    def padding_of(self, shape: Shape) -> tuple[Pair, Pair]:
        """The padding of images of this shape, (H, W, ...), in pixels."""
        if not isinstance(self.padding, str):
            return self.padding
        rows, columns = (
            _halves((-(-size // step) - 1) * step + extent - size)
            for size, step, extent in zip(shape, self.stride, self.extent, strict=False)
        )
        return rows, columns

    def padding_before(self, shape: Shape) -> Pair:
        """The padding above and on the left of images of this shape."""
        (above, _), (left, _) = self.padding_of(shape)
        return above, left

    def outputs(self, layer: object, shape: Shape) -> Pair:
        """Return the output height and width (P, Q) for images of this shape, (H, W, ...).

        Raises ValueError, which names `layer`, if the window is larger than the padded image.
        """
        sides = []
        for name, size, extent, step, (before, after) in zip(
            ("height", "width"), shape, self.extent, self.stride, self.padding_of(shape), strict=False
        ):
            padded = size + before + after
            if padded < extent:
                raise ValueError(
                    f"the window of {layer} has a {name} of {extent} pixels, but the image has {padded}, "
                    "padding included"
                )
            sides.append((padded - extent) // step + 1)
        return sides[0], sides[1]


def pair(value: int | Pair, name: str, least: int) -> Pair:
    """Return `value`, an integer or a pair of integers, as (height, width).

    Raises TypeError for anything else, and ValueError if an integer is below `least`.
    """
    both = value if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(map(_is_integer, both)):
        raise TypeError(f"{name} must be an integer or a pair of integers, not {value!r}")
    if min(both) < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return int(both[0]), int(both[1])


# Checks of attributes.
at_least_0, at_least_1 = partial(pair, least=0), partial(pair, least=1)


def integer(value: int, name: str, least: int) -> int:
    """Return `value` as an int.

    Raises TypeError unless it is an integer, and ValueError if it is below `least`.
    """
    whole = whole_number(value, name)
    if whole < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return whole


def integer_at_least_1(value: int, name: str) -> int:
    """Return `value` as an int. Raises TypeError or ValueError unless it is an integer, at least 1."""
    return integer(value, name, 1)


def padding_of_images(padding: int | Pair | tuple[Pair, Pair] | str, name: str = "padding") -> Padding:
    """Return `padding` in pixels, or "same", which follows a stride that is assigned later.

    Raises ValueError if it is not valid.
    """
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f'{name} must be a number, a pair, "same" or "valid", not {padding!r}')
        return "same" if padding == "same" else ((0, 0), (0, 0))
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        return at_least_0(padding[0], name), at_least_0(padding[1], name)
    return at_least_0(padding, name), at_least_0(padding, name)


def padding_of_sequences(padding: int | Pair | str, name: str = "padding") -> Pair | str:
    """The same for sequences: (before, after), or "same"."""
    if isinstance(padding, (tuple, list)):
        return pair(padding, name, 0)
    found = padding_of_images(padding, name)
    return found if isinstance(found, str) else found[1]


def image_shape(layer: object, shape: Shape, sides: int) -> Shape:
    """Return the shape (H, W, C) of a sample of `sides` sides and channels. Raises ValueError for another."""
    if len(shape) != sides + 1:
        expected = "images (height, width, channels)" if sides == 2 else "sequences (length, channels)"
        raise ValueError(f"{layer} expects {expected}, got samples of shape {shape}")
    return shape if sides == 2 else (1, *shape)


def shortest(sizes: int | Pair) -> int | Pair:
    """The shortest argument for `pair`: 3 for (3, 3)."""
    return sizes if isinstance(sizes, int) or sizes[0] != sizes[1] else sizes[0]


def short(sizes: int | Pair) -> str:
    """Format sizes for a message: "3" for (3, 3)."""
    return str(shortest(sizes))


def shortest_padding(padding: Pair | Padding) -> int | Pair | Padding:
    """The shortest argument for the padding of images or sequences."""
    if isinstance(padding, str):
        return padding
    before, after = padding
    if isinstance(before, int) or isinstance(after, int):  # of sequences
        return before if before == after else padding
    (above, below), (left, right) = before, after
    return shortest((above, left)) if (above, left) == (below, right) else padding


def _halves(total: int) -> Pair:
    """Divide the padding of a side, with the odd pixel at the end, as Keras does."""
    total = max(total, 0)
    return total // 2, total - total // 2


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
