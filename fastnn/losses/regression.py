"""Regression losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape
from fastnn.kernels import REDUCTIONS, ops
from fastnn.losses.base import Loss, floats, with_the_shape


class SquaredError(Loss):
    """Squared error (y - t)^2 / 2 of each output; the mean is over all elements.

    Targets are real numbers of the shape of the outputs, or (N,) for a single output. PyTorch's `MSELoss` has
    no factor of 1/2.
    """

    recordable = True

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        return floats(with_the_shape(target, outputs, "squared_error"), dtype)

    def losses_shape(self, y: Array) -> Shape:
        return y.shape

    def divisors(self, target: Array) -> Array | float:
        return target.size / len(target)

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        ops.squared_error(y, target, REDUCTIONS[reduction], losses, loss, dy)
