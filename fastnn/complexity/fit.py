"""Estimate the exponents of measured curves by least squares on the logarithms of their tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A tail is the upper half of the sizes, but at least this number of points.
FEWEST = 3


class Fit(NamedTuple):
    """Exponent or base of a curve, with its standard error and the number of points in the fit."""

    slope: float
    error: float
    points: int


def power(sizes: Sequence[float], values: Sequence[float]) -> Fit | None:
    """Estimate the exponent e of values ~ sizes^e in the tail; None for fewer than three points."""
    return _fit(np.log(_tail(sizes)), np.log(_tail(values)))


def exponential(sizes: Sequence[float], values: Sequence[float]) -> Fit | None:
    """Estimate the base b of values ~ b^sizes in the tail; None for fewer than three points."""
    found = _fit(np.asarray(_tail(sizes), np.float64), np.log(_tail(values)))
    if found is None:
        return None
    base = math.exp(found.slope)
    return Fit(base, base * found.error, found.points)


def _tail(numbers: Sequence[float]) -> Sequence[float]:
    return numbers[-max(FEWEST, (len(numbers) + 1) // 2) :]


def _fit(x: np.ndarray, y: np.ndarray) -> Fit | None:
    """Fit a straight line by least squares; the standard error of the slope follows from the residuals."""
    if len(x) < FEWEST:
        return None
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * y).sum()) / spread
    residuals = y - y.mean() - slope * centred
    error = math.sqrt(float((residuals**2).sum()) / (len(x) - 2) / spread)
    return Fit(slope, error, len(x))
