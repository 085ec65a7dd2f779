"""Compute nodes whose inputs are all constants: the table `FOLDERS`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.onnx.model_file import Node

MOST_ELEMENTS = 2**24  # of a computed constant: a file of a few bytes can ask for any size

Folder = Callable[..., Any]

# By the numbers of TensorProto.DataType; float16 becomes float32, as in weights.
CAST_TYPES: dict[int, Any] = {1: np.float32, 2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64}
CAST_TYPES |= {9: np.bool_, 10: np.float32, 11: np.float64}


def fold(node: Node, inputs: Sequence[Array | None]) -> Array:
    """The first output of a node in `FOLDERS`.

    Raises ModelFormatError if the inputs or attributes do not fit, or the output is too large.
    """
    try:
        with np.errstate(all="ignore"):
            folded: Array = np.asarray(FOLDERS[node.op](node, *inputs))
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError, AttributeError) as error:
        raise node.refused(f"cannot compute this constant: {error}") from error
    node.check_attributes()
    _check_size(node, folded.shape)
    if folded.dtype.kind not in "fiub":
        raise node.refused(f"the constant is {folded.dtype}, not real numbers")
    return folded


def _check_size(node: Node, shape: Sequence[int]) -> None:
    size = math.prod(int(side) for side in shape)
    if size > MOST_ELEMENTS or any(side < 0 for side in shape):
        raise node.refused(f"the constant would have {size:,} elements, more than {MOST_ELEMENTS:,}")


def _constant(node: Node) -> Any:
    names: dict[str, Any] = {"value": None, "value_float": np.float32, "value_floats": np.float32}
    names |= {"value_int": np.int64, "value_ints": np.int64}
    found = [(node.attribute(name, None), dtype) for name, dtype in names.items()]
    node.check_attributes()
    ((value, dtype),) = [(value, dtype) for value, dtype in found if value is not None]
    return np.asarray(value, dtype)


def _constant_of_shape(node: Node, shape: Array) -> Array:
    value = node.attribute("value", None)
    _check_size(node, shape.tolist())
    filler = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return np.full(shape.tolist(), filler.reshape(()), filler.dtype)


def _expand(node: Node, x: Array, shape: Array) -> Array:
    sides = np.broadcast_shapes(x.shape, tuple(shape.tolist()))
    _check_size(node, sides)
    return np.broadcast_to(x, sides)


def _tile(node: Node, x: Array, repeats: Array) -> Array:
    _check_size(node, [side * times for side, times in zip(x.shape, repeats.tolist(), strict=True)])
    return np.tile(x, repeats)


def _cast(node: Node, x: Array) -> Array:
    to = node.attribute("to", 0)
    node.attribute("saturate", 1)
    if to not in CAST_TYPES:
        raise node.refused(f"cannot cast a constant to data type {to}")
    return x.astype(CAST_TYPES[to])


def _reshape(node: Node, x: Array, shape: Array) -> Array:
    sides = shape.tolist()
    if not node.attribute("allowzero", 0):
        sides = [x.shape[axis] if side == 0 else side for axis, side in enumerate(sides)]
    return x.reshape(sides)


def axes_of(node: Node, axes: Array | None) -> list[int] | None:
    """The axes that a node names, in an attribute or in an input of newer versions; None for none."""
    given = node.attribute("axes", None) if axes is None else axes.tolist()
    if given is None:
        return None
    return [int(axis) for axis in np.atleast_1d(np.asarray(given, np.int64))]


def _squeeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    given = axes_of(node, axes)
    return np.squeeze(x, None if given is None else tuple(given))


def _unsqueeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    given = axes_of(node, axes) or []
    if len(given) > 8:
        raise node.refused("more than 8 new axes")
    return np.expand_dims(x, tuple(given))


def _slice(
    node: Node,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    first = node.attribute("starts", []) if starts is None else starts.tolist()
    last = node.attribute("ends", []) if ends is None else ends.tolist()
    which = axes_of(node, axes) or list(range(len(first)))
    strides = [1] * len(first) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(which, first, last, strides, strict=True):
        # A negative stride to the very beginning has an end that Python would take for one from the back.
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _gather(node: Node, x: Array, index: Array) -> Array:
    axis = node.attribute("axis", 0)
    _check_size(node, [x.size // max(x.shape[axis], 1), index.size])
    return np.take(x, index, axis)


def _concat(node: Node, *arrays: Array) -> Array:
    _check_size(node, [sum(array.size for array in arrays)])
    return np.concatenate(arrays, node.attribute("axis", 0))


def _transpose(node: Node, x: Array) -> Array:
    return x.transpose(node.attribute("perm", list(range(x.ndim))[::-1]))


def _same(node: Node, x: Array) -> Array:
    return x


def _arithmetic(function: Any) -> Folder:
    def compute(node: Node, a: Array, b: Array) -> Any:
        _check_size(node, np.broadcast_shapes(a.shape, b.shape))
        return function(a, b)

    return compute


def _divide(a: Array, b: Array) -> Any:
    """Division of integers rounds towards zero, as in C."""
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ZeroDivisionError("division by zero")
    return np.trunc(a / b).astype(a.dtype)


FOLDERS: dict[str, Folder] = {
    "Add": _arithmetic(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _arithmetic(_divide),
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _same,
    "Mul": _arithmetic(np.multiply),
    "Neg": lambda node, x: -x,
    "Reciprocal": lambda node, x: 1 / x,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": lambda node, x: np.sqrt(x),
    "Squeeze": _squeeze,
    "Sub": _arithmetic(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
