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
from fastnn.exchange.torch_call import Call, Pair, dtype_of, of_sides, pair
from fastnn.exchange.torch_shapes import global_average
from fastnn.layers import (
    ELU,
    GELU,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool1d,
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
    if len(input.shape) in (2, 3) and input.is_channels_last:  # a dense layer at each position
        kind: Any = Conv1d if len(input.shape) == 2 else Conv2d
        layer = kind(inputs, outputs, 1, **zeros)
    else:
        call.expect_features(input)
        layer = Linear(inputs, outputs, **zeros)
    call.set(layer.weight, weight, (1, 0))
    call.set(layer.bias, bias)
    return call.then(input, layer)


def embedding(
    call: Call,
    input: Value,
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    call.require(max_norm=(max_norm, [None]), scale_grad_by_freq=(scale_grad_by_freq, [False]))
    vectors, size = weight.shape
    layer = Embedding(vectors, size, padding_idx, weight_init="zeros", dtype=dtype_of(weight))
    call.set(layer.weight, weight)
    return Value(call.shape, input, layer, is_channels_last=True)


def conv(
    call: Call,
    input: Value,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Value:
    sides = call.expect_sides(input, weight.ndim - 2)
    outputs, per_group, *size = weight.shape
    if isinstance(padding, str):
        if any(input.padding):
            raise call.refused(f'has padding="{padding}" after a zero padding; pass numbers')
        own: Any = padding
    else:
        above, below, left, right = input.padding
        rows, columns = pair(padding)
        own = (left + columns, right + columns)
        own = own if sides == 1 else ((above + rows, below + rows), own)
    kind: Any = Conv1d if sides == 1 else Conv2d
    layer = kind(
        per_group * groups,
        outputs,
        of_sides(tuple(size), sides),
        stride=of_sides(stride, sides),
        padding=own,
        dilation=of_sides(dilation, sides),
        groups=groups,
        **_zeros(weight, bias),
    )
    call.set(layer.weight, weight, (*range(2, sides + 2), 1, 0))
    call.set(layer.bias, bias)
    return Value(call.shape, input, layer)


def conv_module(call: Call, input: Value) -> Value:
    module = call.module
    call.require(padding_mode=(module.padding_mode, ["zeros"]))
    options = module.stride, module.padding, module.dilation, module.groups
    return conv(call, input, module.weight, module.bias, *options)


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
    call.expect_sides(input, 2)
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
    if images or len(input.shape) > 1:
        call.expect_sides(input, 2 if images else 1)
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
    if len(input.shape) > 1:
        call.expect_sides(input, 1, 2)
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
    if len(input.shape) > 1 and not input.is_channels_last:
        if shape != input.shape:
            raise call.refused(
                f"normalises the last axes {shape} of samples {input.shape}, whose channels come first; "
                "supported are all axes, or the channels after permute(0, 2, 3, 1), or permute(0, 2, 1)"
            )
        axes = (*range(1, len(shape)), 0)
        shape = (*shape[1:], shape[0])
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
    sides, window = _window(call, input, kernel_size, stride, padding)
    layer = MaxPool1d(*window) if sides == 1 else MaxPool2d(*window)
    return _pool(call, input, layer, ceil_mode)


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
    sides, window = _window(call, input, kernel_size, stride, padding)
    kind: Any = AvgPool1d if sides == 1 else AvgPool2d
    # Without padding, PyTorch's flag says nothing.
    counted = bool(count_include_pad) or not any(pair(padding))
    return _pool(call, input, kind(*window, count_include_pad=counted), ceil_mode)


def _window(
    call: Call, input: Value, size: Any, stride: Any, padding: Any
) -> tuple[int, tuple[Any, Any, Any]]:
    """The number of sides of the samples, and the arguments of a pool over them."""
    sides = call.expect_sides(input, 1, 2)
    steps = None if stride is None or stride == [] else of_sides(stride, sides)
    return sides, (of_sides(size, sides), steps, of_sides(padding, sides))


def _pool(call: Call, input: Value, layer: Layer, ceil_mode: bool) -> Value:
    channels, *sides = input.shape
    if ceil_mode and layer.output_shape((*sides, channels))[:-1] != call.shape[1:]:
        size = " x ".join(map(str, sides))
        raise call.refused(
            f"has ceil_mode=True, whose last window leaves the image of {size} pixels; supported are images "
            "that the windows divide, or ceil_mode=False"
        )
    return call.then(input, layer)


def adaptive_avg_pool(call: Call, input: Value, output_size: Any) -> Value:
    sides = call.expect_sides(input, 1, 2)
    _, *sizes = input.shape
    _, *wanted = call.shape
    if wanted == [1] * sides:
        return global_average(call, input)
    if any(size % count for size, count in zip(sizes, wanted, strict=True)):
        before, after = (" x ".join(map(str, each)) for each in (sizes, wanted))
        raise call.refused(
            f"divides {before} pixels into {after} windows of different sizes; supported are sizes that "
            "divide the image"
        )
    if sizes == wanted:
        return call.same(input)
    window = of_sides([size // count for size, count in zip(sizes, wanted, strict=True)], sides)
    return call.then(input, AvgPool1d(window) if sides == 1 else AvgPool2d(window))


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
