"""Remember how a model was fed, so that the same values mean the same to it whatever their dtype.

A model that has never been trained takes uint8 features times 1/255 and all others as they are. Its first
training fixes this for good: the `Feeding` is stored with the first parameter, so a layer that moves into
another model, a copy, a pickle and a weight file keep it. Later features follow it (`Feeding.factor`):

- trained on uint8 features: all integers get the same factor, and floats count as scaled already;
- trained on other integers, or on floats that look like them: everything is used as it was then;
- trained on floats from 0 to 1: uint8 features are scaled by 1/255, the usual way to make such floats.

The factor depends on dtypes only, never on the values of a batch. Values that contradict it cause a warning.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from fastnn._arrays import Array
from fastnn._schema import check_fields, number, optional, sizes
from fastnn._sources import Rows, rows_at_once
from fastnn._validation import Shape, in_range, warn
from fastnn.classes import Classes

BYTES_SCALE = 1 / 255
SAMPLE_ROWS = 256  # look at this many rows, evenly spaced, to find the range of the features
# Warn of features that exceed those of the training by this factor, or the reverse for floats after integers.
FAR_ABOVE = 10


class HasParameters(Protocol):
    def parameters(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Feeding:
    """The features of a model's first training: dtype and range of a sample, and the factor on them."""

    dtype: str
    scale: float
    low: float
    high: float
    whole: bool
    """Whether all values are whole numbers."""
    shape: Shape | None = None
    """The shape of a sample; None in older files."""

    def factor(self, dtype: np.dtype[Any]) -> float:
        """The factor on features of `dtype`."""
        kind = np.dtype(self.dtype).kind
        if self.dtype == "uint8":
            return self.scale if dtype.kind in "ui" else 1.0
        is_fraction = kind == "f" and not self.whole and self.low >= 0 and self.high <= 1
        if dtype == np.uint8 and is_fraction and self.scale == 1:
            return BYTES_SCALE
        return self.scale

    @property
    def is_image(self) -> bool:
        """Whether the range is that of pixels: from 0 to 1, or from 0 to 255."""
        return self.low >= 0 and (self.high <= 1 or 100 < self.high <= 255)

    def __str__(self) -> str:
        times = "" if self.scale == 1 else f", times {self.scale:.4g}"
        return f"{self.dtype} features from {self.low:.4g} to {self.high:.4g}{times}"


def default_factor(dtype: np.dtype[Any]) -> float:
    """The factor for a model that has never been trained: 1/255 for uint8 features, 1 for others."""
    return BYTES_SCALE if dtype == np.uint8 else 1.0


def usual_factor(model: HasParameters, dtype: np.dtype[Any]) -> float:
    """The factor on features of `dtype` that are passed to the model without `scale`."""
    fed = feeding_of(model)
    return default_factor(dtype) if fed is None else fed.factor(dtype)


def feeding_of(model: HasParameters) -> Feeding | None:
    """How the model was fed in its first training; None before it."""
    first = next(iter(model.parameters()), None)
    return None if first is None else first.feeding


def sample_shape(model: HasParameters) -> Shape | None:
    """The shape of one sample: what the model's first layer needs, else that of its first training."""
    needed: Shape | None = getattr(model, "input_shape", None)
    fed = feeding_of(model)
    return needed if needed is not None or fed is None else fed.shape


def set_feeding(model: HasParameters, feeding: Feeding | None) -> None:
    """Set what `feeding_of` returns; a model without parameters remembers nothing."""
    for first in model.parameters()[:1]:
        if first.feeding != feeding:
            first.feeding = feeding


def follow(fed: Feeding | None, rows: Rows, scale: float | None) -> tuple[float, Feeding]:
    """The factor on the features `rows`, and the feeding of a model that is trained on them.

    `fed` is the feeding of the model so far. Warns if the features, or `scale` (None: not given), contradict
    it. Raises ValueError for an invalid scale.
    """
    if scale is not None:
        scale = in_range(scale, "scale", 0)
        if fed is None or not _contradicts(fed, rows.dtype, scale):
            return scale, fed or _observe(rows, scale)
        warn(
            f"scale={scale:.4g} contradicts the training of this model, on {fed}: leave out scale, or train "
            "a new model"
        )
        return scale, _observe(rows, scale)
    if fed is None:
        factor = default_factor(rows.dtype)
        found = _observe(rows, factor)
        if rows.dtype == np.uint8 and found.high == 1:
            warn(
                "x is uint8, but never exceeds 1: it is multiplied by 1/255, like the pixels of images; for "
                "other features pass x.astype(np.float32) or scale=1"
            )
        return factor, found
    factor = fed.factor(rows.dtype)
    changes_kind = _kind(np.dtype(fed.dtype)) != _kind(rows.dtype)
    if changes_kind or (rows.dtype.kind == "f" and fed.is_image):
        now = _observe(rows, factor)
        if changes_kind or now.is_image:  # not other floats that happen to be large
            _warn_of_other_range(fed, now)
    return factor, fed


