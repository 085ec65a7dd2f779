"""A data set at the door: checked against model and loss once, then cut into mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, count_nonfinite, features, in_range, same_length
from fastnn.augment import Together
from fastnn.kernels import empty, ops
from fastnn.layers import Layer
from fastnn.layers.base import take
from fastnn.losses import Loss

Data = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True)
class Samples:
    """Features and targets that have passed the door, and how they become a mini-batch."""

    x: Array
    target: Array
    scale: float | None
    dtype: np.dtype[Any]  # that of the model

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Array) -> tuple[Array, Array]:
        """The mini-batch of the samples `index`: features of the model's type, targets."""
        return take(self.x, index, self.scale, self.dtype), _take_targets(self.target, index)

    def augmented(self, index: Array, augment: Together, state: Array) -> tuple[Array, Array]:
        """The same with changed images; `state` = (key, count of batches) is advanced."""
        return augment.gather(self.x, index, state, self.scale, self.dtype), _take_targets(self.target, index)

    def all(self) -> tuple[Array, Array]:
        """All samples as one mini-batch: the arrays themselves where they need not be converted."""
        as_it_is = self.x.dtype == self.dtype and self.scale in (None, 1)
        return self.x if as_it_is else self.batch(np.arange(len(self)))[0], self.target

    def nonfinite(self) -> str | None:
        """What is wrong if there is a nan or an infinity among the numbers, else None."""
        bad = sum(count_nonfinite(array) for array in (self.x, self.target) if array.dtype.kind == "f")
        if bad == 0:
            return None
        numbers = "1 number of the data is" if bad == 1 else f"{bad} numbers of the data are"
        return f'{numbers} nan or infinite: repair or leave out those samples, or pass on_nonfinite="ignore"'


def check_model(model: Layer) -> None:
    """Raise TypeError for what is not a model."""
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer such as fn.Sequential(...), not {model!r}")


def check_data(model: Layer, loss: Loss, data: Data, scale: float | None) -> Samples:
    """The data set (x, y), checked against the model and the loss, and never written to.

    Raises TypeError or ValueError for what does not fit.
    """
    check_model(model)
    try:
        x, y = data
    except (TypeError, ValueError):
        raise TypeError("data must be a pair of arrays (x, y)") from None
    dtype = model.dtype
    rows = features(x, dtype)
    same_length(rows, np.asarray(y))
    outputs = model.output_shape(rows.shape[1:])
    target = loss.targets(y, outputs, dtype)
    return Samples(rows, target, None if scale is None else in_range(scale, "scale", 0), dtype)


def _take_targets(target: Array, index: Array) -> Array:
    """The targets of a mini-batch: labels (N,) int64, or rows (N, ...) of floats."""
    if target.ndim > 1:
        return take(target, index, 1.0, target.dtype)
    batch: Array = empty(index.shape, np.int64)
    ops.gather_labels(target, index, batch)
    return batch
