"""Checks at the door: what came, what was wanted, what to do.

Every array a user hands over passes through here once, before anything is changed. What leaves is
C-contiguous, of native byte order and of the one type that the kernels are about to use; the user's own
array is never written to.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastnn.kernels import ops

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
T = TypeVar("T")

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def float_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` as float32 or float64 of native byte order; ValueError for any other."""
    wanted = np.dtype(dtype)
    if wanted not in FLOATS:
        raise ValueError(f"fastnn computes in float32 or float64, not in {wanted}")
    return wanted


def contiguous(array: Array, dtype: npt.DTypeLike) -> Array:
    """`array` itself if a kernel can read it as `dtype`, else a copy: contiguous, aligned, native."""
    return np.require(array, dtype, ["C", "A", "E"])


def features(x: npt.ArrayLike, dtype: np.dtype[Any], *, name: str = "x") -> Array:
    """`x` as a contiguous array of at least two dimensions, of `dtype` or uint8.

    uint8 stays as it is: it is scaled while it is gathered. All other numbers become `dtype`.
    Raises TypeError for what is not a real number, ValueError for an empty batch or a missing dimension.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}")
    if array.ndim < 2:
        raise ValueError(
            f"{name} must have the shape (samples, features...), but it has {array.shape}: "
            f"for a single sample pass {name}[None]"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name} is an empty batch of shape {array.shape}: pass at least one sample")
    return contiguous(array, np.uint8 if array.dtype == np.uint8 else dtype)


def labels(target: Array, classes: int) -> Array:
    """Integer labels (N,) as contiguous int64, each in [0, classes). Raises ValueError otherwise."""
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        hint = ": are the labels counted from 1?" if (low, high) == (1, classes) else ""
        raise ValueError(
            f"labels must lie in 0..{classes - 1} because the model has {classes} outputs, "
            f"but there is a label {wrong}{hint}"
        )
    return contiguous(target, np.int64)


def same_length(x: Array, target: Array) -> None:
    """Raise ValueError unless there is one target for each sample."""
    if target.ndim == 0 or len(target) != len(x):
        count = len(target) if target.ndim else "a single"
        raise ValueError(f"x has {len(x)} samples, but y has {count}: one target is wanted for each sample")


def count_nonfinite(x: Array) -> int:
    """The number of nan and infinite elements of `x`."""
    if x.dtype == np.uint8:
        return 0
    count = np.empty(1, np.int64)
    ops.count_nonfinite(x, count)
    return int(count[0])


def positive_int(value: Any, name: str) -> int:
    """`value` as an int of at least 1; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
    return int(value)


def in_range(value: Any, name: str, low: float, high: float = float("inf")) -> float:
    """`value` as a finite float in [low, high]; ValueError otherwise, also for texts and True."""
    try:
        number = math.nan if isinstance(value, (str, bytes, bool, np.bool)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (low <= number <= high and np.isfinite(number)):
        wanted = f"at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be a finite number, {wanted}, not {value!r}")
    return number


def warn(message: str) -> None:
    """A UserWarning that names the user's line: the first frame outside the package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "fastnn":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def choose(name: str, table: Mapping[str, T], kind: str) -> T:
    """`table[name]`; for an unknown name a ValueError that lists the valid ones."""
    try:
        return table[name]
    except (KeyError, TypeError):
        raise ValueError(f"unknown {kind} {name!r}: choose one of {', '.join(sorted(table))}") from None
