"""Pooling layers: the maximum or the mean of each window, channel by channel."""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastnn._validation import Array, Shape, flag
from fastnn.kernels import empty, ops
from fastnn.layers._geometry import (
    Padding,
    Pair,
    Window,
    at_least_0,
    at_least_1,
    image_shape,
    integer,
    integer_at_least_1,
    pair,
    short,
    shortest,
)
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward

T = TypeVar("T")


class _Pool(Layer):
    """Base class of pooling over windows of images, or of sequences, which are images of height 1."""

    # The number of sides of a sample, without the channels.
    sides: ClassVar[int]

    @property
    def _window(self) -> Window:
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        sides = self._window.outputs(self, image_shape(self, shape, self.sides))
        return (*sides[-self.sides :], shape[-1])

    def flop(self, shape: Shape) -> int:
        """One per pixel of each window and channel. Padding counts like any other pixel."""
        return math.prod((*self.output_shape(shape), *self._window.size))

    def _steps(self, images: Shape) -> tuple[Pair, Pair, Pair]:
        """The window, the stride and the padding above and on the left of images (N, H, W, C)."""
        window = self._window
        return window.size, window.stride, window.padding_before(images[1:])

    def _pixels(self, x: Array) -> tuple[Array, Shape]:
        """Return a batch as images (N, H, W, C), and the shape (N, P, Q, C) of the outputs."""
        images = x.reshape(len(x), *image_shape(self, x.shape[1:], self.sides))
        return images, (len(x), *self._window.outputs(self, images.shape[1:]), x.shape[-1])

    def arguments(self) -> dict[str, Any]:
        window, stride, padding = (getattr(self, name) for name in ("window", "stride", "padding"))
        return {
            "window": shortest(window),
            "stride": None if stride == window else shortest(stride),
            "padding": padding if isinstance(padding, str) else shortest(padding),
        }


class _Pool2d(_Pool):
    """Base class of pooling over images: (N, H, W, C) -> (N, P, Q, C)."""

    sides = 2
    window: Pair
    stride: Pair
    padding: Pair | str
    _checks: ClassVar = {"window": at_least_1, "stride": at_least_1, "padding": at_least_0}

    def __init__(
        self, window: int | Pair, stride: int | Pair | None = None, padding: int | Pair | str = 0
    ) -> None:
        self.window = window  # type: ignore[assignment]  # the checks make pairs
        self.stride = stride  # type: ignore[assignment]
        self.padding = padding  # type: ignore[assignment]

    def _checked_attribute(self, name: str, value: Any) -> Any:
        if name == "stride" and value is None:
            return self.window
        if name == "padding":
            is_name = isinstance(value, str)
            value = _named_padding(value, (0, 0)) if is_name else pair(value, "padding", 0)
        else:
            value = super()._checked_attribute(name, value)
        sizes = {"padding": (0, 0), **vars(self), name: value}
        if not isinstance(sizes["padding"], str):
            for pad, size in zip(sizes["padding"], sizes["window"], strict=True):
                _expect_half(pad, size, short(sizes["window"]), short(sizes["padding"]))
        return value

    @property
    def _window(self) -> Window:
        padding: Padding = "same"
        if not isinstance(self.padding, str):
            above, left = self.padding
            padding = (above, above), (left, left)
        return Window(self.window, self.stride, padding)


class _Pool1d(_Pool):
    """Base class of pooling over sequences: (N, L, C) -> (N, P, C)."""

    sides = 1
    window: int
    stride: int
    padding: int | str
    _checks: ClassVar = {
        **dict.fromkeys(("window", "stride"), integer_at_least_1),
        "padding": at_least_0,  # by `_checked_attribute`
    }

    def __init__(self, window: int, stride: int | None = None, padding: int | str = 0) -> None:
        self.window = window
        self.stride = stride  # type: ignore[assignment]  # the check replaces None
        self.padding = padding

    def _checked_attribute(self, name: str, value: Any) -> Any:
        if name == "stride" and value is None:
            return self.window
        if name == "padding" and isinstance(value, str):
            return _named_padding(value, 0)
        value = integer(value, name, 0) if name == "padding" else super()._checked_attribute(name, value)
        sizes = {"padding": 0, **vars(self), name: value}
        if not isinstance(sizes["padding"], str):
            _expect_half(sizes["padding"], sizes["window"], str(sizes["window"]), str(sizes["padding"]))
        return value

    @property
    def _window(self) -> Window:
        padding: Padding = "same"
        if not isinstance(self.padding, str):
            padding = (0, 0), (self.padding, self.padding)
        return Window((1, self.window), (1, self.stride), padding)


class _MaxPool(_Pool):
    """Base class of max pooling."""

    # The kernel requires indices as wide as its floats.
    _TAPS: ClassVar = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        images, pixels = self._pixels(x)
        steps = self._steps(images.shape)
        taps: Array = empty(pixels, self._TAPS[x.dtype])
        ops.max_pool_forward(images, *steps, y.reshape(pixels), taps)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                return None
            dx: Array = empty(images.shape, x.dtype)
            ops.max_pool_dx(dy.reshape(pixels), taps, *steps, dx)
            return dx.reshape(x.shape)

        return y, backward


