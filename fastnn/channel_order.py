"""The channels of images and sequences: last in fastnn, first in PyTorch and ONNX.

A layer after Flatten sees the same features in another order there. Its weights are reordered once, so that
nothing is transposed when the model runs. An order is an index array: feature i of the new order is feature
`order[i]` of the old one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.layers import (
    Activation,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Elementwise,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    Linear,
    MaxPool1d,
    Reshape,
    Residual,
    Sequential,
)

_ELEMENTWISE = (Activation, Dropout, Elementwise, Identity)
# These take sequences as (N, C, L) in the other libraries. Those around them begin or end other samples.
_SEQUENCE_LAYERS = (AvgPool1d, BatchNorm1d, Conv1d, GlobalAvgPool1d, GroupNorm, MaxPool1d)
_OTHER_SAMPLES = (Embedding, Flatten, Linear, Reshape)


def to_channels_last(shape: Shape) -> Array:
    """Return the order of a flattened sample (..., C) among the elements of a flattened (C, ...)."""
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).ravel()


def to_channels_first(shape: Shape) -> Array:
    """Return the order of a flattened sample (C, ...) among the elements of a flattened (..., C)."""
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), -1, 0).ravel()


def is_same(order: Array) -> bool:
    """Whether an order changes nothing."""
    return bool((order == np.arange(len(order))).all())


def reorder_inputs(layer: Layer, order: Array) -> bool:
    """Reorder the weights of `layer` for features in another order; returns whether its outputs follow it.

    The outputs of Linear keep their order. `layer` may be Linear, BatchNorm1d, LayerNorm of one axis, or an
    elementwise layer or Softmax, which need no change. Raises TypeError for any other layer.
    """
    if isinstance(layer, Linear):
        layer.weight.value = layer.weight.value[order]
        return False
    if not reorders(layer):
        raise TypeError(f"{layer!r} cannot take its features in another order")
    for held in (*layer.parameters(), *layer.buffers()):
        held.value = held.value[order]
    return True


def reorders(layer: Layer) -> bool:
    """Whether the outputs of `layer` are in the order of its inputs, once `reorder_inputs` changed it."""
    one_axis = isinstance(layer, LayerNorm) and len(layer.shape) == 1
    return one_axis or isinstance(layer, (*_ELEMENTWISE, BatchNorm1d))


def reorder_outputs(layers: Sequence[Layer], order: Array) -> bool:
    """Reorder the outputs of a chain of layers, by the weights of its last Linear and of what follows.

    Returns False, and changes nothing, if the chain has no such layers at its end.
    """
    changed: list[Layer] = []
    for layer in reversed(layers):
        changed.append(layer)
        if isinstance(layer, Linear):
            break
        if not reorders(layer):
            return False
    else:
        return False
    *following, linear = changed
    for layer in following:
        reorder_inputs(layer, order)
    for param in linear.parameters():
        param.value = param.value[..., order]
    return True


def leaves(layer: Layer) -> Iterator[Layer]:
    """Yield the layers inside of Sequentials and Residuals, in the order in which they run."""
    if isinstance(layer, Sequential):
        for inner in layer:
            yield from leaves(inner)
    elif isinstance(layer, Residual):
        yield from leaves(layer.branch)
        yield from leaves(layer.shortcut)
    else:
        yield layer


def takes_sequences(model: Layer) -> bool:
    """Whether samples of two axes are sequences, (N, C, L) in other libraries, for the first layer to care.

    Otherwise they stay as they are: images without channels, and sequences for layers that treat the last
    axis as features.
    """
    return _first_is_of_sequences(list(leaves(model)))


def returns_sequences(model: Layer) -> bool:
    """Whether outputs of two axes are sequences, (N, C, L) in other libraries."""
    return _first_is_of_sequences([*leaves(model)][::-1])


def _first_is_of_sequences(layers: list[Layer]) -> bool:
    known = (isinstance(layer, _SEQUENCE_LAYERS) for layer in layers if _decides(layer))
    return next(known, False)


def _decides(layer: Layer) -> bool:
    return isinstance(layer, (*_SEQUENCE_LAYERS, *_OTHER_SAMPLES))
