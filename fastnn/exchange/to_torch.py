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
from fastnn._validation import Shape
from fastnn.channel_order import reorder_inputs, reorder_outputs, to_channels_first
from fastnn.exchange import torch_modules
from fastnn.exchange.errors import ConversionError, check_same
from fastnn.exchange.layer_modules import MODULES, image_norm
from fastnn.exchange.layout import channels_first, channels_last
from fastnn.feeding import sample_shape
from fastnn.layers import Layer

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
    if input_shape is None:
        input_shape = _known_shape(model)
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


def _known_shape(model: Layer) -> Shape | None:
    """The shape of the images that the model needs, or was trained on; None if it is not known."""
    shape = sample_shape(model)
    if shape is None or len(shape) != 3:
        return None
    try:
        model.output_shape(shape)
    except ValueError:  # the first layer was trained in another model
        return None
    return shape


def _verify(model: Layer, module: nn.Module, shape: Shape) -> None:
    """Raise ConversionError unless the module returns what the model returns for random samples."""
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype(model.dtype)
    wanted = model.predict(x, scale=1.0)
    try:
        with torch.no_grad():
            got = channels_last(module(channels_first(x)))
    except (RuntimeError, ValueError) as error:
        rows = ", ".join(map(str, shape))
        hint = f": pass input_shape=({rows}, 1)" if len(shape) == 2 else f": {error}"
        raise ConversionError(f"PyTorch's layers do not take samples of shape {shape}{hint}") from error
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
        chain.add(image_norm(layer), channels=layer.shape[2])
    elif axes == 1 and channels == FEATURES:
        chain.take_features(layer, layer.shape[0])
        chain.add(layer)
    elif axes == 1 and channels is not None:
        chain.add(image_norm(layer), channels=layer.shape[0])
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
