"""Converters of convolutions and pools."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fastnn.layers import AvgPool2d, Conv2d, ConvTranspose2d, GlobalAvgPool2d, Layer, MaxPool2d, Reshape
from fastnn.onnx.batch import Batch, Pads, images
from fastnn.onnx.folding import axes_of
from fastnn.onnx.site import Site

Result = tuple[list[Layer], Batch]

MOST_PIXELS = 2**20  # of a side: larger windows are damaged numbers


def conv(site: Site) -> Result:
    node, x, weight = site.node, site.images(), site.needed(1)
    if weight.ndim != 4:
        raise node.refused(f"only filters (O, C, R, S) are supported, not of shape {weight.shape}")
    size = _pair(site, "kernel_shape", weight.shape[2:])
    if size != weight.shape[2:]:
        raise node.refused(f"kernel_shape {size} is not that of the weights, {weight.shape[2:]}")
    stride, dilation = _pair(site, "strides", (1, 1)), _pair(site, "dilations", (1, 1))
    extent = [step * (taps - 1) + 1 for step, taps in zip(dilation, size, strict=True)]
    groups = node.attribute("group", 1)
    outputs, channels = weight.shape[0], weight.shape[1] * groups
    if channels != x.shape[2] or min(weight.shape) < 1:
        raise node.refused(
            f"weights of shape {weight.shape} in {groups} groups take {channels} channels, but the input has "
            f"{x.shape[2]}"
        )
    own = _pads(site, extent, stride)
    (above, below), (left, right) = (
        (before + more[0], after + more[1]) for (before, after), more in zip(own, x.pads, strict=True)
    )
    bias = site.constant(2)
    layer = Conv2d(
        channels,
        outputs,
        size,
        stride=stride,
        padding=((above, below), (left, right)),
        dilation=dilation,
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


def conv_transpose(site: Site) -> Result:
    node, x, weight = site.node, site.images(), site.needed(1)
    if weight.ndim != 4 or min(weight.shape) < 1 or weight.shape[0] != x.shape[2]:
        raise node.refused(f"filters of shape {weight.shape} do not fit images of {x.shape[2]} channels")
    size = _pair(site, "kernel_shape", weight.shape[2:])
    if size != weight.shape[2:]:
        raise node.refused(f"kernel_shape {size} is not that of the weights, {weight.shape[2:]}")
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.refused("auto_pad is not supported: it must be NOTSET")
    more = node.attribute("output_padding", [0, 0])
    bias, groups = site.constant(2), node.attribute("group", 1)
    layer = ConvTranspose2d(
        x.shape[2],
        weight.shape[1] * groups,
        size,
        stride=_pair(site, "strides", (1, 1)),
        padding=_pads(site, size, (1, 1)),
        output_padding=tuple(more),
        dilation=_pair(site, "dilations", (1, 1)),
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
    """Leave zeros around images to the convolution behind."""
    node, x = site.node, site.images()
    if (mode := node.attribute("mode", "constant")) != "constant":
        raise node.refused(f"only mode 'constant' is supported, not {mode!r}")
    if site.values.opset < 11:
        pads, value = node.attribute("pads", []), node.attribute("value", 0.0)
        axes = None
    else:
        pads, value = site.needed(1).tolist(), site.scalar(2, 0.0)
        axes = site.constant(3)
    which = list(range(4)) if axes is None else [int(axis) % 4 for axis in axes.reshape(-1)]
    if value != 0 or not isinstance(pads, list) or len(pads) != 2 * len(which):
        raise node.refused("only two counts of zeros for each axis are supported")
    added = {axis: (pads[index], pads[index + len(which)]) for index, axis in enumerate(which)}
    if any(added.get(axis, (0, 0)) != (0, 0) for axis in (0, 1)):
        raise node.refused("zeros can only be added above, below, left and right")
    total = []
    for axis, (before, after) in zip((2, 3), x.pads, strict=True):
        more = added.get(axis, (0, 0))
        total.append((before + _count(site, more[0]), after + _count(site, more[1])))
    return [], replace(x, pads=(total[0], total[1]))


def max_pool(site: Site) -> Result:
    if site.node.attribute("storage_order", 0):
        raise site.node.refused("storage_order must be 0")
    return _pool(site, MaxPool2d, counts_padding=True)


def average_pool(site: Site) -> Result:
    return _pool(site, AvgPool2d, counts_padding=bool(site.node.attribute("count_include_pad", 0)))


def _pool(site: Site, kind: Any, *, counts_padding: bool) -> Result:
    node, x = site.node, site.images()
    if "kernel_shape" not in node.attributes:
        raise node.refused("kernel_shape is missing")
    window, stride = _pair(site, "kernel_shape", (1, 1)), _pair(site, "strides", (1, 1))
    if _pair(site, "dilations", (1, 1)) != (1, 1):
        raise node.refused("dilations of pools must be 1")
    pads, rounded = _pads(site, window, stride), math.ceil if node.attribute("ceil_mode", 0) else math.floor
    options = {"count_include_pad": counts_padding} if kind is AvgPool2d else {}
    is_equal = all(before == after for before, after in pads)
    padding = "same" if not is_equal and pads == _same(site, window, stride) else (pads[0][0], pads[1][0])
    layer = kind(window, stride, padding, **options)
    shape = layer.output_shape(x.shape)
    for side, got, extent, step, (before, after) in zip(x.shape, shape, window, stride, pads, strict=False):
        end = (got - 1) * step + extent - before  # of the last window, in pixels of the image
        if rounded((side + before + after - extent) / step) + 1 != got and not _drops(
            side, got, extent, step, before, after, rounded is math.ceil
        ):
            raise node.refused(
                f"padding {pads} and ceil_mode give another size than equal padding, {shape[:2]}"
            )
        is_average = kind is AvgPool2d
        if is_average and counts_padding and end > side + after:
            raise node.refused("an average over more than the image and its padding is not supported")
    return [layer], x.resized(shape)


def _drops(side: int, got: int, extent: int, step: int, before: int, after: int, ceil: bool) -> bool:
    """Whether ceil_mode drops a last window that would start in the padding, as PyTorch does."""
    count = math.ceil((side + before + after - extent) / step) + 1
    return ceil and count - 1 == got and (count - 1) * step >= side + before


def global_average_pool(site: Site) -> Result:
    channels = site.images().shape[2]
    return [GlobalAvgPool2d(), Reshape(1, 1, channels)], images((1, 1, channels))


def global_max_pool(site: Site) -> Result:
    rows, columns, channels = site.images().shape
    return [MaxPool2d((rows, columns))], images((1, 1, channels))


def reduce_mean(site: Site) -> Result:
    """The mean over the pixels of images, of either layout."""
    node, x = site.node, site.x
    axes = axes_of(node, site.constant(1))
    keep = node.attribute("keepdims", 1)
    node.attribute("noop_with_empty_axes", 0)
    spatial = {axis % len(x.order) for axis in axes or []}
    if len(x.shape) != 3 or spatial != set(x.order[1:3]):
        raise node.refused(f"only the mean over the pixels of images is supported, not over axes {axes}")
    channels = x.shape[2]
    if not keep:
        return [GlobalAvgPool2d()], Batch((channels,), (0, 1))
    return [GlobalAvgPool2d(), Reshape(1, 1, channels)], replace(x, shape=(1, 1, channels))


def _pair(site: Site, name: str, default: tuple[int, ...]) -> tuple[int, int]:
    """The attribute `name`, for height and width."""
    sizes = site.node.attribute(name, list(default))
    if len(sizes) != 2 or not all(isinstance(size, int) and 1 <= size <= MOST_PIXELS for size in sizes):
        raise site.node.refused(f"{name} must be two sizes, for height and width, not {sizes}")
    return sizes[0], sizes[1]


def _count(site: Site, value: Any) -> int:
    if not 0 <= value <= MOST_PIXELS:
        raise site.node.refused(f"the padding must be from 0 to {MOST_PIXELS}, not {value}")
    return int(value)


def _pads(site: Site, extent: Any, stride: tuple[int, int]) -> Pads:
    """The padding ((above, below), (left, right)) of windows, of `extent` pixels."""
    node = site.node
    mode, pads = node.attribute("auto_pad", "NOTSET"), node.attribute("pads", [0, 0, 0, 0])
    if len(pads) != 4:
        raise node.refused(f"pads must be four counts, not {pads}")
    pads = [_count(site, value) for value in pads]
    if mode == "NOTSET":
        return (pads[0], pads[2]), (pads[1], pads[3])
    if mode == "VALID":
        return (0, 0), (0, 0)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.refused(f"unknown auto_pad {mode!r}")
    (above, below), (left, right) = _same(site, extent, stride)
    return ((above, below), (left, right)) if mode == "SAME_UPPER" else ((below, above), (right, left))


def _same(site: Site, extent: Any, stride: tuple[int, int]) -> Pads:
    """The padding for a window at every `stride` pixels of the image, with the odd pixel at the end."""
    totals = [
        max((math.ceil(side / step) - 1) * step + size - side, 0)
        for side, size, step in zip(site.x.shape, extent, stride, strict=False)
    ]
    first, second = ((total // 2, total - total // 2) for total in totals)
    return first, second
