"""The order of flattened images: channels first in PyTorch and ONNX, channels last in fastnn.

A layer after Flatten sees the same features in another order. Its weights are reordered once, so that nothing
is transposed when the model runs. An order is an index array: feature i of the new order is feature
`order[i]` of the old one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.layers import Activation, BatchNorm1d, Dropout, Elementwise, Identity, Layer, LayerNorm, Linear

_ELEMENTWISE = (Activation, Dropout, Elementwise, Identity)


def to_channels_last(shape: Shape) -> Array:
    """Return the order of a flattened image (H, W, C) among the elements of a flattened (C, H, W).

    `shape` is (C, H, W), or the shape of another sample, whose elements keep their order.
    """
    places = np.arange(math.prod(shape)).reshape(shape)
    return (places.transpose(1, 2, 0) if len(shape) == 3 else places).ravel()


def to_channels_first(shape: Shape) -> Array:
    """Return the order of a flattened image (C, H, W) among the elements of a flattened (H, W, C).

    `shape` is (H, W, C), or the shape of another sample, whose elements keep their order.
    """
    places = np.arange(math.prod(shape)).reshape(shape)
    return (places.transpose(2, 0, 1) if len(shape) == 3 else places).ravel()


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
