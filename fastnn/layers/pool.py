"""Pooling layers: the maximum or the mean of each window, channel by channel."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.kernels import empty, ops
from fastnn.layers._geometry import Pair, output_sides, pair, short, shortest
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class _Pool2d(Layer):
    """Base class of pooling over windows: (N, H, W, C) -> (N, P, Q, C)."""

    window: Pair
    stride: Pair
    padding: Pair

    def __init__(self, window: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> None:
        self.window = pair(window, "window", 1)
        self.stride = self.window if stride is None else pair(stride, "stride", 1)
        self.padding = pair(padding, "padding", 0)
        if any(2 * pad > size for pad, size in zip(self.padding, self.window, strict=True)):
            raise ValueError(
                f"padding must be at most half of the window, {short(self.window)}, not {short(self.padding)}"
            )

    def output_shape(self, shape: Shape) -> Shape:
        _expect_images(self, shape)
        above, left = self.padding
        sides = output_sides(self, shape, self.window, self.stride, ((above, above), (left, left)))
        return (*sides, shape[2])

    def flop(self, shape: Shape) -> int:
        """One per pixel of each window and channel. Padding counts like any other pixel."""
        return math.prod((*self.output_shape(shape), *self.window))

    def arguments(self) -> dict[str, Any]:
        return {
            "window": shortest(self.window),
            "stride": None if self.stride == self.window else shortest(self.stride),
            "padding": shortest(self.padding),
        }


class MaxPool2d(_Pool2d):
    """Max pooling: (N, H, W, C) -> (N, P, Q, C) with P = floor((H + 2 padding - window) / stride) + 1.

    y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c], over the pixels inside the image. Of several
    equal pixels, the first gets the gradient. The maximum of a window with NaN is NaN, and the last NaN gets
    the gradient, as in PyTorch.

    Args:
        window: Window size: an integer or a pair (height, width).
        stride: Stride, in the same form; by default the window size.
        padding: Padding on each side, in the same form; at most half of the window.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument is not an integer or a pair of integers.
    """

    recordable = True

    # The kernel requires indices as wide as its floats.
    _TAPS: ClassVar = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        steps = self.window, self.stride, self.padding
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        taps: Array = empty(y.shape, self._TAPS[x.dtype])
        ops.max_pool_forward(x, *steps, y, taps)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.max_pool_dx(dy, taps, *steps, dx)
            return dx

        return y, backward


class AvgPool2d(_Pool2d):
    """Average pooling: (N, H, W, C) -> (N, P, Q, C) with P = floor((H + 2 padding - window) / stride) + 1.

    y[n, p, q, c] = 1 / (R S) sum_rs x[n, p stride + r - padding, ..., c] for windows of R x S pixels. Padding
    counts as zeros, as in PyTorch (count_include_pad=True). Arguments and errors are as in `MaxPool2d`.
    """

    recordable = True

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        return y, _average(x, (self.window, self.stride, self.padding), y)


class GlobalAvgPool2d(Layer):
    """Global average pooling: the mean of each channel over the image, (N, H, W, C) -> (N, C)."""

    recordable = True

    def output_shape(self, shape: Shape) -> Shape:
        _expect_images(self, shape)
        if 0 in shape[:2]:
            raise ValueError(f"{self} expects images of at least one pixel, got samples of shape {shape}")
        return shape[2:]

    def flop(self, shape: Shape) -> int:
        self.output_shape(shape)
        return math.prod(shape)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        pixels = (len(x), 1, 1, x.shape[3])
        average_backward = _average(x, (x.shape[1:3], (1, 1), (0, 0)), y.reshape(pixels))

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            return average_backward(dy.reshape(pixels), need_dx=need_dx)

        return y, backward


def _average(x: Array, steps: tuple[Shape, Pair, Pair], y: Array) -> Backward:
    """Write the window means of x to y and return the backward function. `steps`: window, stride, padding."""
    ops.avg_pool_forward(x, *steps, y)

    def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        dx: Array = empty(x.shape, x.dtype)
        ops.avg_pool_dx(dy, *steps, dx)
        return dx

    return backward


def _expect_images(layer: Layer, shape: Shape) -> None:
    if len(shape) != 3:
        raise ValueError(f"{layer} expects images (height, width, channels), got samples of shape {shape}")
