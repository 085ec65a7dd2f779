"""Numba losses of each output alone, with their gradients, specified by `pointwise_ref.py`.

The divisor of the mean is known before the first element, so the gradient is scaled when it is written. The
sum is a loop of its own: LLVM vectorizes only loops that do not sum.
"""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel
from fastnn.kernels.jit.reduction import divisor_of, reduce_losses
from fastnn.kernels.jit.vmath import exp, log, log1p_of_small


@kernel(loss=np.float64)
def squared_error(y, target, reduction, losses, loss, dy):
    """losses = (y - target)^2 / 2, elementwise."""
    divisor = _check(y, target, reduction, losses, loss, dy)
    _squared_error(*_flat(y, target, losses, dy), 1 / divisor)
    reduce_losses(losses.reshape(-1), divisor, loss)


@jit
def _squared_error(y, target, losses, dy, scale):
    T = y.dtype.type
    half, scale = T(0.5), T(scale)
    for i in range(y.size):
        difference = y[i] - target[i]
        losses[i] = difference * difference * half
        if dy is not None:
            dy[i] = difference * scale


@kernel(loss=np.float64)
def absolute_error(y, target, reduction, losses, loss, dy):
    """losses = |y - target|, elementwise."""
    divisor = _check(y, target, reduction, losses, loss, dy)
    _absolute_error(*_flat(y, target, losses, dy), 1 / divisor)
    reduce_losses(losses.reshape(-1), divisor, loss)


@jit
def _absolute_error(y, target, losses, dy, scale):
    T = y.dtype.type
    zero, one, scale = T(0), T(1), T(scale)
    for i in range(y.size):
        difference = y[i] - target[i]
        losses[i] = abs(difference)
        if dy is not None:
            dy[i] = (one if difference > zero else -one if difference < zero else difference) * scale


@kernel(loss=np.float64)
def huber(y, target, delta, reduction, losses, loss, dy):
    """losses = c (d - c / 2), d = y - target, c = d clamped to [-delta, delta], elementwise."""
    divisor = _check(y, target, reduction, losses, loss, dy)
    _huber(*_flat(y, target, losses, dy), 1 / divisor, delta)
    reduce_losses(losses.reshape(-1), divisor, loss)


@jit
def _huber(y, target, losses, dy, scale, delta):
    T = y.dtype.type
    half, scale, delta = T(0.5), T(scale), T(delta)
    for i in range(y.size):
        difference = y[i] - target[i]
        slope = -delta if difference < -delta else delta if difference > delta else difference
        losses[i] = slope * (difference - slope * half)
        if dy is not None:
            dy[i] = slope * scale


@kernel(loss=np.float64)
def poisson(y, target, deviance, reduction, losses, loss, dy):
    """losses = exp(y) - t y, elementwise; with `deviance` plus t log t - t."""
    divisor = _check(y, target, reduction, losses, loss, dy)
    _poisson(*_flat(y, target, losses, dy), 1 / divisor, deviance)
    reduce_losses(losses.reshape(-1), divisor, loss)


@jit
def _poisson(y, target, losses, dy, scale, deviance):
    T = y.dtype.type
    zero, scale = T(0), T(scale)
    for i in range(y.size):
        mean, t = exp(y[i]), target[i]
        term = t * (log(t) - y[i] if deviance else -y[i])
        losses[i] = (mean - t if deviance else mean) + (zero if t == zero else term)
        if dy is not None:
            dy[i] = (mean - t) * scale


@kernel(loss=np.float64)
def binary_hinge(y, target, margin, reduction, losses, loss, dy):
    """losses = max(0, margin - (2 t - 1) y), elementwise."""
    divisor = _check(y, target, reduction, losses, loss, dy)
    _binary_hinge(*_flat(y, target, losses, dy), 1 / divisor, margin)
    reduce_losses(losses.reshape(-1), divisor, loss)


@jit
def _binary_hinge(y, target, losses, dy, scale, margin):
    T = y.dtype.type
    zero, one, two, scale, margin = T(0), T(1), T(2), T(scale), T(margin)
    for i in range(y.size):
        sign = two * target[i] - one
        gap = margin - sign * y[i]
        losses[i] = zero if gap <= zero else gap
        if dy is not None:
            dy[i] = zero if gap <= zero else -sign * scale


@kernel(loss=np.float64)
def binary_cross_entropy(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses = -w1 t (1 - p)^gamma log p - w0 (1 - t) p^gamma log(1 - p),  p = sigmoid(z), elementwise.

    z, target (..., C) of any one shape, weight (2, C) or None -> losses and dz (or None) of that shape,
    loss (1,) float64.
    """
    if not z.shape == target.shape == losses.shape or loss.shape != (1,):
        raise ValueError("z, target and losses must have the same shape, and loss shape (1,)")
    if dz is not None and dz.shape != z.shape:
        raise ValueError("dz must have the shape of z")
    classes = z.shape[-1]
    if weight is not None and weight.shape != (2, classes):
        raise ValueError("weight must have shape (2, C)")
    flat = losses.reshape(-1)
    flat_dz = None if dz is None else dz.reshape(-1)
    divisor = divisor_of(reduction, z.size, len(z))
    scale = z.dtype.type(1 / divisor)
    gamma = z.dtype.type(gamma)
    _binary(z.reshape(-1), target.reshape(-1), weight, classes, gamma, scale, flat, flat_dz)
    reduce_losses(flat, divisor, loss)


@jit
def _binary(z, target, weight, classes, gamma, scale, losses, dz):
    T = z.dtype.type
    zero, one = T(0), T(1)
    for i in range(z.size):
        e = exp(-abs(z[i]))
        log_term = log1p_of_small(e)
        nll1, nll0 = max(zero, -z[i]) + log_term, max(zero, z[i]) + log_term
        p, q = (e if z[i] < zero else one) / (one + e), (one if z[i] < zero else e) / (one + e)
        ones, zeros = target[i], one - target[i]
        if weight is not None:
            ones *= weight[0, i % classes]
            zeros *= weight[1, i % classes]
        by_p, by_q = p, q
        if gamma != zero:
            ones *= exp(-gamma * nll0)
            zeros *= exp(-gamma * nll1)
            by_p, by_q = gamma * q * nll0 + p, gamma * p * nll1 + q
        losses[i] = ones * nll1 + zeros * nll0
        if dz is not None:
            dz[i] = (zeros * by_p - ones * by_q) * scale


@jit
def _check(y, target, reduction, losses, loss, dy):
    """Check the shapes and return the divisor of the reduction."""
    if not y.shape == target.shape == losses.shape or loss.shape != (1,):
        raise ValueError("y, target and losses must have the same shape, and loss shape (1,)")
    if dy is not None and dy.shape != y.shape:
        raise ValueError("dy must have the shape of y")
    return divisor_of(reduction, y.size, len(y))


@jit
def _flat(y, target, losses, dy):
    return y.reshape(-1), target.reshape(-1), losses.reshape(-1), None if dy is None else dy.reshape(-1)
