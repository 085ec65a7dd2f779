"""A data set, checked once against model and loss, then cut into mini-batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, count_nonfinite, features, in_range, same_length, warn
from fastnn.augment import Together
from fastnn.gather import gather_rows, gather_targets
from fastnn.layers import Layer, Sigmoid, Softmax
from fastnn.layers.base import last_layer
from fastnn.losses import Loss

Data = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True)
class Samples:
    """Checked features and targets, and how they become a mini-batch."""

    x: Array
    target: Array
    scale: float | None
    dtype: np.dtype[Any]  # of the model

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Array) -> tuple[Array, Array]:
        """The mini-batch of the samples `index`: features in the model's dtype, targets."""
        return gather_rows(self.x, index, self.scale, self.dtype), gather_targets(self.target, index)

    def subset(self, index: Array) -> Samples:
        """The samples `index`, copied."""
        return replace(self, x=self.x[index], target=self.target[index])

    def augmented(self, index: Array, augment: Together, state: Array) -> tuple[Array, Array]:
        """The same mini-batch with augmented images; `state` = (key, number of batches) is advanced."""
        return augment.gather(self.x, index, state, self.scale, self.dtype), gather_targets(
            self.target, index
        )

    def all(self) -> tuple[Array, Array]:
        """All samples as one mini-batch; the arrays themselves if they need no conversion."""
        as_it_is = self.x.dtype == self.dtype and self.scale in (None, 1)
        return self.x if as_it_is else self.batch(np.arange(len(self)))[0], self.target

    def nonfinite_message(self) -> str | None:
        """An error message if the data contain NaN or inf, else None."""
        bad = sum(count_nonfinite(array) for array in (self.x, self.target) if array.dtype.kind == "f")
        if bad == 0:
            return None
        values = "1 value of the data is" if bad == 1 else f"{bad} values of the data are"
        return f'{values} NaN or inf: repair or drop those samples, or pass on_nonfinite="ignore"'


def check_model(model: Layer) -> Layer:
    """Return `model`. Raises TypeError unless it is a layer."""
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer such as fn.Sequential(...), not {model!r}")
    return model


def warn_if_not_logits(model: Layer, loss: Loss) -> None:
    """Warn if the model ends with the activation that the loss applies itself."""
    last = last_layer(model)
    if loss.expects_logits and isinstance(last, (Softmax, Sigmoid)):
        own = "sigmoid" if loss.binary else "softmax"
        warn(
            f"the model ends with {last!r}, but {loss!r} expects logits and applies {own} itself: training "
            "will be slower and less accurate; remove that layer"
        )


def check_data(model: Layer, loss: Loss, data: Data, scale: float | None) -> Samples:
    """Check the data set (x, y) against the model and the loss. The arrays are never written to.

    Raises TypeError or ValueError for data that do not fit.
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
