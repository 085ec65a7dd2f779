"""Converters of convolutions and pools."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fastnn.layers import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    Layer,
    MaxPool1d,
    MaxPool2d,
    Reshape,
)
from fastnn.onnx.batch import Batch, Pads, images, plain
from fastnn.onnx.folding import axes_of
from fastnn.onnx.site import Site

Result = tuple[list[Layer], Batch]

MOST_PIXELS = 2**20  # of a side: larger windows are damaged numbers


def conv(site: Site) -> Result:
    node, x, weight = site.node, site.with_sides(), site.needed(1)
    sides = len(x.shape) - 1
    if weight.ndim != sides + 2:
        raise node.refused(f"filters of shape {weight.shape} do not fit an input of {sides + 2} axes")
    size = _sizes(site, "kernel_shape", weight.shape[2:])
    if size != weight.shape[2:]:
        raise node.refused(f"kernel_shape {size} is not that of the weights, {weight.shape[2:]}")
    stride, dilation = _sizes(site, "strides", (1,) * sides), _sizes(site, "dilations", (1,) * sides)
    extent = [step * (taps - 1) + 1 for step, taps in zip(dilation, size, strict=True)]
    groups = node.attribute("group", 1)
    outputs, channels = weight.shape[0], weight.shape[1] * groups
    if channels != x.shape[-1] or min(weight.shape) < 1:
        raise node.refused(
            f"weights of shape {weight.shape} in {groups} groups take {channels} channels, but the input has "
            f"{x.shape[-1]}"
        )
    own = _pads(site, extent, stride)
    padding = tuple(
        (before + more[0], after + more[1])
        for (before, after), more in zip(own, x.pads or ((0, 0),) * sides, strict=True)
    )
    bias = site.constant(2)
    kind: Any = Conv1d if sides == 1 else Conv2d
    layer = kind(
        channels,
        outputs,
        _of_layer(size),
        stride=_of_layer(stride),
        padding=_of_layer(padding),
        dilation=_of_layer(dilation),
        groups=groups,
        bias=bias is not None,
        weight_init="zeros",
        bias_init="zeros",
        dtype=site.values.dtype,
    )
    site.set_values(layer.weight, weight.transpose(*range(2, sides + 2), 1, 0) * x.scale)
    if bias is not None:
        site.set_values(layer.bias, bias)
    return [layer], x.resized(layer.output_shape(x.shape))


def conv_transpose(site: Site) -> Result:
    node, x, weight = site.node, site.with_sides(least=2), site.needed(1)
    if weight.ndim != 4 or min(weight.shape) < 1 or weight.shape[0] != x.shape[2]:
        raise node.refused(f"filters of shape {weight.shape} do not fit images of {x.shape[2]} channels")
    size = _sizes(site, "kernel_shape", weight.shape[2:])
    if size != weight.shape[2:]:
        raise node.refused(f"kernel_shape {size} is not that of the weights, {weight.shape[2:]}")
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.refused("auto_pad is not supported: it must be NOTSET")
    more = node.attribute("output_padding", [0, 0])
    bias, groups = site.constant(2), node.attribute("group", 1)
    layer = ConvTranspose2d(
        x.shape[2],
        weight.shape[1] * groups,
        _of_layer(size),
        stride=_of_layer(_sizes(site, "strides", (1, 1))),
        padding=_of_layer(_pads(site, size, (1, 1))),
        output_padding=tuple(more),
        dilation=_of_layer(_sizes(site, "dilations", (1, 1))),
        groups=groups,
        bias=bias is not None,
        weight_init="zeros",
        bias_init="zeros",
        dtype=site.values.dtype,
    )
    site.set_values(layer.weight, weight.transpose(2, 3, 1, 0) * x.scale)
    if bias is not None:
        site.set_values(layer.bias, bias)
    return [layer], x.resized(layer.output_shape(x.shape))


def pad(site: Site) -> Result:
    """Leave zeros around images or sequences to the convolution behind."""
    node, x = site.node, site.with_sides()
    sides = len(x.shape) - 1
    if (mode := node.attribute("mode", "constant")) != "constant":
        raise node.refused(f"only mode 'constant' is supported, not {mode!r}")
    if site.values.opset < 11:
        pads, value = node.attribute("pads", []), node.attribute("value", 0.0)
        axes = None
    else:
        pads, value = site.needed(1).tolist(), site.scalar(2, 0.0)
        axes = site.constant(3)
    count = sides + 2
    which = list(range(count)) if axes is None else [int(axis) % count for axis in axes.reshape(-1)]
    if value != 0 or not isinstance(pads, list) or len(pads) != 2 * len(which):
        raise node.refused("only two counts of zeros for each axis are supported")
    added = {axis: (pads[index], pads[index + len(which)]) for index, axis in enumerate(which)}
    if any(added.get(axis, (0, 0)) != (0, 0) for axis in (0, 1)):
        raise node.refused("zeros can only be added before and behind the sides of images or sequences")
    total = []
    for axis, (before, after) in enumerate(x.pads or ((0, 0),) * sides, 2):
        more = added.get(axis, (0, 0))
        total.append((before + _count(site, more[0]), after + _count(site, more[1])))
    return [], replace(x, pads=tuple(total))


def max_pool(site: Site) -> Result:
    if site.node.attribute("storage_order", 0):
        raise site.node.refused("storage_order must be 0")
    return _pool(site, (MaxPool1d, MaxPool2d), counts_padding=True)


def average_pool(site: Site) -> Result:
    counted = bool(site.node.attribute("count_include_pad", 0))
    return _pool(site, (AvgPool1d, AvgPool2d), counts_padding=counted)


def _pool(site: Site, kinds: tuple[Any, Any], *, counts_padding: bool) -> Result:
    node, x = site.node, site.with_sides()
    ones = (1,) * (len(x.shape) - 1)
    kind, is_average = kinds[len(ones) - 1], kinds[0] is AvgPool1d
    if "kernel_shape" not in node.attributes:
        raise node.refused("kernel_shape is missing")
    window, stride = _sizes(site, "kernel_shape", ones), _sizes(site, "strides", ones)
    if _sizes(site, "dilations", ones) != ones:
        raise node.refused("dilations of pools must be 1")
    pads, rounded = _pads(site, window, stride), math.ceil if node.attribute("ceil_mode", 0) else math.floor
    options = {"count_include_pad": counts_padding} if is_average else {}
    is_equal = all(before == after for before, after in pads)
    equal = _of_layer(tuple(before for before, _ in pads))
    padding = "same" if not is_equal and pads == _same(site, window, stride) else equal
    layer = kind(_of_layer(window), _of_layer(stride), padding, **options)
    shape = layer.output_shape(x.shape)
    for side, got, extent, step, (before, after) in zip(x.shape, shape, window, stride, pads, strict=False):
        end = (got - 1) * step + extent - before  # of the last window, in pixels of the image
        if rounded((side + before + after - extent) / step) + 1 != got and not _drops(
            side, got, extent, step, before, after, rounded is math.ceil
        ):
            raise node.refused(
                f"padding {pads} and ceil_mode give another size than equal padding, {shape[:-1]}"
            )
        if is_average and counts_padding and end > side + after:
            raise node.refused("an average over more than the image and its padding is not supported")
    return [layer], x.resized(shape)


def _drops(side: int, got: int, extent: int, step: int, before: int, after: int, ceil: bool) -> bool:
    """Whether ceil_mode drops a last window that would start in the padding, as PyTorch does."""
    count = math.ceil((side + before + after - extent) / step) + 1
    return ceil and count - 1 == got and (count - 1) * step >= side + before


def global_average_pool(site: Site) -> Result:
    *sides, channels = site.with_sides().shape
    return _global_average(images((*(1 for _ in sides), channels)))


def global_max_pool(site: Site) -> Result:
    *sides, channels = site.with_sides().shape
    layer = MaxPool1d(sides[0]) if len(sides) == 1 else MaxPool2d((sides[0], sides[1]))
    return [layer], images((*(1 for _ in sides), channels))


def reduce_mean(site: Site) -> Result:
    """The mean over the pixels of images or the elements of sequences, of either layout."""
    node, x = site.node, site.x
    axes = axes_of(node, site.constant(1))
    keep = node.attribute("keepdims", 1)
    node.attribute("noop_with_empty_axes", 0)
    spatial = {axis % len(x.order) for axis in axes or []}
    if len(x.shape) not in (2, 3) or 0 in spatial or len(spatial) != len(x.shape) - 1:
        raise node.refused(f"only the mean over the pixels of images is supported, not over axes {axes}")
    if spatial != set(x.order[1:-1]):
        raise site.layout_error()
    *sides, channels = x.shape
    layers, kept = _global_average(replace(x, shape=(*(1 for _ in sides), channels)))
    return (layers, kept) if keep else (layers[:1], plain((channels,)))


def _global_average(kept: Batch) -> Result:
    """The mean over all sides, which `kept` keeps with one element."""
    layer: Layer = GlobalAvgPool1d() if len(kept.shape) == 2 else GlobalAvgPool2d()
    return [layer, Reshape(*kept.shape)], kept


def _of_layer(sizes: tuple[Any, ...]) -> Any:
    """Sizes, one for each side, as the layers of sequences and images take them."""
    return sizes[0] if len(sizes) == 1 else sizes


def _sizes(site: Site, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """The attribute `name`, a size for each side."""
    sizes = site.node.attribute(name, list(default))
    right = all(isinstance(size, int) and 1 <= size <= MOST_PIXELS for size in sizes)
    if len(sizes) != len(default) or not right:
        what = ("one size, for the length", "two sizes, for height and width")[len(default) - 1]
        raise site.node.refused(f"{name} must be {what}, not {sizes}")
    return tuple(sizes)


def _count(site: Site, value: Any) -> int:
    if not 0 <= value <= MOST_PIXELS:
        raise site.node.refused(f"the padding must be from 0 to {MOST_PIXELS}, not {value}")
    return int(value)


def _pads(site: Site, extent: Any, stride: tuple[int, ...]) -> Pads:
    """The padding (before, after) of each side, for windows of `extent` pixels."""
    node, sides = site.node, len(stride)
    mode, pads = node.attribute("auto_pad", "NOTSET"), node.attribute("pads", [0] * 2 * sides)
    if len(pads) != 2 * sides:
        raise node.refused(f"pads must be {2 * sides} counts, not {pads}")
    pads = [_count(site, value) for value in pads]
    if mode == "NOTSET":
        return tuple(zip(pads[:sides], pads[sides:], strict=True))
    if mode == "VALID":
        return ((0, 0),) * sides
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.refused(f"unknown auto_pad {mode!r}")
    upper = _same(site, extent, stride)
    return upper if mode == "SAME_UPPER" else tuple((after, before) for before, after in upper)


def _same(site: Site, extent: Any, stride: tuple[int, ...]) -> Pads:
    """The padding for a window at every `stride` pixels, with the odd pixel at the end."""
    totals = [
        max((math.ceil(side / step) - 1) * step + size - side, 0)
        for side, size, step in zip(site.x.shape, extent, stride, strict=False)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)
