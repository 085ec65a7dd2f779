"""Find NaN and inf in the data and in the loss, and say where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastnn._arrays import Array, position
from fastnn._sources import Rows, Source, feature_rows, rows_at_once
from fastnn._validation import contiguous, count_nonfinite
from fastnn.gather import kernels_can_read
from fastnn.training.samples import Samples

BLOCK = 1024  # convert this many rows of a memory-mapped file at once


class NonFiniteError(FloatingPointError):
    """The data or the loss contain NaN or inf; no weight has changed."""


def loss_message(what: str, number: float, update: int, cause: str | None = None) -> str:
    """The message that the loss or the norm of the gradients is not finite."""
    cause = cause or "lower the learning rate or check the data"
    return f"the {what} is {number:g} at update {update}: {cause}; this step changed nothing"


def check_finite(data: Iterable[Samples | None], on_nonfinite: str) -> None:
    """Raise `NonFiniteError` if one of the data sets contains NaN or inf, unless that is to be ignored.

    Finite values that are too large for the dtype of the model count as inf.
    """
    if on_nonfinite == "ignore":
        return
    for samples in data:
        if samples is None:
            continue
        arrays = zip("xy", (samples.x, samples.target), samples.given, strict=True)
        found = [_describe_nonfinite(name, array, given, samples.dtype) for name, array, given in arrays]
        if problems := "; ".join(problem for problem in found if problem):
            raise NonFiniteError(
                f'{samples.where}{problems}; repair or drop such samples, or pass on_nonfinite="ignore"'
            )


def _describe_nonfinite(name: str, array: Rows, given: object, dtype: np.dtype[Any]) -> str | None:
    """Count the values of `array` that are not finite as `dtype`, and name the first; None if there are none.

    `array` is what was made of `given`, where the user will look for the value.
    """
    if array.dtype.kind != "f":
        return None
    blocks: Iterable[Array]
    if isinstance(array, Source):
        blocks = (contiguous(values, dtype) for values in array.values())
    else:
        is_converted = array.dtype == dtype and kernels_can_read(array)
        blocks = [array] if is_converted else _blocks(array, dtype)
    count = sum(count_nonfinite(block) for block in blocks)
    if count == 0:
        return None
    what, first = ("1 value", "") if count == 1 else (f"{count} values", "first ")
    source = feature_rows(given, name)
    index = _first_nonfinite(source, dtype)
    if index is None:
        return f"{what} of {name} {'is' if count == 1 else 'are'} NaN or inf"
    value, place = source[index[0]][index[1:]], position(index, given)
    if np.isfinite(value):
        return (
            f"{what} of {name} cannot be stored as {dtype} (at most {np.finfo(dtype).max:.4g}), "
            f"{first}{value:.6g} in {place}: rescale {name} or use model.to(np.float64)"
        )
    return f"{what} of {name} {'is' if count == 1 else 'are'} NaN or inf, {first}{value} in {place}"


def _first_nonfinite(source: Rows, dtype: np.dtype[Any]) -> tuple[int, ...] | None:
    if source.dtype.kind != "f":
        return None
    start = 0
    for block in _blocks(source, dtype):
        for row, *rest in np.argwhere(~np.isfinite(block)):
            return (start + int(row), *map(int, rest))
        start += len(block)
    return None


def _blocks(array: Rows, dtype: np.dtype[Any]) -> Iterator[Array]:
    """Yield the rows of the array, converted, in blocks."""
    step = rows_at_once(array, BLOCK)
    for start in range(0, len(array), step):
        yield contiguous(array[start : start + step], dtype)
