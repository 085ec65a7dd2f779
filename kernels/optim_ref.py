"""Optimizer updates in NumPy: the specification.

One call updates one parameter `p` in place from its gradient `g`; all arrays have one shape and type.
`hyper` is a float64 array, read at every call, so that a schedule can change it between two calls.
"""

import numpy as np


def advance(steps):
    """steps += 1.  steps (1,) int64: the number of updates of a parameter."""
    steps[0] += 1


def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps;  c2 = 1 - b2^steps.  steps (1,) int64, hyper as `adam` takes it."""
    hyper[5:7] = 1 - hyper[1] ** float(steps[0]), 1 - hyper[2] ** float(steps[0])


def sgd(g, hyper, v, p):
    """g' = g + wd p;  v = mu v + g';  p -= lr (g' + mu v if nesterov else v).

    hyper = (lr, mu, wd, nesterov); v is None when mu = 0, and then p -= lr g'.
    PyTorch's SGD with dampening 0 (Sutskever et al. 2013 for the Nesterov form).
    """
    lr, momentum, decay, nesterov = hyper.astype(p.dtype)
    step = g + decay * p if decay else g
    if v is not None:
        v *= momentum
        v += step
        step = step + momentum * v if nesterov else v
    p -= lr * step


def adam(g, hyper, m, v, p):
    """m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2;  p -= lr/c1 m / (sqrt(v / c2) + eps).

    hyper = (lr, b1, b2, eps, wd, c1, c2, decoupled) with g' = g + wd p and the bias corrections
    c1 = 1 - b1^t, c2 = 1 - b2^t of step t (Kingma & Ba 2015, algorithm 1; PyTorch's Adam). `decoupled`:
    g' = g, and p *= 1 - lr wd beforehand (Loshchilov & Hutter 2019; PyTorch's AdamW).
    """
    lr, beta1, beta2, eps, decay, c1, c2, decoupled = hyper
    T = p.dtype.type
    step = g + T(decay) * p if decay and not decoupled else g
    if decoupled:
        p *= T(1 - lr * decay)
    m *= T(beta1)
    m += T(1 - beta1) * step
    v *= T(beta2)
    v += T(1 - beta2) * (step * step)
    p -= T(lr / c1) * m / (np.sqrt(v) * T(1 / np.sqrt(c2)) + T(eps))


def rmsprop(g, hyper, v, mean, buffer, p):
    """v = alpha v + (1 - alpha) g'^2;  p -= lr g' / (sqrt(v) + eps).

    hyper = (lr, alpha, eps, wd, mu) with g' = g + wd p. With mean = alpha mean + (1 - alpha) g' (or None) the
    root is that of v - mean^2, or of 0 where rounding made this negative, as for a gradient that stays the
    same; with buffer = mu buffer + g' / (...) (or None) p -= lr buffer. PyTorch's RMSprop, which gives nan
    there (Tieleman & Hinton 2012; centred by Graves 2013).
    """
    lr, alpha, eps, decay, momentum = hyper
    T = p.dtype.type
    step = g + T(decay) * p if decay else g
    v *= T(alpha)
    v += T(1 - alpha) * (step * step)
    square = v
    if mean is not None:
        mean *= T(alpha)
        mean += T(1 - alpha) * step
        square = np.maximum(v - mean * mean, T(0))
    change = step / (np.sqrt(square) + T(eps))
    if buffer is not None:
        buffer *= T(momentum)
        buffer += change
        change = buffer
    p -= T(lr) * change


def sum_squares(g, total):
    """total = sum of g_e^2, in float64.  g of any shape, total (1,) float64"""
    total[0] = np.sum(np.square(g, dtype=np.float64))


def clip_factor(totals, bound, norm, factor):
    """norm = sqrt(sum of totals);  factor = min(1, bound / (norm + 1e-6)): PyTorch's clip_grad_norm_.

    totals (P,) sums of squares, bound (1,) -> norm (1,), factor (1,), all float64; nan for a norm of nan.
    """
    norm[0] = np.sqrt(sum(totals.tolist()))
    factor[0] = np.minimum(bound[0] / (norm[0] + 1e-6), 1)


def multiply(factor, x):
    """x *= factor.  factor (1,) float64, x of any shape, in place"""
    x *= x.dtype.type(factor[0])


def clamp(bound, x):
    """x = min(max(x, -bound), bound).  bound (1,) float64, x of any shape, in place; a nan stays"""
    most = x.dtype.type(bound[0])
    np.clip(x, -most, most, out=x)


def ema(p, steps, decay, warmup, average):
    """average += (1 - d) (p - average), d = decay, or min(decay, (1 + t) / (10 + t)) with `warmup`.

    p, average of one shape; steps (1,) int64 = t, the number of averages made before this one.
    """
    t = float(steps[0])
    d = min(decay, (1 + t) / (10 + t)) if warmup else decay
    average += p.dtype.type(1 - d) * (p - average)
