"""The PyTorch modules of each layer, with its weights: filters and matrices have other axes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fastnn import layers as ours
from fastnn._validation import Array, Shape
from fastnn.exchange import torch_modules
from fastnn.exchange.errors import ConversionError
from fastnn.layers import Layer
from fastnn.layers.conv import Convolution
from fastnn.param import Buffer, Param


def _set(tensor: torch.Tensor, held: Param | Buffer | None, axes: tuple[int, ...] = ()) -> None:
    """Copy a parameter or buffer, with its axes in another order; what is frozen needs no gradient."""
    if held is None:
        return
    array: Array = held.value.transpose(axes) if axes else held.value
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.array(array)))
    if isinstance(held, Param):
        tensor.requires_grad_(not held.frozen)


def _dtype(held: Param | Buffer) -> torch.dtype:
    return torch.float64 if held.dtype == np.float64 else torch.float32


def _torch_linear(layer: ours.Linear) -> list[nn.Module]:
    inputs, outputs = layer.weight.shape
    module = _bare(nn.Linear, inputs, outputs, bias=layer.bias is not None, dtype=_dtype(layer.weight))
    _set(module.weight, layer.weight, (1, 0))
    _set(module.bias, layer.bias)
    return [module]


def _torch_embedding(layer: ours.Embedding) -> list[nn.Module]:
    sizes = layer.weight.shape
    module = _bare(nn.Embedding, *sizes, padding_idx=layer.padding_idx, dtype=_dtype(layer.weight))
    _set(module.weight, layer.weight)
    return [module]


def _pixels(layer: Any) -> Any:
    """The padding in pixels. Raises ConversionError if it depends on the size of the images."""
    if isinstance(layer, Convolution) and layer._window.stride == (1, 1):  # all images get the same padding
        sides = layer._window.padding_of((1, 1))
        return sides[1] if layer.sides == 1 else sides
    if isinstance(layer.padding, str):
        raise ConversionError(
            f'the padding "same" of {layer} depends on the size of the images, which PyTorch has for '
            "strides of 1 only: build the layer with the padding in pixels"
        )
    return layer.padding


def _torch_conv(layer: ours.Conv1d | ours.Conv2d) -> list[nn.Module]:
    is_sequence = isinstance(layer, ours.Conv1d)
    pixels = _pixels(layer)
    (above, below), (left, right) = ((0, 0), pixels) if is_sequence else pixels
    symmetric = above == below and left == right
    padding = left if is_sequence else (above, left)
    module = _bare(
        nn.Conv1d if is_sequence else nn.Conv2d,
        layer.in_channels,
        layer.out_channels,
        layer.filter_size,
        stride=layer.stride,
        padding=padding if symmetric else 0,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        dtype=_dtype(layer.weight),
    )
    _set(module.weight, layer.weight, (2, 1, 0) if is_sequence else (3, 2, 0, 1))
    _set(module.bias, layer.bias)
    if symmetric:
        return [module]
    zeros = nn.ZeroPad1d((left, right)) if is_sequence else nn.ZeroPad2d((left, right, above, below))
    return [zeros, module]


def _torch_conv_transpose(layer: ours.ConvTranspose2d) -> list[nn.Module]:
    (above, below), (left, right) = _pixels(layer)
    if above != below or left != right:
        raise ConversionError(f"{layer} cuts off different numbers of pixels on two sides, PyTorch the same")
    module = _bare(
        nn.ConvTranspose2d,
        layer.in_channels,
        layer.out_channels,
        layer.filter_size,
        stride=layer.stride,
        padding=(above, left),
        output_padding=layer.output_padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        dtype=_dtype(layer.weight),
    )
    _set(module.weight, layer.weight, (3, 2, 0, 1))
    _set(module.bias, layer.bias)
    return [module]


def _torch_group_norm(layer: ours.GroupNorm) -> list[nn.Module]:
    dtype = None if layer.gamma is None else _dtype(layer.gamma)
    module = nn.GroupNorm(layer.groups, layer.channels, layer.epsilon, layer.gamma is not None, dtype=dtype)
    _set(module.weight, layer.gamma)
    _set(module.bias, layer.beta)
    return [module]


def _torch_batch_norm(layer: ours.BatchNorm1d | ours.BatchNorm2d) -> list[nn.Module]:
    kind = nn.BatchNorm2d if isinstance(layer, ours.BatchNorm2d) else nn.BatchNorm1d
    affine = layer.gamma is not None
    module = kind(layer.channels, layer.epsilon, layer.momentum, affine, dtype=_dtype(layer.running_mean))
    _set(module.running_mean, layer.running_mean)
    _set(module.running_var, layer.running_var)
    _set(module.weight, layer.gamma)
    _set(module.bias, layer.beta)
    return [module]


def image_norm(layer: ours.LayerNorm) -> nn.Module:
    """The module that normalises images (C, H, W) or sequences (C, L), over all axes or over the channels."""
    *sides, channels = layer.shape
    if not sides:
        return torch_modules.ChannelNorm(_norm(layer, layer.shape, ()))
    return _norm(layer, (channels, *sides), (len(sides), *range(len(sides))))


def _norm(layer: ours.LayerNorm, shape: Shape, axes: tuple[int, ...]) -> nn.LayerNorm:
    affine = layer.gamma is not None
    dtype = torch.float32 if layer.gamma is None else _dtype(layer.gamma)
    module = nn.LayerNorm(shape, layer.epsilon, affine, dtype=dtype)
    _set(module.weight, layer.gamma, axes)
    _set(module.bias, layer.beta, axes)
    return module


def _bare(kind: Any, *arguments: Any, **options: Any) -> Any:
    """A module without the initial values, which would take random numbers from PyTorch's generator."""
    return nn.utils.skip_init(kind, *arguments, **options)


