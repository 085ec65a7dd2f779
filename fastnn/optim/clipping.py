"""Gradient clipping (Pascanu, Mikolov & Bengio 2013).

A bound is an array (1,) float64, because recorded steps read it from memory: it may change between steps.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastnn._validation import Array
from fastnn.kernels import empty, ops
from fastnn.optim.limits import limit_gradient
from fastnn.param import Param


def clip_norm(params: Iterable[Param], bound: Array) -> Array:
    """Multiply all gradients by min(1, bound / (norm + 1e-6)), as PyTorch's `clip_grad_norm_`.

    `norm` is the L2 norm of all gradients together, after the limits of single parameters; bound (1,)
    float64. Returns the norm before clipping, (1,) float64.
    """
    moving = _moving(params)
    for param in moving:
        limit_gradient(param)
    gradients = [param.grad_buffer() for param in moving]
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
    for param in _moving(params):
        ops.clamp(bound, param.grad_buffer())


def _moving(params: Iterable[Param]) -> list[Param]:
    """The parameters that the next optimizer step changes."""
    return [param for param in params if param.has_grad and not param.frozen]
