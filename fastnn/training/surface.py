"""The loss as a function of two weights, for contour plots."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, whole_number
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.param import Param
from fastnn.training.evaluation import evaluate_parts, loss_of
from fastnn.training.samples import Data, check_data

Weight = tuple[str, int | tuple[int, ...]]


def loss_surface(
    model: Layer,
    data: Data,
    weight_a: Weight,
    weight_b: Weight,
    grid: Sequence[npt.ArrayLike],
    *,
    loss: str | Loss | None = None,
    scale: float | None = None,
    progress: bool | None = None,
) -> Array:
    """Return the loss at each pair of values of two weights; all other weights stay as they are.

    >>> a, b = ("0.weight", (406, 4)), ("0.weight", (407, 4))  # two pixels in the middle, and the digit 4
    >>> axes = np.linspace(-1, 1, 21), np.linspace(-1, 1, 21)
    >>> surface = fn.loss_surface(model, (x, y), a, b, axes)
    >>> fn.viz.loss_surface(surface, axes, "surface.png")

    The model does not change: its copy is evaluated, as `fn.evaluate` does.

    Args:
        model: Any model.
        data: Samples (x, y) or (x, y, sample_weight), as in `fn.evaluate`.
        weight_a: The first weight: the name of its parameter and its index there, such as
            ("0.weight", (3, 1)) or ("0.bias", 2). `model.named_parameters()` lists the names.
        weight_b: The second weight.
        grid: The values (A,) of the first weight and the values (B,) of the second one.
        loss: Name or object of the loss. Default: as in `fn.evaluate`.
        scale: Factor for x, as in `fn.evaluate`.
        progress: Whether to show a progress bar. None: only if the error stream is a terminal.

    Returns:
        The losses, float64 (A, B).

    Raises:
        ValueError: If there is no such weight, both are the same, or the grid or the data do not fit.
        TypeError: If the model is no layer, or the values are not real numbers.
    """
    chosen = loss_of(model, loss)
    twin = copy.deepcopy(model)
    weights = [
        _weight(twin, weight, name) for weight, name in ((weight_a, "weight_a"), (weight_b, "weight_b"))
    ]
    (param_a, index_a), (param_b, index_b) = weights
    if param_a is param_b and index_a == index_b:
        raise ValueError(f"weight_a and weight_b must be two weights, but both are {weight_a!r}")
    values_a, values_b = _axes(grid, (param_a.dtype, param_b.dtype))
    samples = check_data(twin, chosen, data, scale, keep_mapped=True)
    from tqdm import tqdm

    surface = np.empty((len(values_a), len(values_b)))
    disable = None if progress is None else not progress
    places = tqdm(np.ndindex(surface.shape), "loss surface", surface.size, leave=False, disable=disable)
    for row, column in places:
        param_a.writable_master()[index_a] = values_a[row]
        param_b.writable_master()[index_b] = values_b[column]
        surface[row, column] = evaluate_parts(twin, chosen, [samples])["loss"]
    return surface


def _weight(model: Layer, weight: Weight, name: str) -> tuple[Param, tuple[int, ...]]:
    """Return the parameter and the index, each number at least 0. Raises ValueError if there is none."""
    params = dict(model.named_parameters())
    if not isinstance(weight, tuple) or len(weight) != 2 or not isinstance(weight[0], str):
        raise ValueError(
            f'{name} must be the name of a parameter and an index, such as ("0.weight", (3, 1)), '
            f"not {weight!r}"
        )
    if weight[0] not in params:
        raise ValueError(f"{name}: there is no parameter {weight[0]!r}: choose one of {', '.join(params)}")
    param = params[weight[0]]
    given: tuple[Any, ...] = weight[1] if isinstance(weight[1], tuple) else (weight[1],)
    index = tuple(whole_number(number, f"{name}, its index,") for number in given)
    inside = len(index) == len(param.shape) and all(
        -size <= number < size for number, size in zip(index, param.shape, strict=True)
    )
    if not inside:
        raise ValueError(f"{name}: {weight[0]!r} has shape {param.shape}, so there is no element {index}")
    return param, tuple(number % size for number, size in zip(index, param.shape, strict=True))


def _axes(grid: Sequence[npt.ArrayLike], dtypes: tuple[np.dtype[Any], np.dtype[Any]]) -> list[Array]:
    """Return the values of both weights in their dtypes. Raises ValueError unless they are finite (N,)."""
    if not isinstance(grid, (tuple, list, np.ndarray)) or len(grid) != 2:
        raise ValueError("grid must be a pair: the values (A,) of weight_a and the values (B,) of weight_b")
    axes = []
    for values, dtype, name in zip(grid, dtypes, ("weight_a", "weight_b"), strict=True):
        axis = real_array(values, f"the grid of {name}")
        with np.errstate(over="ignore"):  # the check for finite values reports what is too large for float32
            axis = axis.astype(dtype)
        if axis.ndim != 1 or not len(axis) or not np.isfinite(axis).all():
            raise ValueError(
                f"the grid of {name} must be at least one finite {dtype} value, of shape (N,), "
                f"got shape {axis.shape}"
            )
        axes.append(axis)
    return axes
