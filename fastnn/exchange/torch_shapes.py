"""Calls of PyTorch that change the shape or the layout, means over pixels, and sums of two values."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn import channel_order as orders
from fastnn._validation import Array, Shape
from fastnn.exchange.chain import Value, added
from fastnn.exchange.torch_call import Call
from fastnn.layers import Flatten, GlobalAvgPool2d, Reshape


def global_average(call: Call, input: Value) -> Value:
    """The mean over the pixels, (C,), or (C, 1, 1) if the call keeps the axes."""
    channels = input.shape[2 if input.is_channels_last else 0]
    mean = Value((channels,), input, GlobalAvgPool2d())
    if any(input.padding):
        raise call.refused("follows a zero padding, which is supported only before a convolution")
    if len(call.shape) == 1:
        return mean
    return Value(call.shape, mean, Reshape(1, 1, channels), is_channels_last=input.is_channels_last)


def mean(call: Call, input: Value, dim: Any, keepdim: bool = False) -> Value:
    axes = {axis % 4 for axis in ((dim,) if isinstance(dim, int) else dim)}
    pixels = {1, 2} if input.is_channels_last else {2, 3}
    if len(input.shape) != 3 or axes != pixels:
        raise call.refused(
            f"is the mean over the axes {dim}; supported is the mean over the pixels of images"
        )
    return global_average(call, input)


def pad(
    call: Call, input: Value, pad: Iterable[int], mode: str = "constant", value: float | None = None
) -> Value:
    call.require(mode=(mode, ["constant"]), value=(value or 0, [0]))
    call.expect_images(input)
    left, right, above, below, *others = (*pad, 0, 0)[: max(4, len(tuple(pad)))]
    if any(others) or min(left, right, above, below) < 0:
        raise call.refused(f"has the padding {tuple(pad)}: supported are zeros around images, at least 0")
    before = input.padding
    sides = tuple(map(operator.add, before, (above, below, left, right)))
    return call.same(input, padding=sides)


def reshape(call: Call, input: Value, *shape: Any, **options: Any) -> Value:
    """Flatten, view, reshape, squeeze, unflatten...: the result's shape says everything."""
    if any(input.padding):
        raise call.refused("follows a zero padding, which is supported only before a convolution")
    target = call.shape
    if target == input.shape:
        return call.same(input)
    if input.before is not None and isinstance(input.layer, Reshape) and target == input.before.shape:
        return input.before  # the (C, 1, 1) of a global pool, flattened
    now = input.order if input.order is not None else _places(input.shape, input.is_channels_last)
    then = _places(target, is_channels_last=False)
    before, layer = input, Flatten() if len(target) == 1 else Reshape(*_ours(target))
    if len(target) == 1:
        return Value(target, before, layer, order=None if orders.is_same(now) else now)
    if not (now == then).all() and not (len(input.shape) == 1 and input.in_order(np.argsort(now)[then])):
        raise call.refused(
            f"reshapes samples {input.shape} to {target} in the order channels, height, width; supported are "
            "flattening, and images from the features of a Linear"
        )
    return Value(target, before, layer)


def _places(shape: Shape, is_channels_last: bool) -> Array:
    return np.arange(int(np.prod(shape))) if is_channels_last else orders.to_channels_last(shape)


def _ours(shape: Shape) -> Shape:
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else shape


def permute(call: Call, input: Value, *dims: Any) -> Value:
    axes = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    target = tuple(axis % 4 for axis in axes)
    for channels_last, accepted in ((False, (0, 2, 3, 1)), (True, (0, 3, 1, 2))):
        if len(input.shape) == 3 and input.is_channels_last is channels_last and target == accepted:
            return call.same(input, is_channels_last=not channels_last)
    raise call.refused(f"is permute{tuple(axes)}; supported are (0, 2, 3, 1) and back, (0, 3, 1, 2)")


def _are_alike(first: Array | None, second: Array | None) -> bool:
    """Whether two orders of features are the same."""
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def add(call: Call, input: Any, other: Any, alpha: float = 1) -> Value:
    call.require(alpha=(alpha, [1]))
    if not isinstance(input, Value) or not isinstance(other, Value) or input.shape != other.shape:
        shapes = [getattr(term, "shape", term) for term in (input, other)]
        raise call.refused(
            f"adds {shapes[0]} and {shapes[1]}; supported are sums of two values of one shape, which both "
            "depend on the input"
        )
    if any(input.padding) or any(other.padding) or input.is_channels_last is not other.is_channels_last:
        raise call.refused("adds images of different layouts or paddings, which is not supported")
    if not _are_alike(input.order, other.order):
        raise call.refused("adds a flattened image and features in another order, which is not supported")
    return added(input, other)