def _torch_avg_pool(layer: ours.AvgPool1d | ours.AvgPool2d) -> list[nn.Module]:
    kind: Any = nn.AvgPool1d if isinstance(layer, ours.AvgPool1d) else nn.AvgPool2d
    window = layer.window, layer.stride, _pixels(layer)
    return [kind(*window, count_include_pad=layer.count_include_pad)]


MODULES: dict[type[Layer], Callable[[Any], list[nn.Module]]] = {
    ours.AvgPool1d: _torch_avg_pool,
    ours.AvgPool2d: _torch_avg_pool,
    ours.BatchNorm1d: _torch_batch_norm,
    ours.BatchNorm2d: _torch_batch_norm,
    ours.Conv1d: _torch_conv,
    ours.Conv2d: _torch_conv,
    ours.ConvTranspose2d: _torch_conv_transpose,
    ours.Dropout: lambda layer: [nn.Dropout(layer.rate)],
    ours.ELU: lambda layer: [nn.ELU(layer.alpha)],
    ours.Embedding: _torch_embedding,
    ours.GELU: lambda layer: [nn.GELU(layer.approximate)],
    ours.GroupNorm: _torch_group_norm,
    ours.Identity: lambda layer: [nn.Identity()],
    ours.LayerNorm: lambda layer: [_norm(layer, layer.shape, ())],
    ours.LeakyReLU: lambda layer: [nn.LeakyReLU(layer.slope)],
    ours.Linear: _torch_linear,
    ours.MaxPool1d: lambda layer: [nn.MaxPool1d(layer.window, layer.stride, _pixels(layer))],
    ours.MaxPool2d: lambda layer: [nn.MaxPool2d(layer.window, layer.stride, _pixels(layer))],
    ours.ReLU: lambda layer: [nn.ReLU()],
    ours.SiLU: lambda layer: [nn.SiLU()],
    ours.Sigmoid: lambda layer: [nn.Sigmoid()],
    ours.Softmax: lambda layer: [nn.Softmax(1)],
    ours.Tanh: lambda layer: [nn.Tanh()],
}
