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
from fastnn.layers import Flatten, GlobalAvgPool1d, GlobalAvgPool2d, Reshape


def global_average(call: Call, input: Value) -> Value:
    """The mean over the sides, (C,), or (C, 1, 1) or (C, 1) if the call keeps the axes."""
    channels, sides = input.shape[-1 if input.is_channels_last else 0], len(input.shape) - 1
    mean = Value((channels,), input, GlobalAvgPool1d() if sides == 1 else GlobalAvgPool2d())
    if any(input.padding):
        raise call.refused("follows a zero padding, which is supported only before a convolution")
    if len(call.shape) == 1:
        return mean
    kept = Reshape(*(1 for _ in range(sides)), channels)
    return Value(call.shape, mean, kept, is_channels_last=input.is_channels_last)


def mean(call: Call, input: Value, dim: Any, keepdim: bool = False) -> Value:
    count = len(input.shape) + 1
    axes = {axis % count for axis in ((dim,) if isinstance(dim, int) else dim)}
    reason = f"is the mean over the axes {dim}; supported are those over images (C, H, W) and sequences"
    if count not in (3, 4) or 0 in axes or len(axes) != count - 2:
        raise call.refused(reason)
    if axes != set(range(1, count - 1) if input.is_channels_last else range(2, count)):
        raise call.layout_error(reason)
    return global_average(call, input)


def pad(
    call: Call, input: Value, pad: Iterable[int], mode: str = "constant", value: float | None = None
) -> Value:
    call.require(mode=(mode, ["constant"]), value=(value or 0, [0]))
    count = call.expect_sides(input, 1, 2)
    left, right, above, below, *others = (*pad, 0, 0)[: max(4, len(tuple(pad)))]
    if any(others) or min(left, right, above, below) < 0 or (count == 1 and (above or below)):
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
    stays = call.stays(target)
    now = input.order if input.order is not None else _places(input.shape, input.is_channels_last)
    then = _places(target, stays)
    if len(target) == 1:
        return Value(target, input, Flatten(), order=None if orders.is_same(now) else now)
    if not (now == then).all() and not (len(input.shape) == 1 and input.in_order(np.argsort(now)[then])):
        raise call.layout_error(
            f"reshapes samples {input.shape} to {target} in the order channels, height, width; supported are "
            "flattening, and images from the features of a Linear"
        )
    layer = Reshape(*(target if stays else (*target[1:], target[0])))
    return Value(target, input, layer, is_channels_last=stays)


def _places(shape: Shape, is_channels_last: bool) -> Array:
    return np.arange(int(np.prod(shape))) if is_channels_last else orders.to_channels_last(shape)


def permute(call: Call, input: Value, *dims: Any) -> Value:
    axes = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    count = len(input.shape) + 1
    accepted = [0, count - 1, *range(1, count - 1)] if input.is_channels_last else [0, *range(2, count), 1]
    if count in (3, 4) and [axis % count for axis in axes] == accepted:
        return call.same(input, is_channels_last=not input.is_channels_last)
    raise call.refused(
        f"is permute{tuple(axes)}; supported are (0, 2, 3, 1) and back, (0, 3, 1, 2), and (0, 2, 1)"
    )


def transpose(call: Call, input: Value, dim0: int, dim1: int) -> Value:
    axes = list(range(len(input.shape) + 1))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return permute(call, input, *axes)


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
