"""Gradients kept within bounds before the weights change (Pascanu, Mikolov & Bengio 2013)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastnn._validation import Array, in_range
from fastnn.kernels import empty, ops
from fastnn.param import Param


class Bound:
    """A bound at a place where recorded steps read it, or None: nothing is clipped."""

    def __init__(self, value: float | None, name: str) -> None:
        self.name = name
        self.memory = np.empty(1)
        self.set(value)

    def set(self, value: float | None) -> None:
        """Raises ValueError unless it is None or a number above 0."""
        if value is not None and in_range(value, self.name, 0) == 0:
            raise ValueError(f"{self.name} must be above 0, or None, not {value!r}")
        self.value = value
        if value is not None:
            self.memory[0] = value


def clip_norm(params: Iterable[Param], bound: Array) -> Array:
    """Multiply all gradients by min(1, bound / (norm + 1e-6)), norm that of all of them: clip_grad_norm_.

    bound (1,) float64. Returns the norm, (1,) float64, before.
    """
    gradients = _gradients(params)
    totals = empty((len(gradients),), np.float64)
    for place, gradient in enumerate(gradients):
        ops.sum_squares(gradient, totals[place : place + 1])
    norm: Array = empty((1,), np.float64)
    factor = empty((1,), np.float64)
    ops.clip_factor(totals, bound, norm, factor)
    for gradient in gradients:
        ops.multiply(factor, gradient)
    return norm


def clip_value(params: Iterable[Param], bound: Array) -> None:
    """Bring each number of all gradients into [-bound, bound]: clip_grad_value_.  bound (1,) float64."""
    for gradient in _gradients(params):
        ops.clamp(bound, gradient)


def _gradients(params: Iterable[Param]) -> list[Array]:
    return [param.grad_buffer() for param in params if param.has_grad and not param.frozen]
