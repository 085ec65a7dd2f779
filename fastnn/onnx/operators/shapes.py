"""Converters of operators that only change the shape, most of which need no layer."""

from __future__ import annotations

import math
from dataclasses import replace

from fastnn._validation import Shape
from fastnn.channel_order import reorder_outputs, to_channels_last
from fastnn.layers import Flatten, GlobalAvgPool1d, GlobalAvgPool2d, Layer, Reshape
from fastnn.onnx.batch import Batch, flattened, images, plain
from fastnn.onnx.folding import axes_of
from fastnn.onnx.site import Site

Result = tuple[list[Layer], Batch]

FLOATS = (1, 10, 11, 16)  # TensorProto.DataType: float32, float16, float64, bfloat16
INDICES = (6, 7)  # int32, int64


def identity(site: Site) -> Result:
    return [], site.x


def cast(site: Site) -> Result:
    site.node.attribute("saturate", 1)
    to = site.node.attribute("to", 0)
    if to in INDICES and site.x.pending in ("", "an embedding"):
        return [], replace(site.x, are_indices=True)
    if to not in FLOATS or site.x.are_indices:
        raise site.node.refused(
            f"floats can be cast to floats, and to integers for an embedding, but not to data type {to} here"
        )
    return [], site.x


def transpose(site: Site) -> Result:
    """Note the new order of the axes: fastnn's array stays as it is."""
    axes = len(site.x.order)
    perm = site.node.attribute("perm", list(range(axes))[::-1])
    if sorted(perm) != list(range(axes)) or perm[0] != 0:
        raise site.node.refused(f"perm must have the axes 0 to {axes - 1}, the batch first, not {perm}")
    return [], site.x.transposed(perm)


def flatten(site: Site) -> Result:
    axis = site.node.attribute("axis", 1)
    if axis not in (1, 1 - len(site.x.order)):
        raise site.node.refused(f"axis must be 1, behind the batch, not {axis}")
    return _to_features(site)


def reshape(site: Site) -> Result:
    return _to(site, new_shape(site))


def new_shape(site: Site) -> Shape:
    """The shape of a sample in the file that a Reshape gives. Raises ModelFormatError if it is invalid."""
    sizes = site.needed(1)
    if sizes.ndim != 1 or not 1 <= sizes.size <= 8 or sizes.dtype.kind not in "iu":
        raise site.node.refused("the new shape must be a list of 1 to 8 integers")
    batch, *sides = (int(side) for side in sizes)
    if site.node.attribute("allowzero", 0) and 0 in sides:
        raise site.node.refused("samples without elements are not supported, as allowzero=1 gives")
    old = site.values.file_shape(site.source)
    if any(side == 0 and axis >= len(old) for axis, side in enumerate(sides, 1)):
        raise site.node.refused(f"the shape {[batch, *sides]} copies an axis that the input does not have")
    sides = [old[axis] if side == 0 else side for axis, side in enumerate(sides, 1)]
    size = math.prod(old[1:])
    known = math.prod(side for side in sides if side != -1)
    if min(sides, default=1) < -1 or 0 in sides or sides.count(-1) > 1 or size % known:
        raise site.node.refused(f"samples of shape {old[1:]} do not fit the shape {[batch, *sides]}")
    sides = [size // known if side == -1 else side for side in sides]
    # The batch axis must stay: -1 with all other sizes given, the copied one, or the fixed size of the file.
    if math.prod(sides) != size or batch < -1:
        raise site.node.refused(f"the shape {[batch, *sides]} does not keep the batch axis of {old}")
    return tuple(sides)


def squeeze(site: Site) -> Result:
    old = site.values.file_shape(site.source)
    axes = axes_of(site.node, site.constant(1))
    if axes is None:
        raise site.node.refused("axes are missing: the batch axis might have one element, too")
    axes = [axis + len(old) if axis < 0 else axis for axis in axes]
    if any(not 1 <= axis < len(old) or old[axis] != 1 for axis in axes):
        raise site.node.refused(f"axes {axes} of a batch of shape {old} cannot be removed")
    return _to(site, tuple(side for axis, side in enumerate(old) if axis not in {0, *axes}))


def unsqueeze(site: Site) -> Result:
    old = site.values.file_shape(site.source)
    axes = axes_of(site.node, site.constant(1)) or []
    count = len(old) + len(axes)
    axes = [axis + count if axis < 0 else axis for axis in axes]
    if len(set(axes)) != len(axes) or any(not 1 <= axis < count for axis in axes) or count > 8:
        raise site.node.refused(f"axes {axes} cannot be added to a batch of shape {old}")
    kept = iter(old[1:])
    return _to(site, tuple(1 if axis in axes else next(kept) for axis in range(1, count)))


def _to(site: Site, shape: Shape) -> Result:
    """Reshape samples to `shape`, as the file has them."""
    x = site.x
    if shape == x.file_shape:
        return [], x
    if len(shape) == 1:
        return _to_features(site)
    if [side for side in shape if side != 1] == [
        side for side in x.file_shape if side != 1
    ] and not x.is_plain:
        return _with_ones(site, shape)
    if x.is_channels_last and shape[0] == x.shape[-1]:  # only the sides change
        target = images((*shape[1:], shape[0]))
        return [Reshape(*target.shape)], target
    if not x.is_plain:
        raise site.layout_error()
    if x.channels > 1:  # the inverse of Flatten
        if shape[0] != x.channels:
            raise site.layout_error()
        target = images((*shape[1:], shape[0]))
    elif len(shape) in site.values.first_axes:
        if math.prod(shape[1:]) > 1 and not _move_channels_last(site, shape):
            raise site.layout_error()
        target = images((*shape[1:], shape[0]))
    else:
        target = plain(shape)
    return [Reshape(*target.shape)], replace(target, are_indices=x.are_indices)


def _with_ones(site: Site, shape: Shape) -> Result:
    """Reshape images that keep their axes, but for those of one element."""
    x = site.x
    sides = [side for side in x.shape if side != 1]
    is_first = len(shape) in site.values.first_axes
    if len(sides) > 1 and len(shape) != 3 and not is_first:
        raise site.layout_error()
    target = images((*shape[1:], shape[0])) if is_first else plain(shape)
    if [side for side in target.shape if side != 1] != sides:
        raise site.layout_error()
    return [Reshape(*target.shape)], target


def _to_features(site: Site) -> Result:
    target = flattened(site.x)
    if target is None:
        raise site.layout_error()
    if len(site.x.shape) == 1:
        return [], target
    # Only the last change of the shape counts, and GlobalAveragePool gives features already.
    while (step := site.last_step()) is not None and isinstance(step.layers[-1], (Flatten, Reshape)):
        step.layers.pop()
    is_pool = step is not None and isinstance(step.layers[-1], (GlobalAvgPool1d, GlobalAvgPool2d))
    return ([] if is_pool else [Flatten()]), target


def _move_channels_last(site: Site, shape: Shape) -> bool:
    """Reorder features that become samples (C, ...) of the file, by the layers before; whether it worked."""
    if shape[0] == 1:
        return True
    layers = [layer for step in site.backwards() for layer in reversed(step.layers)]
    return reorder_outputs(layers[::-1], to_channels_last(shape))
