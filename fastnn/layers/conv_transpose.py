"""The transposed convolution, which enlarges images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape
from fastnn.init import Initializer
from fastnn.kernels import empty, ops
from fastnn.layers._geometry import Padding, Pair, Window, padding_of_images, pair, short
from fastnn.layers.conv import Convolution
from fastnn.recording.recorder import Backward


class ConvTranspose2d(Convolution):
    """Transposed convolution: (N, H, W, in_channels) -> (N, P, Q, out_channels).

    y[n, h stride + r dilation - padding, ..., o] gets the sum over h, r, s, c of x[n, h, w, c] W[r, s, o, c],
    plus b[o]: the gradient of a convolution with respect to its images, used as a layer ("deconvolution";
    Zeiler et al. 2010). The output height is
    P = (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1. Each size is an integer or a pair
    (height, width). With one input channel, images (N, H, W) are accepted, too.

    Args:
        in_channels: Number of input channels C.
        out_channels: Number of output channels O.
        filter_size: Filter height and width (R, S). The filters W are (R, S, out_channels / groups,
            in_channels).
        stride: Stride, at least 1: the factor by which images grow.
        padding: Pixels to cut off on each side: an integer, a pair, ((above, below), (left, right)), "valid"
            (none) or "same" (P = H stride, as in Keras).
        output_padding: Pixels to add below and on the right, less than the stride or the dilation.
        dilation: Distance between the pixels that neighbouring filter elements write, at least 1.
        groups: Divides the channels into groups that are computed separately.
        bias: Whether to add b.
        weight_init: Initialiser of W, by name or as an object (`fastnn.init`). The default is U(-a, a) with
            a = 1 / sqrt(R S out_channels / groups), as in PyTorch.
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
    output_padding: Pair
    dilation: Pair
    # The checks of these depend on each other.
    _fixed = Convolution._fixed | {"stride", "padding", "output_padding", "dilation"}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filter_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: int | Pair | tuple[Pair, Pair] | str = 0,
        output_padding: int | Pair = 0,
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
        self.padding = padding_of_images(padding)
        self.output_padding = pair(output_padding, "output_padding", 0)
        if any(map(_is_too_much, self.output_padding, self.stride, self.dilation)):
            raise ValueError(
                f"output_padding must be less than the stride or the dilation, {short(self.stride)} and "
                f"{short(self.dilation)}, not {short(self.output_padding)}"
            )
        if padding == "same" and self.output_padding != (0, 0):
            raise ValueError('padding="same" determines the output: leave out output_padding')
        outputs = self._set_channels(in_channels, out_channels, groups)
        shape = *self.filter_size, outputs // groups, self.in_channels
        fans = math.prod(shape[:3]), math.prod(self.filter_size) * in_channels // groups
        self._set_params(shape, fans, outputs if bias else 0, (weight_init, bias_init), dtype)

    @property
    def out_channels(self) -> int:
        """The number of output channels."""
        return self.weight.shape[2] * self.groups

    @property
    def _window(self) -> Window:
        """The window of the convolution whose images are the outputs."""
        return Window(self.filter_size, self.stride, self.padding, self.dilation)

    def output_shape(self, shape: Shape) -> Shape:
        images, window = self._images(shape), self._window
        if isinstance(self.padding, str):
            rows, columns = (size * step for size, step in zip(images, self.stride, strict=False))
        else:
            rows, columns = (
                (size - 1) * step + extent - before - after + more
                for size, step, extent, (before, after), more in zip(
                    images, self.stride, window.extent, self.padding, self.output_padding, strict=False
                )
            )
        if min(rows, columns) < 1:
            raise ValueError(
                f"{self} leaves no pixels of samples of shape {shape}: its output is {rows} x {columns}"
            )
        return rows, columns, self.out_channels

    def flop(self, shape: Shape) -> int:
        """2 H W R S C O / groups, plus P Q O for the biases."""
        outputs = self.output_shape(shape)
        products = 2 * math.prod(self._images(shape)[:2]) * self.weight.size
        return products + (math.prod(outputs) if self.bias is not None else 0)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape, window = x.shape, self._window
        y: Array = empty((len(x), *self.output_shape(shape[1:])), x.dtype)
        x = x.reshape(len(x), *self._images(shape[1:]))
        steps = window.stride, window.padding_before(y.shape[1:]), window.dilation
        weight, bias = self.weight, self.bias
        ops.conv_dx(x, weight.master, *steps, y)
        if bias is not None:
            rows = y.reshape(-1, bias.size)
            ops.add_bias(rows, bias.master, rows)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not weight.frozen:
                ops.conv_dw(dy, x, *steps, weight.grad_buffer())
            if bias is not None and not bias.frozen:
                ops.dense_db(dy.reshape(-1, bias.size), bias.grad_buffer())
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.conv_forward(dy, weight.master, None, *steps, dx)
            return dx.reshape(shape)

        return y, backward


def _is_too_much(output_padding: int, stride: int, dilation: int) -> bool:
    return output_padding >= max(stride, dilation)
