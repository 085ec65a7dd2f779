"""Argument checks. Each error says what was passed, what is accepted and what to do.

Every array that a user passes is checked here once, before any state changes. The checked array is
C-contiguous, in native byte order and of the dtype that the kernels use. The user's own array is never
written to.
"""

from __future__ import annotations

import math
import operator
import reprlib
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from mmap import mmap
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastnn._arrays import REAL_KINDS, as_array
from fastnn._arrays import Array as Array
from fastnn._attributes import Check
from fastnn._sources import Rows, Source, feature_rows
from fastnn.kernels import aligned_empty, ops

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
    with np.errstate(over="ignore"):  # the check for finite values reports what is too large for float32
        return np.require(array, dtype, ["C", "A", "E"])


def writable(array: Array) -> Array:
    """Return `array` itself, or an aligned copy if it is read-only.

    Arrays of models are read-only in the worker processes of joblib, which maps large arrays from a file.
    """
    if array.flags.writeable:
        return array
    copy: Array = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def features(x: object, dtype: np.dtype[Any], *, name: str = "x", keep_mapped: bool = False) -> Rows:
    """Check the features `x` (N, ...) and return them as a contiguous array of `dtype` or uint8.

    uint8 stays uint8, because it is scaled when a mini-batch is gathered. Other dtypes are converted to
    `dtype`. With `keep_mapped`, a memory-mapped file or a `Source` of any dtype is returned as it is: it may
    not fit into memory. Raises TypeError if the values are not real numbers, and ValueError if the batch is
    empty or `x` has fewer than two dimensions.
    """
    array = feature_rows(x, name)
    if array.ndim < 2:
        raise ValueError(
            f"{name} must have shape (samples, features...), got {array.shape}: "
            f"for a single sample pass {name}[None]"
        )
    if array.shape[0] == 0:
        raise ValueError(f"{name} is an empty batch of shape {array.shape}: pass at least one sample")
    if isinstance(array, Source):
        if keep_mapped:
            return array
        array = array[:]
    if keep_mapped and is_mapped(array):
        return array
    return contiguous(array, np.uint8 if array.dtype == np.uint8 else dtype)


def is_mapped(array: Array) -> bool:
    """Whether the elements lie in a memory-mapped file."""
    base: Any = array
    while base is not None and not isinstance(base, (np.memmap, mmap)):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base is not None


def labels(target: Array, classes: int) -> Array:
    """Return integer labels (N,) as contiguous int64. Raises ValueError unless all are in [0, classes)."""
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        hint = ""
        if (low, high) == (1, classes):
            hint = f": are the labels counted from 1? Then set model.classes = range(1, {classes + 1})"
        raise ValueError(
            f"labels must lie in 0..{classes - 1} because the model has {classes} outputs, "
            f"but there is a label {wrong}{hint}"
        )
    return contiguous(target, np.int64)


def indices(x: Array, limit: int) -> None:
    """Raise ValueError unless all of `x` are whole numbers in [0, limit), such as the tokens of texts."""
    wrong = ~((x >= 0) & (x < limit))
    if x.dtype.kind == "f":
        wrong |= np.floor(x) != x
    if wrong.any():
        place = tuple(map(int, np.unravel_index(int(wrong.argmax()), x.shape)))
        where = ", ".join(map(str, place))
        raise ValueError(f"indices must be whole numbers in 0..{limit - 1}, but x[{where}] is {x[place]}")


def check_index_limit(limit: int | None, dtype: np.dtype[Any]) -> None:
    """Raise ValueError if floats of this dtype do not have all indices below `limit`."""
    most = 2 ** (np.finfo(dtype).nmant + 1)
    if limit is not None and limit > most:
        raise ValueError(f"num_embeddings must be at most {most} in {dtype}, got {limit}")


def same_length(x: Rows, target: Array) -> None:
    """Raise ValueError unless `x` and `target` have the same number of samples."""
    if target.ndim == 0 or len(target) != len(x):
        if target.ndim == 0:
            raise ValueError(f"y is a single target, but x has {len(x)} samples: pass x[None], y[None]")
        raise ValueError(
            f"x has {len(x)} samples, but y has {len(target)} targets: pass one target per sample"
        )


def sample_weights(
    weight: npt.ArrayLike, count: int, dtype: np.dtype[Any], *, may_all_be_0: bool = False
) -> Array:
    """Return the weights (N,) of `count` samples as a contiguous array of `dtype`.

    Raises TypeError unless they are real numbers, and ValueError unless there is one for each sample, all are
    finite and at least 0, and, without `may_all_be_0`, one is above 0.
    """
    array = as_array(weight, "sample_weight")
    if array.dtype.kind not in REAL_KINDS:
        raise TypeError(f"sample weights must be real numbers, but their dtype is {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"sample weights must have shape ({count},), one per sample, got {array.shape}")
    checked = contiguous(array, dtype)
    wrong = ~np.isfinite(checked) | (checked < 0)
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"sample weights must be finite and at least 0, but weight {first} is {array[first]}"
        )
    if not (may_all_be_0 or checked.any()):
        raise ValueError("all sample weights are 0: at least one must be above 0")
    return checked


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


def whole_number(value: Any, name: str) -> int:
    """Return `value` as an int. Raises TypeError unless it is an integer, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    return int(value)


def counter_value(value: Any, name: str) -> int:
    """Return `value` as an int. Raises ValueError unless it is an integer from 0 to 2^63 - 1, no bool."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise ValueError(f"{name} must be an integer from 0 to 2^63 - 1, got {reprlib.repr(value)}")
    return number


def not_nan(value: Any, name: str) -> float:
    """Return `value` as a float, which may be infinite. Raises ValueError for NaN, str, bool, ..."""
    number = as_float(value)
    if math.isnan(number):
        raise ValueError(f"{name} must be a number, got {reprlib.repr(value)}")
    return number


def in_range(value: Any, name: str, low: float, high: float = float("inf")) -> float:
    """Return `value` as a finite float in [low, high]. Raises ValueError otherwise, also for str and bool."""
    number = as_float(value)
    if not (low <= number <= high and math.isfinite(number)):
        accepted = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be a finite number, {accepted}, not {reprlib.repr(value)}")
    return number


def within(low: float, high: float = float("inf")) -> Check:
    """A check of attributes: a finite number in [low, high], as `in_range` says."""
    return partial(in_range, low=low, high=high)


def flag(value: object, name: str) -> bool:
    """Return `value` as a bool. Raises TypeError unless it is one."""
    if not isinstance(value, (bool, np.bool)):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def optional(check: Check) -> Check:
    """The same check, which also accepts None."""

    def checked(value: Any, name: str) -> Any:
        return None if value is None else check(value, name)

    return checked


def clipping_bound(value: Any, name: str) -> float:
    """`value` as a float; ValueError unless it is finite and above 0."""
    if (bound := in_range(value, name, 0)) == 0:
        raise ValueError(f"{name} must be above 0, or None to turn clipping off, not {value!r}")
    return bound


def above_0(value: Any, name: str) -> float:
    """A check of attributes: a finite number above 0."""
    if (number := in_range(value, name, 0)) == 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")
    return number


def one_of(*names: str, kind: str = "") -> Check:
    """A check of attributes: one of these texts. The error calls others "unknown <kind>"."""

    def checked(value: Any, name: str) -> str:
        choose(value, dict.fromkeys(names), kind or name)
        return str(value)

    return checked


def as_float(value: Any) -> float:
    """Return `value` as a float; NaN for str, bool and whatever is not a number, or too large for a float."""
    try:
        return math.nan if isinstance(value, (str, bytes, bool, np.bool)) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


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
