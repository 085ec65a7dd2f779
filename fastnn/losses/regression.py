"""Regression losses: targets are real numbers of the shape of the outputs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, above_0, flag
from fastnn.losses.base import PointwiseLoss


class SquaredError(PointwiseLoss):
    """Squared error (y - t)^2 / 2 of each output; the mean is over all elements.

    Targets are real numbers of the shape of the outputs, or (N,) for a single output. PyTorch's `MSELoss` has
    no factor of 1/2.
    """

    recordable = True
    name = "squared_error"


class AbsoluteError(PointwiseLoss):
    """Absolute error |y - t| of each output; the mean is over all elements.

    The same as PyTorch's `L1Loss`; the gradient is 0 where y = t. Its minimum is the median of the targets,
    so it is less sensitive to outliers than `SquaredError`. Targets are as there.
    """

    recordable = True
    name = "absolute_error"


class Huber(PointwiseLoss):
    """Huber loss of each output: d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = y - t.

    The same as PyTorch's `HuberLoss`: `SquaredError` for small errors, `AbsoluteError` times delta for large
    ones (Huber 1964). The mean is over all elements. Targets are as in `SquaredError`.

    Args:
        delta: Error at which the loss becomes linear, above 0.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per element).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    name = "huber"
    delta: float
    _checks: ClassVar = {"delta": above_0}

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.delta = delta

    @property
    def kernel_parameters(self) -> tuple[float, ...]:
        return (self.delta,)

    def __repr__(self) -> str:
        return f"Huber(delta={self.delta:g})"


class Poisson(PointwiseLoss):
    """Poisson loss exp(y) - t y of each output y, the logarithm of the predicted mean of the counts t.

    The negative logarithm of the Poisson probability of t, without the terms that depend on t alone, which
    have no gradient: the same as PyTorch's `PoissonNLLLoss` with its defaults. It can be negative. The mean
    is over all elements. `np.exp(model.predict(x))` gives the predicted means.

    Targets are at least 0, of the shape of the outputs, or (N,) for a single output.

    Args:
        deviance: Whether to add t log t - t, so that the loss is half the Poisson deviance: 0 for exact
            predictions, and scikit-learn's `MLPRegressor(loss="poisson")`. The gradient is the same.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per element).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    limits_targets = True
    target_range = 0.0, math.inf
    name = "poisson"
    deviance: bool
    _checks: ClassVar = {"deviance": flag}

    def __init__(self, *, deviance: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.deviance = deviance

    @property
    def kernel_parameters(self) -> tuple[float, ...]:
        return (self.deviance,)

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        values = super().targets(target, outputs, dtype)
        low = float(values.min()) if values.size else 0.0
        if low < 0:  # NaN passes: the check for finite data reports it, as `on_nonfinite` says
            raise ValueError(
                f"poisson expects targets of at least 0, such as counts, got {low:g}: for other targets use "
                'loss="squared_error"'
            )
        return values