class MaxPool2d(_Pool2d, _MaxPool):
    """Max pooling: (N, H, W, C) -> (N, P, Q, C) with P = floor((H + 2 padding - window) / stride) + 1.

    y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c], over the pixels inside the image. Of several
    equal pixels, the first gets the gradient. The maximum of a window with NaN is NaN, and the last NaN gets
    the gradient, as in PyTorch.

    Args:
        window: Window size: an integer or a pair (height, width).
        stride: Stride, in the same form; by default the window size.
        padding: Padding on each side, in the same form, at most half of the window; "valid" (none) or "same"
            (P = ceil(H / stride), with the odd pixel below and on the right, as in Keras).

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument is not an integer or a pair of integers.
    """

    recordable = True


class MaxPool1d(_Pool1d, _MaxPool):
    """Max pooling of sequences: (N, L, C) -> (N, P, C) with P = floor((L + 2 padding - window) / stride) + 1.

    All sizes are integers; otherwise arguments and errors are as in `MaxPool2d`.
    """

    recordable = True


class _AvgPool(_Pool):
    """Base class of average pooling."""

    count_include_pad: bool
    _checks: ClassVar = {"count_include_pad": flag}

    def _checked_attribute(self, name: str, value: Any) -> Any:
        if name == "count_include_pad" and value is None:
            return vars(self)["padding"] != "same"
        return super()._checked_attribute(name, value)

    def arguments(self) -> dict[str, Any]:
        counts = self.count_include_pad
        is_default = counts == (getattr(self, "padding", 0) != "same")
        return {**super().arguments(), "count_include_pad": None if is_default else counts}

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        images, pixels = self._pixels(x)
        steps = self._steps(images.shape)
        return y, _average(images, (*steps, self.count_include_pad), y.reshape(pixels), x.shape)


class AvgPool2d(_Pool2d, _AvgPool):
    """Average pooling: (N, H, W, C) -> (N, P, Q, C) with P = floor((H + 2 padding - window) / stride) + 1.

    y[n, p, q, c] = 1 / (R S) sum_rs x[n, p stride + r - padding, ..., c] for windows of R x S pixels. Padding
    counts as zeros, as in PyTorch. With `count_include_pad=False` the mean is over the pixels inside the
    image; this is the default for padding="same", as in Keras. Other arguments and errors are as in
    `MaxPool2d`.
    """

    recordable = True

    def __init__(
        self,
        window: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair | str = 0,
        *,
        count_include_pad: bool | None = None,
    ) -> None:
        super().__init__(window, stride, padding)
        self.count_include_pad = count_include_pad  # type: ignore[assignment]  # the check replaces None


class AvgPool1d(_Pool1d, _AvgPool):
    """Average pooling of sequences: (N, L, C) -> (N, P, C), P = floor((L + 2 padding - window) / stride) + 1.

    All sizes are integers; otherwise arguments and errors are as in `AvgPool2d`.
    """

    recordable = True

    def __init__(
        self,
        window: int,
        stride: int | None = None,
        padding: int | str = 0,
        *,
        count_include_pad: bool | None = None,
    ) -> None:
        super().__init__(window, stride, padding)
        self.count_include_pad = count_include_pad  # type: ignore[assignment]  # the check replaces None


class _GlobalAvgPool(Layer):
    """Base class of averages over all positions."""

    sides: ClassVar[int]

    def output_shape(self, shape: Shape) -> Shape:
        image_shape(self, shape, self.sides)
        if 0 in shape[:-1]:
            expected = (
                "images of at least one pixel" if self.sides == 2 else "sequences of at least one element"
            )
            raise ValueError(f"{self} expects {expected}, got samples of shape {shape}")
        return shape[-1:]

    def flop(self, shape: Shape) -> int:
        self.output_shape(shape)
        return math.prod(shape)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        images = x.reshape(len(x), *image_shape(self, x.shape[1:], self.sides))
        pixels = (len(x), 1, 1, x.shape[-1])
        return y, _average(images, (images.shape[1:3], (1, 1), (0, 0), True), y.reshape(pixels), x.shape)


class GlobalAvgPool2d(_GlobalAvgPool):
    """Global average pooling: the mean of each channel over the image, (N, H, W, C) -> (N, C)."""

    recordable = True
    sides = 2


class GlobalAvgPool1d(_GlobalAvgPool):
    """Global average pooling: the mean of each channel over the sequence, (N, L, C) -> (N, C)."""

    recordable = True
    sides = 1


def _average(images: Array, steps: tuple[Shape, Pair, Pair, bool], y: Array, shape: Shape) -> Backward:
    """Write the window means of the images to y and return the backward function.

    `steps`: window, stride, padding, whether the padding counts; `shape` is that of the gradient.
    """
    ops.avg_pool_forward(images, *steps, y)
    pixels = y.shape

    def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        dx: Array = empty(images.shape, images.dtype)
        ops.avg_pool_dx(dy.reshape(pixels), *steps, dx)
        return dx.reshape(shape)

    return backward


def _named_padding(padding: str, none: T) -> T | str:
    """Return "same", or `none` for "valid". Raises ValueError for any other name."""
    if padding not in ("valid", "same"):
        raise ValueError(f'padding must be a number, a pair, "same" or "valid", not {padding!r}')
    return none if padding == "valid" else padding


def _expect_half(padding: int, size: int, window: str, given: str) -> None:
    if 2 * padding > size:
        raise ValueError(f"padding must be at most half of the window, {window}, not {given}")