@contextmanager
def remembered(
    model: HasParameters, feeding: Feeding, classes: Classes | None, loss: object, updates: Array
) -> Iterator[None]:
    """Remember with the model how it is fed, its classes and its loss; not if the block makes no update.

    Updates are counted in `updates` (1,). `classes` is None for a loss without classes, such as a regression.
    """
    params = model.parameters()
    if not params:
        yield
        return
    count, first, last = int(updates[0]), params[0], params[-1]
    before = first.feeding, first.loss, last.classes

    def remember(feeding: Feeding | None, loss: object, classes: Classes | None) -> None:
        if first.feeding is not feeding or first.loss is not loss:
            first.feeding, first.loss = feeding, loss
        if last.classes is not classes:
            last.classes = classes

    remember(feeding, loss, classes or last.classes)
    try:
        yield
    finally:
        if updates[0] == count:
            remember(*before)


def feeding_from_dict(values: Any) -> Feeding:
    """The inverse of `asdict`. Raises ValueError, which names the field, for anything else."""
    check_fields(values, RECORD, FED)
    check_fields(values.get("shape"), optional(sizes), f"{FED}.shape")
    if unknown := values.keys() - {*RECORD, "shape"}:
        raise ValueError(f"{FED} has unknown fields: {reprlib.repr(sorted(unknown))}")
    shape = values.get("shape")
    return Feeding(**{**values, "shape": None if shape is None else tuple(shape)})


def _check_dtype(value: Any, field: str) -> None:
    if not isinstance(value, str) or value not in REAL_DTYPES:
        raise ValueError(f"{field} must be a NumPy dtype of real numbers, got {reprlib.repr(value)}")


def _check_scale(value: Any, field: str) -> None:
    in_range(value, field, 0)


def _check_flag(value: Any, field: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{field} must be true or false, got {reprlib.repr(value)}")


FED = "the record of how the model was fed"
# By name: `np.dtype` takes a whole language, in which a text such as "),," is a SyntaxError.
REAL_DTYPES = {np.dtype(code).name for code in "?" + np.typecodes["AllInteger"] + np.typecodes["Float"]}
RECORD = {"dtype": _check_dtype, "scale": _check_scale, "low": number, "high": number, "whole": _check_flag}


def feeding_to_dict(model: HasParameters) -> dict[str, Any] | None:
    """The feeding of the model for a file; None if it was never trained."""
    feeding = feeding_of(model)
    return None if feeding is None else asdict(feeding)


def _kind(dtype: np.dtype[Any]) -> str:
    """Bytes, other integers, floats or bools: within a kind another range is the user's business."""
    return "bytes" if dtype == np.uint8 else dtype.kind.replace("u", "i")


def _contradicts(fed: Feeding, dtype: np.dtype[Any], scale: float) -> bool:
    return not any(np.isclose(scale, known, rtol=1e-6, atol=0) for known in (fed.scale, fed.factor(dtype)))


def _observe(rows: Rows, scale: float) -> Feeding:
    sample = rows[:: -(-len(rows) // rows_at_once(rows, SAMPLE_ROWS))]
    shape = tuple(int(side) for side in rows.shape[1:])
    if sample.size == 0:
        return Feeding(rows.dtype.name, scale, 0.0, 0.0, whole=True, shape=shape)
    low, high = np.nan_to_num(
        [float(np.fmin.reduce(sample, axis=None)), float(np.fmax.reduce(sample, axis=None))]
    )
    whole = rows.dtype.kind != "f" or bool((np.floor(sample) == sample).all())
    return Feeding(rows.dtype.name, scale, float(low), float(high), whole, shape)


def _warn_of_other_range(fed: Feeding, now: Feeding) -> None:
    """Warn if the features `now`, once scaled, are far outside the range of the training."""
    trained = fed.scale * max(abs(fed.low), abs(fed.high))
    if fed.dtype == "uint8" and fed.high > 1:
        trained = fed.scale * 255  # a dark batch is no reason to expect dark images
    largest = now.scale * max(abs(now.low), abs(now.high))
    was_raw_image = fed.scale == 1 and fed.is_image and fed.high > 1
    is_scaled = not now.whole and now.low >= 0 and now.high <= 1
    was_integer = np.dtype(fed.dtype).kind in "iu" and fed.scale == 1
    too_small = is_scaled and (was_raw_image or (was_integer and largest * FAR_ABOVE < trained))
    too_small |= now.dtype == "uint8" and now.scale != 1 and now.high == 1
    limit = 2 if fed.dtype == "uint8" else FAR_ABOVE
    if too_small or largest > limit * trained > 0:
        warn(
            f"the model was trained on {fed}, but these are {now}: pass features as in the training, or pass "
            "the factor that makes them so as scale="
        )
