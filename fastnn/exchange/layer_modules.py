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
from fastnn.layers._geometry import Pair, Window, image_shape
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


def pixels(layer: Any, shape: Shape | None = None) -> tuple[Pair, Pair]:
    """The padding ((above, below), (left, right)) of a convolution or a pool on samples of this shape.

    Raises ConversionError if it depends on the shape, which is not known.
    """
    window: Window = layer._window
    if not isinstance(window.padding, str) or window.stride == (1, 1):  # all images get the same padding
        return window.padding_of((1, 1))
    if shape is None:
        raise ConversionError(
            f'the padding "same" of {layer} depends on the size of the images: pass input_shape, or build '
            "the layer with the padding in pixels"
        )
    return window.padding_of(image_shape(layer, shape, layer.sides))


def _torch_conv(layer: ours.Conv1d | ours.Conv2d) -> list[nn.Module]:
    is_sequence = isinstance(layer, ours.Conv1d)
    sides = pixels(layer)
    is_even = all(before == after for before, after in sides)
    module = _bare(
        nn.Conv1d if is_sequence else nn.Conv2d,
        layer.in_channels,
        layer.out_channels,
        layer.filter_size,
        stride=layer.stride,
        padding=_before(sides, layer) if is_even else 0,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        dtype=_dtype(layer.weight),
    )
    _set(module.weight, layer.weight, (2, 1, 0) if is_sequence else (3, 2, 0, 1))
    _set(module.bias, layer.bias)
    return [module] if is_even else [_border(sides, layer), module]


def _before(sides: tuple[Pair, Pair], layer: Any) -> tuple[int, ...]:
    """The padding before each side of the samples of a layer."""
    return tuple(before for before, _ in sides)[-layer.sides :]


def _border(sides: tuple[Pair, Pair], layer: Any) -> nn.Module:
    """The module that adds zeros around the samples of a layer; negative numbers of them cut pixels off."""
    (above, below), (left, right) = sides
    return nn.ZeroPad1d((left, right)) if layer.sides == 1 else nn.ZeroPad2d((left, right, above, below))


def _torch_conv_transpose(layer: ours.ConvTranspose2d) -> list[nn.Module]:
    """PyTorch cuts off the same number of pixels on two sides; other numbers are cut off by a module."""
    window = layer._window
    sides = window.padding_of(window.stride)  # "same": of the image that a single pixel becomes
    more: tuple[int, ...] = layer.output_padding
    if layer.padding == "same":
        more = tuple(
            step - extent + sum(cut)
            for step, extent, cut in zip(window.stride, window.extent, sides, strict=True)
        )
    is_even = all(before == after for before, after in sides)
    module = _bare(
        nn.ConvTranspose2d,
        layer.in_channels,
        layer.out_channels,
        layer.filter_size,
        stride=layer.stride,
        padding=_before(sides, layer) if is_even else 0,
        output_padding=more,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        dtype=_dtype(layer.weight),
    )
    _set(module.weight, layer.weight, (3, 2, 0, 1))
    _set(module.bias, layer.bias)
    (above, below), (left, right) = sides
    return [module] if is_even else [module, _border(((-above, -below), (-left, -right)), layer)]


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


def pool_modules(layer: Any, shape: Shape | None) -> list[nn.Module]:
    """The modules of a pool over samples of this shape.

    PyTorch's pools add the same number of pixels on two sides. If the end needs one more, `ceil_mode` lets
    the last window go beyond; with a stride of 1, the beginning gets one more, too, whose window is cut off.
    """
    sides, kind = pixels(layer, shape), POOLS[type(layer)]
    is_max = kind in (nn.MaxPool1d, nn.MaxPool2d)
    options = {} if is_max else {"count_include_pad": layer.count_include_pad}
    is_even = all(before == after for before, after in sides)
    if not (is_even or is_max) and layer.count_include_pad:  # `ceil_mode` does not count what is beyond
        return [_border(sides, layer), kind(layer.window, layer.stride, **options)]
    more = [
        int(before != after and step == 1)
        for (before, after), step in zip(sides, layer._window.stride, strict=True)
    ]
    padding = tuple(before + one for (before, _), one in zip(sides, more, strict=True))[-layer.sides :]
    pool = kind(layer.window, layer.stride, padding, ceil_mode=not is_even, **options)
    return [pool, _border(((-more[0], 0), (-more[1], 0)), layer)] if any(more) else [pool]


POOLS: dict[type[Layer], Any] = {
    ours.AvgPool1d: nn.AvgPool1d,
    ours.AvgPool2d: nn.AvgPool2d,
    ours.MaxPool1d: nn.MaxPool1d,
    ours.MaxPool2d: nn.MaxPool2d,
}
MODULES: dict[type[Layer], Callable[[Any], list[nn.Module]]] = {
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
    ours.ReLU: lambda layer: [nn.ReLU()],
    ours.SiLU: lambda layer: [nn.SiLU()],
    ours.Sigmoid: lambda layer: [nn.Sigmoid()],
    ours.Softmax: lambda layer: [nn.Softmax(1)],
    ours.Tanh: lambda layer: [nn.Tanh()],
}
