"""Convolutions of images and of sequences."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, float_type, positive_int
from fastnn.init import Initializer, initial_param
from fastnn.kernels import empty, ops
from fastnn.layers._geometry import (
    Padding,
    Pair,
    Window,
    at_least_1,
    image_shape,
    integer_at_least_1,
    padding_of_images,
    padding_of_sequences,
    pair,
    shortest,
    shortest_padding,
)
from fastnn.layers.base import Layer
from fastnn.param import Param
from fastnn.recording.recorder import Backward


class Convolution(Layer):
    """Base class of layers with filters over images, or over sequences, which are images of height 1."""

    # The number of sides of a sample, without the channels.
    sides: ClassVar[int] = 2

    in_channels: int
    groups: int
    weight: Param
    bias: Param | None
    _fixed = frozenset({"in_channels", "filter_size", "groups"})

    def _set_channels(self, in_channels: int, out_channels: int, groups: int) -> int:
        """Check and set channels and groups; returns the number of output channels."""
        self.in_channels = positive_int(in_channels, "in_channels")
        outputs = positive_int(out_channels, "out_channels")
        self.groups = positive_int(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels: {groups} does not divide "
                f"{in_channels} and {out_channels}"
            )
        return outputs

    def _set_params(
        self,
        shape: Shape,
        fans: tuple[int, int],
        biases: int,
        inits: tuple[str | Initializer, str | Initializer],
        dtype: npt.DTypeLike,
    ) -> None:
        """Create the filters of this shape, and `biases` biases."""
        dtype = float_type(dtype)
        self.weight = initial_param(inits[0], shape, fans, "weight", dtype)
        self.bias = initial_param(inits[1], (biases,), fans, "bias", dtype) if biases else None

    @property
    def out_channels(self) -> int:
        """The number of output channels."""
        return self.weight.shape[-1]

    @property
    def _window(self) -> Window:
        """The window over images that the filters read."""
        raise NotImplementedError

    def _images(self, shape: Shape) -> Shape:
        """Return the shape (H, W, C) of a sample. Raises ValueError if it does not fit."""
        if len(shape) == self.sides and self.in_channels == 1:
            shape = (*shape, 1)
        if len(shape) == self.sides + 1 and shape[-1] == self.in_channels:
            return image_shape(self, shape, self.sides)
        channels = f"{self.in_channels} channel" + "s" * (self.in_channels > 1)
        expected = (
            f"images (height, width, {channels})" if self.sides == 2 else f"sequences (length, {channels})"
        )
        is_channels_first = len(shape) == self.sides + 1 and shape[0] == self.in_channels
        axes = "0, 2, 3, 1" if self.sides == 2 else "0, 2, 1"
        raise ValueError(
            f"{self} expects {expected}, got samples of shape {shape}"
            + (f": move the channels last with x.transpose({axes})" if is_channels_first else "")
        )

    def arguments(self) -> dict[str, Any]:
        held = vars(self)
        sizes = ("filter_size", "stride", "output_padding", "dilation")
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            **{name: shortest(held[name]) for name in sizes if name in held},
            "padding": shortest_padding(held["padding"]),
            "groups": self.groups,
            "bias": self.bias is not None,
            "dtype": self.weight.dtype.name,
        }


class _Conv(Convolution):
    """Base class of `Conv1d` and `Conv2d`."""

    def _set_filters(
        self,
        outputs: int,
        sides: Shape,
        bias: bool,
        inits: tuple[str | Initializer, str | Initializer],
        dtype: npt.DTypeLike,
    ) -> None:
        """Create the filters of these sides, and the biases."""
        size = int(np.prod(sides))
        fans = size * self.in_channels // self.groups, size * outputs // self.groups
        shape = *sides, self.in_channels // self.groups, outputs
        self._set_params(shape, fans, outputs if bias else 0, inits, dtype)

    def output_shape(self, shape: Shape) -> Shape:
        sides = self._window.outputs(self, self._images(shape))
        return (*sides[-self.sides :], self.out_channels)

    def flop(self, shape: Shape) -> int:
        """2 P Q R S C O / groups, plus P Q O for the biases. Padding counts like any other pixel."""
        outputs = self.output_shape(shape)
        per_pixel = 2 * self.weight.size + (outputs[-1] if self.bias is not None else 0)
        return int(np.prod(outputs[:-1])) * per_pixel

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape, window = x.shape, self._window
        y: Array = empty((len(x), *self.output_shape(shape[1:])), x.dtype)
        x = x.reshape(len(x), *self._images(shape[1:]))
        pixels = (len(x), *window.outputs(self, x.shape[1:]), self.out_channels)
        steps = window.stride, window.padding_before(x.shape[1:]), window.dilation
        weight, bias = self.weight, self.bias
        filters = (*window.size, *weight.shape[-2:])
        w = weight.master.reshape(filters)
        ops.conv_forward(x, w, None if bias is None else bias.master, *steps, y.reshape(pixels))

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            dy = dy.reshape(pixels)
            if not weight.frozen:
                ops.conv_dw(x, dy, *steps, weight.grad_buffer().reshape(filters))
            if bias is not None and not bias.frozen:
                ops.dense_db(dy.reshape(-1, bias.size), bias.grad_buffer())
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.conv_dx(dy, w, *steps, dx)
            return dx.reshape(shape)

        return y, backward


class Conv2d(_Conv):
    """2-D convolution: (N, H, W, in_channels) -> (N, P, Q, out_channels).

    y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] W[r, s, c, o].

    The filters W are (R, S, in_channels / groups, out_channels), and the output height is
    P = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1. With one input channel, images (N, H, W)
    are accepted, too. Each size is an integer or a pair (height, width).

    Args:
        in_channels: Number of input channels C.
        out_channels: Number of output channels O.
        filter_size: Filter height and width (R, S).
        stride: Stride, at least 1.
        padding: Zeros on each side: an integer, a pair, ((above, below), (left, right)), "valid" (none) or
            "same" (P = ceil(H / stride), also for a stride that is assigned later, with the odd pixel below
            and on the right, as in Keras).
        dilation: Distance between the pixels that neighbouring filter elements read, at least 1.
        groups: Divides the channels into groups that are convolved separately. As many groups as channels
            make a depthwise convolution.
        bias: Whether to add b.
        weight_init: Initialiser of W, by name or as an object (`fastnn.init`). The default is U(-a, a) with
            a = 1 / sqrt(R S in_channels / groups), as in PyTorch.
        bias_init: Initialiser of b, likewise.
        dtype: float32 or float64.

    Raises:
        ValueError: If an argument is not valid, or `groups` does not divide both channel counts.
        TypeError: If a size is not an integer or a pair of integers.
    """

    recordable = True
    filter_size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    _checks: ClassVar = {"stride": at_least_1, "dilation": at_least_1, "padding": padding_of_images}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filter_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: int | Pair | tuple[Pair, Pair] | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        weight_init: str | Initializer = "fan_in_uniform",
        bias_init: str | Initializer = "fan_in_uniform",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.filter_size = pair(filter_size, "filter_size", 1)
        self.stride = pair(stride, "stride", 1)
        self.dilation = pair(dilation, "dilation", 1)
        self.padding = padding  # type: ignore[assignment]  # the check makes pairs
        outputs = self._set_channels(in_channels, out_channels, groups)
        self._set_filters(outputs, self.filter_size, bias, (weight_init, bias_init), dtype)

    @property
    def _window(self) -> Window:
        return Window(self.filter_size, self.stride, self.padding, self.dilation)


class Conv1d(_Conv):
    """1-D convolution of sequences: (N, L, in_channels) -> (N, P, out_channels).

    y[n, p, o] = b[o] + sum_rc x[n, p stride + r dilation - padding, c] W[r, c, o].

    The filters W are (R, in_channels / groups, out_channels), and the output length is
    P = floor((L + 2 padding - dilation (R - 1) - 1) / stride) + 1. With one input channel, sequences (N, L)
    are accepted, too. All sizes are integers; `padding` may also be a pair (before, after): (R - 1, 0) makes
    a causal convolution, which sees no later elements. Other arguments and errors are as in `Conv2d`.

    >>> fn.Conv1d(3, 8, 5, padding="same", stride=2).output_shape((101, 3))
    (51, 8)
    """

    recordable = True
    sides = 1
    filter_size: int
    stride: int
    padding: Pair | str
    dilation: int
    _checks: ClassVar = {
        **dict.fromkeys(("filter_size", "stride", "dilation"), integer_at_least_1),
        "padding": padding_of_sequences,
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filter_size: int,
        *,
        stride: int = 1,
        padding: int | Pair | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        weight_init: str | Initializer = "fan_in_uniform",
        bias_init: str | Initializer = "fan_in_uniform",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.filter_size = filter_size
        self.stride = stride
        self.dilation = dilation
        self.padding = padding  # type: ignore[assignment]  # the check makes a pair
        outputs = self._set_channels(in_channels, out_channels, groups)
        self._set_filters(outputs, (self.filter_size,), bias, (weight_init, bias_init), dtype)

    @property
    def _window(self) -> Window:
        padding = self.padding if isinstance(self.padding, str) else ((0, 0), self.padding)
        return Window((1, self.filter_size), (1, self.stride), padding, (1, self.dilation))
