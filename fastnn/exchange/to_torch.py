"""Converts a fastnn model to a PyTorch module: images channels first, the same outputs and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, cast

import torch
from torch import nn

from fastnn import layers as ours
from fastnn._validation import Shape
from fastnn.channel_order import reorder_inputs, reorder_outputs, takes_sequences, to_channels_first
from fastnn.exchange import torch_modules
from fastnn.exchange.errors import ConversionError, check_same, random_batch
from fastnn.exchange.layer_modules import MODULES, image_norm, pixels, pool_modules
from fastnn.exchange.layout import to_array, to_tensor
from fastnn.feeding import sample_shape
from fastnn.layers import Layer

FEATURES, MANY = 0, -1


@dataclass(frozen=True)
class Stage:
    """What is known of a value between two layers."""

    shape: Shape | None = None
    """The shape of a sample, if it is known."""
    channels: int | None = None
    """Those of images or sequences; MANY if unknown, FEATURES for features, None for unknown samples."""
    flattened: int = 1
    """The channels of the image whose elements are the features; 1 if their order is that of PyTorch."""
    is_last: bool = False
    """Whether the channels are last in the module, too."""


def convert(model: Layer, input_shape: Shape | None) -> nn.Module:
    """See `fastnn.to_torch`."""
    stage = Stage()
    if input_shape is None:
        input_shape = _known_shape(model)
    if input_shape is not None:
        shape = tuple(input_shape)
        model.output_shape(shape)  # raises ValueError, which names the layer, if it does not fit
        stays = model.index_limit is not None or (len(shape) == 2 and not takes_sequences(model))
        is_features = len(shape) == 1
        stage = Stage(shape, FEATURES if is_features else shape[-1], is_last=stays and not is_features)
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
        _verify(model, module, stage, chain.stage)
    return module


def _known_shape(model: Layer) -> Shape | None:
    """The shape of the images or sequences that the model needs or was trained on, if it is known."""
    shape = sample_shape(model)
    if shape is None or not (len(shape) == 3 or (len(shape) == 2 and takes_sequences(model))):
        return None
    try:
        model.output_shape(shape)
    except ValueError:  # the first layer was trained in another model
        return None
    return shape


def _verify(model: Layer, module: nn.Module, start: Stage, end: Stage) -> None:
    """Raise ConversionError unless the module returns what the model returns for random samples."""
    assert start.shape is not None
    x = random_batch(start.shape, model.dtype, model.index_limit)
    wanted = model.predict(x, scale=1.0)
    try:
        with torch.no_grad():
            y = module(to_tensor(x, is_channels_last=start.is_last))
    except (RuntimeError, ValueError) as error:
        raise ConversionError(
            f"PyTorch's layers do not take samples of shape {start.shape}: {error}"
        ) from error
    got = to_array(y, is_channels_last=end.is_last)
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

    def channels_first(self) -> None:
        """Move the channels first, for layers that take them so."""
        if self.stage.is_last:
            self.add(torch_modules.ChannelsFirst(), is_last=False)

    def module(self) -> nn.Module:
        modules: list[nn.Module] = []
        for part in self._parts:
            modules += MODULES[type(part)](part) if isinstance(part, Layer) else [part]
        return nn.Sequential(*modules)


# --- how each layer changes what is known, and whether its weights must be reordered ---


def _linear(chain: _Chain, layer: ours.Linear, name: str) -> None:
    chain.take_features(layer, layer.weight.shape[0])
    chain.add(layer)


def _embedding(chain: _Chain, layer: ours.Embedding, name: str) -> None:
    chain.add(layer, channels=layer.embedding_dim, is_last=True)


def _conv(chain: _Chain, layer: ours.Conv1d | ours.Conv2d | ours.ConvTranspose2d, name: str) -> None:
    shape = chain.stage.shape
    if shape is not None and len(shape) == layer.sides:
        raise ValueError(f"PyTorch's samples need an axis for the channel: pass input_shape={(*shape, 1)}")
    chain.channels_first()
    if not isinstance(layer, ours.ConvTranspose2d):  # its padding does not depend on the shape
        sides = pixels(layer, shape)
        layer.padding = sides[1] if layer.sides == 1 else sides
    chain.add(layer, channels=layer.out_channels)


def _batch_norm(chain: _Chain, layer: ours.BatchNorm1d | ours.BatchNorm2d, name: str) -> None:
    if chain.stage.channels == FEATURES:
        chain.take_features(layer, layer.channels)
        return chain.add(layer)
    chain.channels_first()
    is_known = chain.stage.channels is not None or isinstance(layer, ours.BatchNorm2d)
    chain.add(layer, channels=layer.channels if is_known else MANY)  # features, or sequences


def _group_norm(chain: _Chain, layer: ours.GroupNorm, name: str) -> None:
    if chain.stage.channels is None:
        raise ValueError("pass input_shape: are the samples images, or rows of features?")
    if chain.stage.flattened > 1:
        raise ValueError(
            "the groups of a flattened image are other elements in PyTorch: put it before Flatten"
        )
    chain.channels_first()
    chain.add(layer)


def _layer_norm(chain: _Chain, layer: ours.LayerNorm, name: str) -> None:
    axes, channels, shape = len(layer.shape), chain.stage.channels, chain.stage.shape
    if chain.stage.is_last:
        chain.add(layer)
    elif axes == 3 or (axes == 2 and shape is not None and len(shape) == 2):
        chain.add(image_norm(layer), channels=layer.shape[-1])
    elif axes == 1 and channels == FEATURES:
        chain.take_features(layer, layer.shape[0])
        chain.add(layer)
    elif axes == 1 and channels is not None:
        chain.add(image_norm(layer), channels=layer.shape[0])
    elif axes == 1:
        raise ValueError("pass input_shape: are the samples images, or rows of features?")
    else:
        raise ValueError("supported are one axis, and all axes of images or, with input_shape, of sequences")


def _flatten(chain: _Chain, layer: Layer, name: str) -> None:
    stage = chain.stage
    if stage.channels == MANY:
        raise ValueError("pass input_shape: how many channels does the image have?")
    flattened = 1 if stage.is_last else stage.channels or stage.flattened
    chain.add(nn.Flatten(), channels=FEATURES, flattened=flattened, is_last=False)


def _pool(chain: _Chain, layer: Layer, name: str) -> None:
    chain.channels_first()
    for module in pool_modules(layer, chain.stage.shape):
        chain.add(module, channels=MANY if chain.stage.channels is None else chain.stage.channels)


def _global_pool(chain: _Chain, layer: ours.GlobalAvgPool1d | ours.GlobalAvgPool2d, name: str) -> None:
    chain.channels_first()
    chain.add(nn.AdaptiveAvgPool1d(1) if layer.sides == 1 else nn.AdaptiveAvgPool2d(1))
    chain.add(nn.Flatten(), channels=FEATURES, flattened=1)


def _reshape(chain: _Chain, layer: ours.Reshape, name: str) -> None:
    stage, shape = chain.stage, layer.shape
    if len(shape) == 1:
        return _flatten(chain, layer, name)
    if not stage.is_last and (stage.channels == MANY or (stage.channels or 1) > 1):
        raise ValueError("PyTorch keeps images of several channels in another order: flatten them first")
    if -1 in shape and stage.shape is not None:
        shape = layer.output_shape(stage.shape)
    if len(shape) != 3:
        if stage.flattened > 1:
            raise ValueError("the features of a flattened image cannot become samples of two axes")
        return chain.add(torch_modules.Reshape(shape), channels=shape[-1], is_last=True)
    if -1 in shape and shape[2] != 1:
        raise ValueError("pass input_shape, or sizes without -1")
    chain.make_images(shape)
    rows, columns, channels = shape
    chain.add(torch_modules.Reshape((channels, rows, columns)), channels=channels, flattened=1, is_last=False)


def _residual(chain: _Chain, layer: ours.Residual, name: str) -> None:
    paths = []
    for path, part in (("branch", layer.branch), ("shortcut", layer.shortcut)):
        inner = _Chain(chain.stage)
        inner.extend(part, f"{name}.{path}")
        paths.append(inner)
    branch, shortcut = paths
    if branch.stage.is_last != shortcut.stage.is_last:
        branch.channels_first()
        shortcut.channels_first()
    if branch.stage.flattened != shortcut.stage.flattened:
        raise ValueError("branch and shortcut give the features of a flattened image in different orders")
    module = torch_modules.Residual(branch.module(), shortcut.module())
    known = {branch.stage.channels, shortcut.stage.channels} - {None, MANY}
    chain.add(
        module,
        channels=next(iter(known), branch.stage.channels),
        flattened=branch.stage.flattened,
        is_last=branch.stage.is_last,
    )


def _keep(chain: _Chain, layer: Layer, name: str) -> None:
    chain.add(layer)


LAYERS: dict[type[Layer], Callable[[_Chain, Any, str], None]] = {
    ours.AvgPool1d: _pool,
    ours.AvgPool2d: _pool,
    ours.BatchNorm1d: _batch_norm,
    ours.BatchNorm2d: _batch_norm,
    ours.Conv1d: _conv,
    ours.Conv2d: _conv,
    ours.ConvTranspose2d: _conv,
    ours.Dropout: _keep,
    ours.ELU: _keep,
    ours.Embedding: _embedding,
    ours.Flatten: _flatten,
    ours.GELU: _keep,
    ours.GlobalAvgPool1d: _global_pool,
    ours.GlobalAvgPool2d: _global_pool,
    ours.GroupNorm: _group_norm,
    ours.Identity: _keep,
    ours.LayerNorm: _layer_norm,
    ours.LeakyReLU: _keep,
    ours.Linear: _linear,
    ours.MaxPool1d: _pool,
    ours.MaxPool2d: _pool,
    ours.ReLU: _keep,
    ours.Reshape: _reshape,
    ours.Residual: _residual,
    ours.SiLU: _keep,
    ours.Sigmoid: _keep,
    ours.Softmax: _keep,
    ours.Tanh: _keep,
}
