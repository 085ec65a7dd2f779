"""Converts a fastnn model to a PyTorch module: images channels first, the same outputs and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from fastnn import layers as ours
from fastnn._validation import Array, Shape
from fastnn.exchange import torch_modules
from fastnn.exchange.errors import ConversionError, check_same
from fastnn.exchange.layout import channels_first, channels_last
from fastnn.exchange.order import reorder_inputs, reorder_outputs, to_channels_first
from fastnn.layers import Layer
from fastnn.param import Buffer, Param

FEATURES, MANY = 0, -1


@dataclass(frozen=True)
class Stage:
    """What is known of a value between two layers."""

    shape: Shape | None = None
    """The shape of a sample, if it is known."""
    channels: int | None = None
    """The channels of an image; MANY if they are unknown, FEATURES for features, None for unknown samples."""
    flattened: int = 1
    """The channels of the image whose elements are the features; 1 if their order is that of PyTorch."""


def convert(model: Layer, input_shape: Shape | None) -> nn.Module:
    """See `fastnn.to_torch`."""
    stage = Stage()
    if input_shape is not None:
        shape = tuple(input_shape)
        model.output_shape(shape)  # raises ValueError, which names the layer, if it does not fit
        stage = Stage(shape, {1: FEATURES, 3: shape[-1]}.get(len(shape)))
    # The copy gets its weights in PyTorch's order, before each layer is converted.
    chain = _Chain(stage)
    chain.extend(copy.deepcopy(model), "model")
    if chain.stage.flattened > 1:
        raise ConversionError(
            "the model ends with a flattened image, in the order height, width, channels; PyTorch's order is "
            "channels, height, width: leave out the last Flatten"
        )
    module = chain.module().eval()
    if input_shape is not None:
        _verify(model, module, shape)
    return module


def _verify(model: Layer, module: nn.Module, shape: Shape) -> None:
    """Raise ConversionError unless the module returns what the model returns for random samples."""
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype(model.dtype)
    wanted = model.predict(x, scale=1.0)
    with torch.no_grad():
        got = channels_last(module(channels_first(x)))
    check_same(got, wanted, f"the module {module} does not return what {model!r} returns")


class _Chain:
    """The modules of a chain of layers, and the layers themselves until the end, as their weights may change.

    `layers` are those since the last place where the order of features was fixed.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._parts: list[Layer | nn.Module] = []

    def extend(self, layer: Layer, name: str) -> None:
        """Add a layer, or the layers of a Sequential."""
        if type(layer) is ours.Sequential:
            for index, inner in enumerate(layer):
                self.extend(inner, str(index) if name == "model" else f"{name}.{index}")
            return
        try:
            handler = LAYERS[type(layer)]
        except KeyError:
            known = ", ".join(sorted(kind.__name__ for kind in LAYERS))
            raise ConversionError(
                f"layer {name}, {layer!r}, has no counterpart in PyTorch; supported are Sequential, {known}"
            ) from None
        before = self.stage
        try:
            handler(self, layer, name)
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise ConversionError(f"layer {name}, {layer!r}: {error}") from error
        shape = before.shape and layer.output_shape(before.shape)
        self.stage = replace(self.stage, shape=shape)

    def add(self, part: Layer | nn.Module, **known: Any) -> None:
        self._parts.append(part)
        self.stage = replace(self.stage, **known)

    def take_features(self, layer: Layer, features: int) -> None:
        """Reorder the weights of a layer that takes flattened images."""
        channels = self.stage.flattened
        if channels > 1 and not reorder_inputs(layer, to_channels_first((1, features // channels, channels))):
            channels = 1
        self.stage = replace(self.stage, channels=FEATURES, flattened=channels)

    def make_images(self, shape: Shape) -> None:
        """Reorder the features of the layers before, which become images (H, W, C)."""
        if self.stage.flattened == shape[2]:
            return
        last = list(takewhile(lambda part: isinstance(part, Layer), reversed(self._parts)))[::-1]
        if self.stage.flattened > 1 or not reorder_outputs(cast(list[Layer], last), to_channels_first(shape)):
            raise ValueError(
                "features that become images of several channels must come from a Linear, with elementwise "
                "layers and BatchNorm1d between"
            )

    def module(self) -> nn.Module:
        modules: list[nn.Module] = []
        for part in self._parts:
            modules += MODULES[type(part)](part) if isinstance(part, Layer) else [part]
        return nn.Sequential(*modules)


# --- how each layer changes what is known, and whether its weights must be reordered ---


def _linear(chain: _Chain, layer: ours.Linear, name: str) -> None:
    chain.take_features(layer, layer.weight.shape[0])
    chain.add(layer)


def _batch_norm1d(chain: _Chain, layer: ours.BatchNorm1d, name: str) -> None:
    chain.take_features(layer, layer.channels)
    chain.add(layer)


def _conv(chain: _Chain, layer: ours.Conv2d | ours.ConvTranspose2d, name: str) -> None:
    chain.add(layer, channels=layer.out_channels)


def _batch_norm2d(chain: _Chain, layer: ours.BatchNorm2d, name: str) -> None:
    chain.add(layer, channels=layer.channels)


def _group_norm(chain: _Chain, layer: ours.GroupNorm, name: str) -> None:
    if chain.stage.channels is None:
        raise ValueError("pass input_shape: are the samples images, or rows of features?")
    if chain.stage.flattened > 1:
        raise ValueError(
            "the groups of a flattened image are other elements in PyTorch: put it before Flatten"
        )
    chain.add(layer)


def _layer_norm(chain: _Chain, layer: ours.LayerNorm, name: str) -> None:
    axes, channels = len(layer.shape), chain.stage.channels
    if axes == 3:
        chain.add(_image_norm(layer), channels=layer.shape[2])
    elif axes == 1 and channels == FEATURES:
        chain.take_features(layer, layer.shape[0])
        chain.add(layer)
    elif axes == 1 and channels is not None:
        chain.add(_image_norm(layer), channels=layer.shape[0])
    elif axes == 1:
        raise ValueError("pass input_shape: are the samples images, or rows of features?")
    else:
        raise ValueError("supported are one axis, and all three axes of images")


def _flatten(chain: _Chain, layer: Layer, name: str) -> None:
    stage = chain.stage
    if stage.channels == MANY:
        raise ValueError("pass input_shape: how many channels does the image have?")
    chain.add(nn.Flatten(), channels=FEATURES, flattened=stage.channels or stage.flattened)


def _pool(chain: _Chain, layer: Layer, name: str) -> None:
    chain.add(layer, channels=MANY if chain.stage.channels is None else chain.stage.channels)


def _global_pool(chain: _Chain, layer: Layer, name: str) -> None:
    chain.add(nn.AdaptiveAvgPool2d(1))
    chain.add(nn.Flatten(), channels=FEATURES, flattened=1)


def _reshape(chain: _Chain, layer: ours.Reshape, name: str) -> None:
    stage, shape = chain.stage, layer.shape
    if len(shape) == 1:
        return _flatten(chain, layer, name)
    if stage.channels == MANY or (stage.channels or 1) > 1:
        raise ValueError("PyTorch keeps images of several channels in another order: flatten them first")
    if -1 in shape and stage.shape is not None:
        shape = layer.output_shape(stage.shape)
    if len(shape) != 3:
        if stage.flattened > 1:
            raise ValueError("the features of a flattened image cannot become samples of two axes")
        return chain.add(torch_modules.Reshape(shape), channels=None)
    if -1 in shape and shape[2] != 1:
        raise ValueError("pass input_shape, or sizes without -1")
    chain.make_images(shape)
    rows, columns, channels = shape
    chain.add(torch_modules.Reshape((channels, rows, columns)), channels=channels, flattened=1)


def _residual(chain: _Chain, layer: ours.Residual, name: str) -> None:
    paths = []
    for path, part in (("branch", layer.branch), ("shortcut", layer.shortcut)):
        inner = _Chain(chain.stage)
        inner.extend(part, f"{name}.{path}")
        paths.append(inner)
    branch, shortcut = paths
    if branch.stage.flattened != shortcut.stage.flattened:
        raise ValueError("branch and shortcut give the features of a flattened image in different orders")
    module = torch_modules.Residual(branch.module(), shortcut.module())
    known = {branch.stage.channels, shortcut.stage.channels} - {None, MANY}
    chain.add(module, channels=next(iter(known), branch.stage.channels), flattened=branch.stage.flattened)


def _keep(chain: _Chain, layer: Layer, name: str) -> None:
    chain.add(layer)


LAYERS: dict[type[Layer], Callable[[_Chain, Any, str], None]] = {
    ours.AvgPool2d: _pool,
    ours.BatchNorm1d: _batch_norm1d,
    ours.BatchNorm2d: _batch_norm2d,
    ours.Conv2d: _conv,
    ours.ConvTranspose2d: _conv,
    ours.Dropout: _keep,
    ours.ELU: _keep,
    ours.Flatten: _flatten,
    ours.GELU: _keep,
    ours.GlobalAvgPool2d: _global_pool,
    ours.GroupNorm: _group_norm,
    ours.Identity: _keep,
    ours.LayerNorm: _layer_norm,
    ours.LeakyReLU: _keep,
    ours.Linear: _linear,
    ours.MaxPool2d: _pool,
    ours.ReLU: _keep,
    ours.Reshape: _reshape,
    ours.Residual: _residual,
    ours.SiLU: _keep,
    ours.Sigmoid: _keep,
    ours.Softmax: _keep,
    ours.Tanh: _keep,
}


# --- the modules of each layer ---


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


def _pixels(layer: Any) -> Any:
    """The padding in pixels. Raises ConversionError if it depends on the size of the images."""
    if isinstance(layer.padding, str):
        raise ConversionError(
            f'the padding "same" of {layer} depends on the size of the images, which PyTorch has for '
            "strides of 1 only: build the layer with the padding in pixels"
        )
    return layer.padding


def _torch_conv(layer: ours.Conv2d) -> list[nn.Module]:
    (above, below), (left, right) = _pixels(layer)
    symmetric = above == below and left == right
    module = _bare(
        nn.Conv2d,
        layer.in_channels,
        layer.weight.shape[3],
        layer.filter_size,
        stride=layer.stride,
        padding=(above, left) if symmetric else 0,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        dtype=_dtype(layer.weight),
    )
    _set(module.weight, layer.weight, (3, 2, 0, 1))
    _set(module.bias, layer.bias)
    return [module] if symmetric else [nn.ZeroPad2d((left, right, above, below)), module]


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


def _image_norm(layer: ours.LayerNorm) -> nn.Module:
    """The module that normalises images (C, H, W), over all axes or over the channels of each pixel."""
    if len(layer.shape) == 1:
        return torch_modules.ChannelNorm(_norm(layer, layer.shape, ()))
    rows, columns, channels = layer.shape
    return _norm(layer, (channels, rows, columns), (2, 0, 1))


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


MODULES: dict[type[Layer], Callable[[Any], list[nn.Module]]] = {
    ours.AvgPool2d: lambda layer: [
        nn.AvgPool2d(*(layer.window, layer.stride, _pixels(layer)), count_include_pad=layer.count_include_pad)
    ],
    ours.BatchNorm1d: _torch_batch_norm,
    ours.BatchNorm2d: _torch_batch_norm,
    ours.Conv2d: _torch_conv,
    ours.ConvTranspose2d: _torch_conv_transpose,
    ours.Dropout: lambda layer: [nn.Dropout(layer.rate)],
    ours.ELU: lambda layer: [nn.ELU(layer.alpha)],
    ours.GELU: lambda layer: [nn.GELU(layer.approximate)],
    ours.GroupNorm: _torch_group_norm,
    ours.Identity: lambda layer: [nn.Identity()],
    ours.LayerNorm: lambda layer: [_norm(layer, layer.shape, ())],
    ours.LeakyReLU: lambda layer: [nn.LeakyReLU(layer.slope)],
    ours.Linear: _torch_linear,
    ours.MaxPool2d: lambda layer: [nn.MaxPool2d(layer.window, layer.stride, _pixels(layer))],
    ours.ReLU: lambda layer: [nn.ReLU()],
    ours.SiLU: lambda layer: [nn.SiLU()],
    ours.Sigmoid: lambda layer: [nn.Sigmoid()],
    ours.Softmax: lambda layer: [nn.Softmax(1)],
    ours.Tanh: lambda layer: [nn.Tanh()],
}
