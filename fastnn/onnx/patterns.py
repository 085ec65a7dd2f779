"""Sums, products and functions that are part of a layer: biases, factors, residual sums, SiLU and GELU."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fastnn._validation import Array
from fastnn.layers import GELU, Layer, SiLU
from fastnn.onnx.assembly import Step
from fastnn.onnx.errors import ModelFormatError
from fastnn.onnx.site import Site, Values

ARITHMETIC = ("Add", "Div", "Erf", "Less", "Mul", "Pow", "Sub", "Where")
_INPUTS = {"Erf": 1, "Where": 3}  # all others: 2
MOST_FACTORS = 4  # of a product that may be GELU: x, x, x and a constant


def arithmetic(site: Site) -> Step:
    """Convert a node of `ARITHMETIC`. Its step has an error if it must be part of a pattern to be used."""
    node = site.node
    if len(node.inputs) != _INPUTS.get(node.op, 2) or not all(node.inputs):
        raise node.refused(f"it has {len(node.inputs)} inputs")
    if node.op in ("Less", "Where") or any(site.values.steps[name].batch.are_indices for name in site.data):
        return _index(site)
    if found := _activation(site.values, node.outputs[0]) if node.op == "Mul" else None:
        name, layer = found
        batch, error = site.values.steps[name].batch, None
        if batch.scale != 1:
            error = node.refused("its input needs a factor, which only a layer with weights can apply")
        return Step(name, batch, [layer], error)
    if node.op == "Add" and len(site.data) == 2:
        return _sum(site)
    if len(site.data) == 1 and node.op in ("Add", "Div", "Mul", "Sub"):
        return _affine(site)
    reason = "it is supported with a constant, and as a part of SiLU or GELU"
    if node.op in ("Erf", "Pow"):
        reason = "it is supported as a part of GELU"
    return Step(site.source, site.x, error=node.refused(reason))


def _index(site: Site) -> Step:
    """Take Where(x < 0, x + V, x) for the indices x, as Keras writes it: here, indices are never negative."""
    node, values = site.node, site.values
    if node.op == "Where" and _wraps(values, *node.inputs):
        x = node.inputs[2]
        return Step(x, values.steps[x].batch)
    reason = "the input of the graph is integers, which only an embedding can take"
    if node.op in ("Less", "Where"):
        reason = "it is supported for the indices of an embedding, as Where(x < 0, x + count, x)"
    if node.op not in ("Add", "Less"):
        raise node.refused(reason)
    return Step(site.source, site.x.resized(site.x.shape), error=node.refused(reason))


def _wraps(values: Values, condition: str, wrapped: str, x: str) -> bool:
    """Whether the names are x < 0, x + count and x, for indices x."""
    less, added = values.producers.get(condition), values.producers.get(wrapped)
    if less is None or less.op != "Less" or added is None or added.op != "Add":
        return False
    are_indices = x in values.steps and values.steps[x].batch.are_indices
    return are_indices and less.inputs[0] == x and x in added.inputs and _scalar(values, less.inputs[1]) == 0


def _sum(site: Site) -> Step:
    a, b = (site.values.steps[name].batch for name in site.data)
    error = None
    if a.file_shape != b.file_shape:
        error = site.node.refused(f"cannot add samples of shapes {a.file_shape} and {b.file_shape}")
    elif a != b or a.pending:
        error = site.layout_error()
    return Step(site.source, a, error=error, other=site.data[1])


def _affine(site: Site) -> Step:
    """Apply a constant to the layer before, or leave a factor to the layer behind."""
    node = site.node
    is_first = node.inputs[0] == site.source
    array = site.needed(1 if is_first else 0).astype(np.float64)
    try:
        if node.op == "Div" and not is_first:
            raise node.refused("the divisor must be a constant")
        values = site.per_channel(array)
        scale, shift = _scale_and_shift(node.op, is_first, values)
    except ModelFormatError as error:
        return Step(site.source, site.x, error=error)
    if node.op in ("Add", "Sub") and is_first and not values.any():
        return Step(site.source, site.x)
    if not site.x.pending and site.with_affine(scale, shift):
        return Step(site.source, site.x)
    if node.op in ("Mul", "Div") and array.size == 1 and np.isfinite(scale).all():
        return Step(site.source, replace(site.x, scale=site.x.scale * float(scale[0])))
    reason = (
        "a constant must follow a Linear layer, a convolution or a group norm, whose output nothing else uses"
    )
    return Step(site.source, site.x, error=node.refused(reason))


def _scale_and_shift(op: str, is_first: bool, values: Array) -> tuple[Array, Array | None]:
    """What makes x scale + shift of "x op values", or of "values op x"."""
    one = np.ones(values.shape)
    match op:
        case "Mul":
            return values, None
        case "Div":
            with np.errstate(all="ignore"):
                return 1 / values, None
        case "Add":
            return one, values
    return (one, -values) if is_first else (-one, values)


def _activation(values: Values, name: str) -> tuple[str, Layer] | None:
    """The input and the layer if the product `name` is x sigmoid(x), or x (1 + erf(x / sqrt 2)) / 2."""
    scale, factors = _product(values, name)
    for x, other in (factors, factors[::-1]) if len(factors) == 2 else ():
        node = values.producers.get(other)
        if node is None or x not in values.steps:
            continue
        if node.op == "Sigmoid" and node.inputs == [x] and math.isclose(scale, 1):
            return x, SiLU()
        if math.isclose(scale, 0.5, rel_tol=1e-4) and (approximate := _gelu(values, other, x)):
            return x, GELU(approximate)
    return None


def _gelu(values: Values, name: str, x: str) -> str:
    """How the value `name` approximates 1 + erf(x / sqrt 2): "none" or "tanh"; "" if it is something else."""
    function = _summand(values, name, 1.0)
    node = values.producers.get(function)
    if node is None or len(node.inputs) != 1:
        return ""
    scale, factors = _product(values, node.inputs[0])
    if node.op == "Erf" and factors == [x] and math.isclose(scale, math.sqrt(0.5), rel_tol=1e-4):
        return "none"
    if (
        node.op != "Tanh"
        or len(factors) != 1
        or not math.isclose(scale, math.sqrt(2 / math.pi), rel_tol=1e-4)
    ):
        return ""
    inner = values.producers.get(factors[0])
    if inner is None or inner.op != "Add" or x not in inner.inputs or len(inner.inputs) != 2:
        return ""
    cubic = inner.inputs[1 - inner.inputs.index(x)]
    scale, factors = _product(values, cubic)
    return "tanh" if factors == [x] * 3 and math.isclose(scale, 0.044715, rel_tol=1e-4) else ""


def _summand(values: Values, name: str, constant: float) -> str:
    """What is added to the scalar `constant`; "" if `name` is no such sum."""
    node = values.producers.get(name)
    if node is None or node.op != "Add" or len(node.inputs) != 2:
        return ""
    for one, other in (node.inputs, node.inputs[::-1]):
        if _scalar(values, one) == constant:
            return other
    return ""


def _product(values: Values, name: str, depth: int = 0) -> tuple[float, list[str]]:
    """The value `name` as a product of a scalar and other values, of at most `MOST_FACTORS`."""
    node = values.producers.get(name)
    if node is None or node.op not in ("Mul", "Div", "Pow") or len(node.inputs) != 2 or depth > MOST_FACTORS:
        return 1.0, [name]
    (a, x), (b, y) = ((_scalar(values, each), each) for each in node.inputs)
    if node.op == "Pow" and b in (2, 3):
        return 1.0, [x] * int(b)
    if node.op == "Div" and b:
        scale, factors = _product(values, x, depth + 1)
        return scale / b, factors
    if node.op != "Mul":
        return 1.0, [name]
    left = (a, []) if a is not None else _product(values, x, depth + 1)
    right = (b, []) if b is not None else _product(values, y, depth + 1)
    factors = [*left[1], *right[1]]
    return (left[0] * right[0], factors) if len(factors) <= MOST_FACTORS else (1.0, [name])


def _scalar(values: Values, name: str) -> float | None:
    array = values.constants.get(name)
    return None if array is None or array.size != 1 else float(array.reshape(()))
