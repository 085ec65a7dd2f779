"""Converters of normalisations."""

from __future__ import annotations

import math

import numpy as np

from fastnn.layers import BatchNorm1d, BatchNorm2d, GroupNorm, Layer, LayerNorm
from fastnn.onnx.batch import Batch, reordered
from fastnn.onnx.site import Site

Result = tuple[list[Layer], Batch]


def batch_norm(site: Site) -> Result:
    node = site.node
    if site.values.opset < 7 and not node.attribute("is_test", 0):
        raise node.refused("is_test must be 1")
    if node.attribute("training_mode", 0):
        raise node.refused("training_mode must be 0")
    if not node.attribute("spatial", 1):
        raise node.refused("spatial must be 1")
    x = site.x if len(site.x.shape) == 1 else site.with_sides()
    kind = BatchNorm2d if len(x.shape) == 3 else BatchNorm1d
    layer = kind(
        x.shape[-1],
        node.attribute("epsilon", 1e-5),
        round(1 - node.attribute("momentum", 0.9), 7),  # ONNX has the weight of the old statistics
        dtype=site.values.dtype,
    )
    for index, held in enumerate((layer.gamma, layer.beta, layer.running_mean, layer.running_var), 1):
        array = site.needed(index)
        if array.shape != x.shape[-1:]:
            raise node.refused(f"input {index} must have shape {x.shape[-1:]}, not {array.shape}")
        site.set_values(held, reordered(array, x.channels))
    return [layer], x


def group_norm(site: Site) -> Result:
    if site.values.opset < 21:
        raise site.node.refused("GroupNormalization is supported from opset 21 on")
    if site.node.attribute("stash_type", 1) != 1:
        raise site.node.refused("stash_type must be 1")
    return _group_norm(site, site.node.attribute("num_groups", 0))


def instance_norm(site: Site) -> Result:
    return _group_norm(site, site.x.shape[-1])


def _group_norm(site: Site, groups: int) -> Result:
    x = site.x if len(site.x.shape) == 1 else site.with_sides()
    layer = GroupNorm(groups, x.shape[-1], site.node.attribute("epsilon", 1e-5), dtype=site.values.dtype)
    for index, param in ((1, layer.gamma), (2, layer.beta)):
        if site.needed(index).shape != x.shape[-1:] or x.channels > 1:
            raise site.node.refused(f"input {index} must have shape {x.shape[-1:]}, one value per channel")
        site.set_values(param, site.needed(index))
    return [layer], x


def layer_norm(site: Site) -> Result:
    node, x = site.node, site.x
    axes = len(x.order)
    axis = node.attribute("axis", -1)
    if node.attribute("stash_type", 1) != 1:
        raise node.refused("stash_type must be 1")
    axis += axes if axis < 0 else 0
    if not 1 <= axis < axes:
        raise node.refused(f"axis must be from 1 to {axes - 1}, not {node.attribute('axis', -1)}")
    if not x.is_plain and axis > 1:  # of the whole sample, the order does not matter
        raise site.layout_error()
    shape = x.shape[axis - 1 :]
    in_file = x.file_shape[axis - 1 :]
    layer = LayerNorm(shape, node.attribute("epsilon", 1e-5), dtype=site.values.dtype)
    for index, param in ((1, layer.gamma), (2, layer.beta)):
        array = site.constant(index)
        if array is None and index == 2:
            continue
        array = site.needed(index)
        if array.ndim > len(in_file) or math.prod(array.shape) > math.prod(in_file):
            raise node.refused(f"input {index} of shape {array.shape} does not fit {in_file}")
        array = np.broadcast_to(array, in_file)
        if not x.is_plain:
            array = array.transpose([position - 1 for position in x.order[1:]])
        site.set_values(param, reordered(array, x.channels))
    return [layer], x
