"""Metrics of real targets: R2 and the mean absolute error."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, choose
from fastnn.metrics.decisions import weights_of


def r2(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str = "macro",
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return the coefficient of determination R2 = 1 - sum (t - y)^2 / sum (t - mean t)^2.

    For targets that are all the same it is 1 if all outputs are exact, else 0, as in scikit-learn.

    Args:
        outputs: Predictions (N,) or (N, outputs).
        targets: Real numbers of the same shape; (N,) and (N, 1) fit each other.
        average: "macro", the mean over the outputs, or "none", an array with one value per output.
        sample_weight: Weights (N,), at least 0, or None for ones.

    Raises:
        ValueError: If `average` is unknown, shapes do not fit, or there are fewer than 2 samples.
        TypeError: If the values are not real numbers.
    """
    choose(average, dict.fromkeys(("macro", "none")), "average")
    y, t, weight = _columns(outputs, targets, sample_weight)
    if len(y) < 2:
        raise ValueError(f"R2 needs at least 2 samples, got {len(y)}")
    mean = np.average(t, axis=0, weights=weight)
    errors = (weight[:, None] * (t - y) ** 2).sum(axis=0)
    deviations = (weight[:, None] * (t - mean) ** 2).sum(axis=0)
    scores = np.where(errors == 0, 1.0, 0.0)
    np.divide(deviations - errors, deviations, out=scores, where=(deviations != 0) & (errors != 0))
    return scores if average == "none" else float(scores.mean())


def mean_absolute_error(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Return the mean of |t - y| over all samples and outputs. Takes the same arguments as `r2`."""
    y, t, weight = _columns(outputs, targets, sample_weight)
    return float(np.average(np.abs(t - y).mean(axis=1), weights=weight))


def _columns(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> tuple[Array, Array, Array]:
    """Return outputs and targets as float64 (N, columns), and the weights (N,)."""
    y, t = (real_array(array, name) for array, name in ((outputs, "outputs"), (targets, "targets")))
    shapes = [array.shape[:1] if array.shape[1:] == (1,) else array.shape for array in (y, t)]
    if shapes[0] != shapes[1] or not 1 <= y.ndim <= 2 or not y.size:
        raise ValueError(
            "outputs and targets must have the same shape, (N,) or (N, outputs), with at least 1 sample, "
            f"got {y.shape} and {t.shape}"
        )
    count = len(y)
    y, t = (array.reshape(count, -1).astype(np.float64) for array in (y, t))
    return y, t, weights_of(sample_weight, count)
