"""Argument checks. Each error says what was passed, what is accepted and what to do.

Every array that a user passes is checked here once, before any state changes. The checked array is
C-contiguous, in native byte order and of the dtype that the kernels use. The user's own array is never
written to.
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
    """Return `dtype` as a NumPy dtype. Raises ValueError unless it is native float32 or float64."""
    checked = np.dtype(dtype)
    if checked not in FLOATS:
        raise ValueError(f"fastnn computes in float32 or float64, not in {checked}")
    return checked


def contiguous(array: Array, dtype: npt.DTypeLike) -> Array:
    """Return `array` as C-contiguous, aligned and native `dtype`; copy it only if it is not so already."""
    return np.require(array, dtype, ["C", "A", "E"])


def features(x: npt.ArrayLike, dtype: np.dtype[Any], *, name: str = "x") -> Array:
    """Check the features `x` (N, ...) and return them as a contiguous array of `dtype` or uint8.

    uint8 stays uint8, because it is scaled when a mini-batch is gathered. Other dtypes are converted to
    `dtype`. Raises TypeError if the values are not real numbers, and ValueError if the batch is empty or
    `x` has fewer than two dimensions.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}")
    if array.ndim < 2:
        raise ValueError(
            f"{name} must have shape (samples, features...), got {array.shape}: "
            f"for a single sample pass {name}[None]"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name} is an empty batch of shape {array.shape}: pass at least one sample")
    return contiguous(array, np.uint8 if array.dtype == np.uint8 else dtype)


def labels(target: Array, classes: int) -> Array:
    """Return integer labels (N,) as contiguous int64. Raises ValueError unless all are in [0, classes)."""
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
    """Raise ValueError unless `x` and `target` have the same number of samples."""
    if target.ndim == 0 or len(target) != len(x):
        count = f"{len(target)} targets" if target.ndim else "a single target"
        raise ValueError(f"x has {len(x)} samples, but y has {count}: pass one target per sample")


def count_nonfinite(x: Array) -> int:
    """Count the NaN and infinite elements of `x`."""
    if x.dtype == np.uint8:
        return 0
    count = np.empty(1, np.int64)
    ops.count_nonfinite(x, count)
    return int(count[0])


def positive_int(value: Any, name: str) -> int:
    """Return `value` as an int. Raises ValueError unless it is an integer of at least 1 (and not a bool)."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
    return int(value)


def in_range(value: Any, name: str, low: float, high: float = float("inf")) -> float:
    """Return `value` as a finite float in [low, high]. Raises ValueError otherwise, also for str and bool."""
    try:
        number = math.nan if isinstance(value, (str, bytes, bool, np.bool)) else float(value)
    except (TypeError, ValueError, OverflowError):  # OverflowError: an integer of 400 digits
        number = math.nan
    if not (low <= number <= high and math.isfinite(number)):
        accepted = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be a finite number, {accepted}, not {value!r}")
    return number


def warn(message: str) -> None:
    """Issue a UserWarning that points to the user's code: the first frame outside the package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "fastnn":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def choose(name: str, table: Mapping[str, T], kind: str) -> T:
    """Return `table[name]`. Raises ValueError, listing the valid names, if `name` is unknown."""
    try:
        return table[name]
    except (KeyError, TypeError):
        raise ValueError(f"unknown {kind} {name!r:.80}: choose one of {', '.join(sorted(table))}") from None
