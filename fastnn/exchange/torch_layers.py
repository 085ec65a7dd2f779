"""The layers of fastnn for PyTorch's dense layers, convolutions, norms, pools and activations.

A handler takes a `Call`, then what the function takes: its parameters are the options that are supported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from fastnn.exchange.chain import Value
from fastnn.exchange.torch_call import Call, Pair, dtype_of, pair
from fastnn.exchange.torch_shapes import global_average
from fastnn.layers import (
    ELU,
    GELU,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Softmax,
)

# --- dense layers and convolutions ---


def _zeros(weight: torch.Tensor, bias: torch.Tensor | None) -> dict[str, Any]:
    """The options of a layer that gets these weights later."""
    zeros = {"weight_init": "zeros", "bias_init": "zeros"}
    return {"bias": bias is not None, **zeros, "dtype": dtype_of(weight)}


def linear(call: Call, input: Value, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Value:
    outputs, inputs = weight.shape
    zeros = _zeros(weight, bias)
    if len(input.shape) == 3 and input.is_channels_last:  # a dense layer for each pixel
        layer: Conv2d | Linear = Conv2d(inputs, outputs, 1, **zeros)
    else:
        call.expect_features(input)
        layer = Linear(inputs, outputs, **zeros)
    call.set(layer.weight, weight, (1, 0))
    call.set(layer.bias, bias)
    return call.then(input, layer)


def conv2d(
    call: Call,
    input: Value,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Value:
    call.expect_images(input)
    outputs, per_group, *size = weight.shape
    if any(input.padding):
        above, below, left, right = input.padding
        if isinstance(padding, str):
            raise call.refused(f'has padding="{padding}" after a zero padding; pass numbers')
        (rows, columns) = pair(padding)
        both: Any = ((above + rows, below + rows), (left + columns, right + columns))
    else:
        both = padding if isinstance(padding, str) else pair(padding)
    layer = Conv2d(
        per_group * groups,
        outputs,
        (size[0], size[1]),
        stride=pair(stride),
        padding=both,
        dilation=pair(dilation),
        groups=groups,
        **_zeros(weight, bias),
    )
    call.set(layer.weight, weight, (2, 3, 1, 0))
    call.set(layer.bias, bias)
    return Value(call.shape, input, layer)


def conv_module(call: Call, input: Value) -> Value:
    module = call.module
    call.require(padding_mode=(module.padding_mode, ["zeros"]))
    options = module.stride, module.padding, module.dilation, module.groups
    return conv2d(call, input, module.weight, module.bias, *options)


def conv_transpose2d(
    call: Call,
    input: Value,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Value:
    call.expect_images(input)
    inputs, per_group, *size = weight.shape
    layer = ConvTranspose2d(
        inputs,
        per_group * groups,
        (size[0], size[1]),
        stride=pair(stride),
        padding=pair(padding),
        output_padding=pair(output_padding),
        dilation=pair(dilation),
        groups=groups,
        **_zeros(weight, bias),
    )
    call.set(layer.weight, weight, (2, 3, 1, 0))
    call.set(layer.bias, bias)
    return call.then(input, layer)


# --- norms ---


def batch_norm(call: Call, input: Value) -> Value:
    module = call.module
    call.require(track_running_stats=(module.track_running_stats and module.running_mean is not None, [True]))
    if module.momentum is None:
        raise call.refused("has momentum=None, a cumulative average, which is not supported; pass a number")
    images = isinstance(module, nn.BatchNorm2d)
    (call.expect_images if images else call.expect_features)(input)
    kind = BatchNorm2d if images else BatchNorm1d
    affine = module.weight is not None or module.bias is not None
    dtype = dtype_of(module.running_var)
    layer = kind(module.num_features, module.eps, module.momentum, affine, dtype=dtype)
    call.set(layer.gamma, module.weight)
    call.set(layer.beta, module.bias)
    layer.running_mean.value = call.array(module.running_mean)
    layer.running_var.value = call.array(module.running_var)
    return call.then(input, layer)


def group_norm(
    call: Call,
    input: Value,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> Value:
    (call.expect_images if len(input.shape) == 3 else call.expect_features)(input)
    affine = weight is not None or bias is not None
    given = weight if weight is not None else bias
    dtype = np.float32 if given is None else dtype_of(given)
    layer = GroupNorm(num_groups, input.shape[0], eps, affine, dtype=dtype)
    call.set(layer.gamma, weight)
    call.set(layer.beta, bias)
    return call.then(input, layer)


def layer_norm(
    call: Call,
    input: Value,
    normalized_shape: Iterable[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> Value:
    shape = tuple(normalized_shape)
    axes: tuple[int, ...] = ()
    if len(input.shape) == 3 and not input.is_channels_last:
        if shape != input.shape:
            raise call.refused(
                f"normalises the last axes {shape} of images (C, H, W); supported are all three axes, or the "
                "channels after permute(0, 2, 3, 1)"
            )
        axes = (1, 2, 0)
        shape = (shape[1], shape[2], shape[0])
    affine = weight is not None or bias is not None
    given = weight if weight is not None else bias
    layer = LayerNorm(shape, eps, affine, dtype=np.float32 if given is None else dtype_of(given))
    call.set(layer.gamma, weight, axes)
    call.set(layer.beta, bias, axes)
    return call.then(input, layer)


# --- pools ---


def max_pool(
    call: Call,
    input: Value,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    call.require(dilation=(pair(dilation), [(1, 1)]), return_indices=(return_indices, [False]))
    return _pool(call, input, MaxPool2d(pair(kernel_size), _stride(stride), pair(padding)), ceil_mode)


def avg_pool(
    call: Call,
    input: Value,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    call.require(divisor_override=(divisor_override, [None]))
    steps = pair(kernel_size), _stride(stride), pair(padding)
    # Without padding, PyTorch's flag says nothing.
    counted = bool(count_include_pad) or not any(pair(padding))
    return _pool(call, input, AvgPool2d(*steps, count_include_pad=counted), ceil_mode)


def _stride(stride: Any) -> Pair | None:
    return None if stride is None or stride == [] else pair(stride)


def _pool(call: Call, input: Value, layer: MaxPool2d | AvgPool2d, ceil_mode: bool) -> Value:
    call.expect_images(input)
    channels, rows, columns = input.shape
    if ceil_mode and layer.output_shape((rows, columns, channels))[:2] != call.shape[1:]:
        raise call.refused(
            f"has ceil_mode=True, whose last window leaves the image of {rows} x {columns} pixels; supported "
            "are images that the windows divide, or ceil_mode=False"
        )
    return call.then(input, layer)


def adaptive_avg_pool(call: Call, input: Value, output_size: Any) -> Value:
    call.expect_images(input)
    _, rows, columns = input.shape
    _, *wanted = call.shape
    if wanted == [1, 1]:
        return global_average(call, input)
    if rows % wanted[0] or columns % wanted[1]:
        raise call.refused(
            f"divides {rows} x {columns} pixels into {wanted[0]} x {wanted[1]} windows of different sizes; "
            "supported are sizes that divide the image"
        )
    window = rows // wanted[0], columns // wanted[1]
    return call.same(input) if window == (1, 1) else call.then(input, AvgPool2d(window))


# --- activations ---


def dropout(call: Call, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training:
        raise call.refused("drops values at inference, too: pass training=self.training")
    arguments, options = call.in_training
    is_used = options.get("training", arguments[2] if len(arguments) > 2 else True)
    return call.then(input, Dropout(p)) if is_used else call.same(input)


def dropout_module(call: Call, input: Value) -> Value:
    return call.then(input, Dropout(call.module.p))


def softmax(call: Call, input: Value, dim: int | None = None, **options: Any) -> Value:
    call.expect_features(input)
    call.require(dim=(dim, [1, -1]))
    return call.then(input, Softmax())


def plain(layer: Callable[[], Layer]) -> Callable[..., Value]:
    def activation(call: Call, input: Value, inplace: bool = False) -> Value:
        return call.then(input, layer())

    return activation


def leaky_relu(call: Call, input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    if negative_slope < 0:
        raise call.refused(f"has negative_slope={negative_slope}; supported are slopes of at least 0")
    return call.then(input, LeakyReLU(negative_slope))


def elu(call: Call, input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    if alpha < 0:
        raise call.refused(f"has alpha={alpha}; supported are values of at least 0")
    return call.then(input, ELU(alpha))


def gelu(call: Call, input: Value, approximate: str = "none") -> Value:
    return call.then(input, GELU(approximate))


def same(call: Call, input: Value, **options: Any) -> Value:
    return call.same(input)
