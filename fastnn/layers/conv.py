"""The convolutional layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, float_type, positive_int
from fastnn.init import Initializer, initial_param
from fastnn.kernels import empty, ops
from fastnn.layers._geometry import Pair, output_sides, pair, short, shortest
from fastnn.layers.base import Layer
from fastnn.param import Param
from fastnn.recording.recorder import Backward


class Conv2d(Layer):
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
            "same" (P = H and Q = W; requires stride 1).
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
    in_channels: int
    filter_size: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int
    weight: Param
    bias: Param | None

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
        self.in_channels = positive_int(in_channels, "in_channels")
        outputs = positive_int(out_channels, "out_channels")
        self.filter_size = pair(filter_size, "filter_size", 1)
        self.stride = pair(stride, "stride", 1)
        self.dilation = pair(dilation, "dilation", 1)
        self.padding = _padding(padding, self.filter_size, self.stride, self.dilation)
        self.groups = positive_int(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels: {groups} does not divide "
                f"{in_channels} and {out_channels}"
            )
        rows, columns = self.filter_size
        shape = rows, columns, in_channels // groups, outputs
        fans = rows * columns * in_channels // groups, rows * columns * outputs // groups
        dtype = float_type(dtype)
        self.weight = initial_param(weight_init, shape, fans, "weight", dtype)
        self.bias = initial_param(bias_init, (outputs,), fans, "bias", dtype) if bias else None

    def output_shape(self, shape: Shape) -> Shape:
        channels = f"{self.in_channels} channel" + "s" * (self.in_channels > 1)
        if len(shape) == 2 and self.in_channels == 1:
            shape = (*shape, 1)
        if len(shape) != 3 or shape[2] != self.in_channels:
            is_channels_first = len(shape) == 3 and shape[0] == self.in_channels
            raise ValueError(
                f"{self} expects images (height, width, {channels}), got samples of shape {shape}"
                + (": move the channels last with x.transpose(0, 2, 3, 1)" if is_channels_first else "")
            )
        sides = output_sides(self, shape, self._dilated_size(), self.stride, self.padding)
        return (*sides, self.weight.shape[3])

    def flop(self, shape: Shape) -> int:
        """2 P Q R S C O / groups, plus P Q O for the biases. Padding counts like any other pixel."""
        rows, columns, outputs = self.output_shape(shape)
        return rows * columns * (2 * self.weight.size + (outputs if self.bias is not None else 0))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = x.shape
        y: Array = empty((len(x), *self.output_shape(shape[1:])), x.dtype)
        x = x.reshape(*shape[:3], self.in_channels)
        steps = self.stride, (self.padding[0][0], self.padding[1][0]), self.dilation
        weight, bias = self.weight, self.bias
        ops.conv_forward(x, weight.master, None if bias is None else bias.master, *steps, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not weight.frozen:
                ops.conv_dw(x, dy, *steps, weight.grad_buffer())
            if bias is not None and not bias.frozen:
                ops.dense_db(dy.reshape(-1, bias.size), bias.grad_buffer())
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.conv_dx(dy, weight.master, *steps, dx)
            return dx.reshape(shape)

        return y, backward

    def _dilated_size(self) -> Pair:
        """The height and width of the window that a filter reads, in pixels."""
        rows, columns = (
            step * (size - 1) + 1 for size, step in zip(self.filter_size, self.dilation, strict=True)
        )
        return rows, columns

    def arguments(self) -> dict[str, Any]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.weight.shape[3],
            "filter_size": shortest(self.filter_size),
            "stride": shortest(self.stride),
            "padding": _shortest_padding(self.padding),
            "dilation": shortest(self.dilation),
            "groups": self.groups,
            "bias": self.bias is not None,
            "dtype": self.weight.dtype.name,
        }


def _padding(
    padding: int | Pair | tuple[Pair, Pair] | str, size: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
    """Return `padding` as ((above, below), (left, right)). Raises ValueError if it is not valid."""
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f'padding must be a number, a pair, "same" or "valid", not {padding!r}')
        if padding == "valid":
            return (0, 0), (0, 0)
        if stride != (1, 1):
            raise ValueError(f'padding="same" needs stride 1, not {short(stride)}: pass numbers')
        rows, columns = (step * (taps - 1) for taps, step in zip(size, dilation, strict=True))
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        return pair(padding[0], "padding", 0), pair(padding[1], "padding", 0)
    return pair(padding, "padding", 0), pair(padding, "padding", 0)


def _shortest_padding(padding: tuple[Pair, Pair]) -> int | Pair | tuple[Pair, Pair]:
    (above, below), (left, right) = padding
    return shortest((above, left)) if (above, left) == (below, right) else padding
