"""Reference losses of each output alone, with their gradients, in NumPy: the specification.

Outputs and targets have the same shape, and so do the losses. `reduction`, `losses`, `loss` and the gradient
are as in `loss_ref.py`; the mean divides by the number of elements.
"""

import numpy as np

from fastnn.kernels.loss_ref import _reduce


def squared_error(y, target, reduction, losses, loss, dy):
    """losses = (y - target)^2 / 2,  elementwise.

    y of any shape, target of y's shape -> losses of y's shape, loss (1,) float64, dy of y's shape or None.
    The mean divides by the number of elements.
    """
    np.subtract(y, target, out=losses)
    if dy is not None:
        dy[...] = losses
    losses *= losses
    losses *= 0.5
    _reduce(losses, float(y.size), reduction, loss, dy)


def absolute_error(y, target, reduction, losses, loss, dy):
    """losses = |y - target|,  elementwise.

    y of any shape, target of y's shape -> losses of y's shape, loss (1,) float64, dy of y's shape or None.
    The gradient is 0 where y = target, as in PyTorch.
    """
    np.subtract(y, target, out=losses)
    if dy is not None:
        np.sign(losses, out=dy)
    np.abs(losses, out=losses)
    _reduce(losses, float(y.size), reduction, loss, dy)


def huber(y, target, delta, reduction, losses, loss, dy):
    """losses = d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2),  d = y - target,  elementwise.

    y of any shape, target of y's shape, delta > 0 (a Python float)
    -> losses of y's shape, loss (1,) float64, dy of y's shape or None.
    With c = d clamped to [-delta, delta], both cases are c (d - c / 2), and the gradient is c (Huber 1964).
    """
    difference = y - target
    slope = np.clip(difference, -delta, delta)
    losses[...] = slope * (difference - slope / 2)
    if dy is not None:
        dy[...] = slope
    _reduce(losses, float(y.size), reduction, loss, dy)


def poisson(y, target, deviance, reduction, losses, loss, dy):
    """losses = exp(y) - t y,  elementwise; with `deviance` plus t log t - t.

    y of any shape (logarithms of the predicted means), target t >= 0 of y's shape, deviance (a Python bool)
    -> losses of y's shape, loss (1,) float64, dy of y's shape or None.
    The terms of t = 0 are 0. The gradient is exp(y) - t in both cases.
    """
    mean = np.exp(y)
    terms = np.where(target == 0, 0, target * (np.log(target) - y if deviance else -y))
    losses[...] = (mean - target if deviance else mean) + terms
    if dy is not None:
        dy[...] = mean - target
    _reduce(losses, float(y.size), reduction, loss, dy)


def binary_hinge(y, target, margin, reduction, losses, loss, dy):
    """losses = max(0, margin - (2 t - 1) y),  elementwise.

    y of any shape (scores), target t of y's shape with values in [0, 1], margin >= 0 (a Python float)
    -> losses of y's shape, loss (1,) float64, dy of y's shape or None.
    The gradient is 0 where the loss is.
    """
    sign = 2 * target - 1
    gap = y.dtype.type(margin) - sign * y
    losses[...] = np.maximum(gap, 0)
    if dy is not None:
        dy[...] = np.where(gap <= 0, 0, -sign)
    _reduce(losses, float(y.size), reduction, loss, dy)


def binary_cross_entropy(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses = -w1 t (1 - p)^gamma log p - w0 (1 - t) p^gamma log(1 - p),  p = sigmoid(z),  elementwise.

    z (..., C) logits, target t of the same shape with values in [0, 1], weight (2, C) = (w1, w0) for targets
    1 and 0, or None for ones; gamma >= 0 (a Python float)
    -> losses of z's shape, loss (1,) float64, dz of z's shape or None.
    The mean divides by the number of elements. gamma = 0 is cross-entropy, gamma > 0 the focal loss of
    Lin et al. 2017.
    """
    one = z.dtype.type(1)
    w1, w0 = (one, one) if weight is None else weight
    e = np.exp(-np.abs(z))
    # -log p and -log(1 - p), in a form that cannot overflow.
    nll1, nll0 = np.maximum(0, -z) + np.log1p(e), np.maximum(0, z) + np.log1p(e)
    p, q = np.where(z < 0, e, one) / (1 + e), np.where(z < 0, one, e) / (1 + e)
    a1, a0 = w1 * target, w0 * (1 - target)
    if gamma == 0:
        losses[...] = a1 * nll1 + a0 * nll0
        if dz is not None:
            dz[...] = a0 * p - a1 * q
    else:
        a1, a0, gamma = a1 * np.exp(-gamma * nll0), a0 * np.exp(-gamma * nll1), z.dtype.type(gamma)
        losses[...] = a1 * nll1 + a0 * nll0
        if dz is not None:
            dz[...] = a0 * (gamma * q * nll0 + p) - a1 * (gamma * p * nll1 + q)
    _reduce(losses, float(z.size), reduction, loss, dz)
