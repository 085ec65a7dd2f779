"""Gradient clipping (Pascanu, Mikolov & Bengio 2013).

A bound is an array (1,) float64, because recorded steps read it from memory: it may change between steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnn._validation import Array, in_range
from fastnn.kernels import empty, ops
from fastnn.param import Param


def clipping_bound(value: Any, name: str) -> float:
    """`value` as a float; ValueError unless it is finite and above 0."""
    bound = in_range(value, name, 0)
    if bound == 0:
        raise ValueError(f"{name} must be above 0, or None to turn clipping off, not {value!r}")
    return bound


def clip_norm(params: Iterable[Param], bound: Array) -> Array:
    """Multiply all gradients by min(1, bound / (norm + 1e-6)), as PyTorch's `clip_grad_norm_`.

    `norm` is the L2 norm of all gradients together; bound (1,) float64. Returns the norm before clipping,
    (1,) float64.
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
    """Clamp each gradient element to [-bound, bound], as PyTorch's `clip_grad_value_`; bound (1,) float64."""
    for gradient in _gradients(params):
        ops.clamp(bound, gradient)


def _gradients(params: Iterable[Param]) -> list[Array]:
    return [param.grad_buffer() for param in params if param.has_grad and not param.frozen]
