"""Numba optimizer updates, gradient clipping and weight averaging, specified by `optim_ref.py`.

The values of `hyper` are first rounded to the dtype of the parameter, except where the specification computes
with them in float64.
"""

import math

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel


@kernel(steps=np.int64)
def advance(steps):
    """steps += 1.  steps (1,) int64: the number of updates of a parameter."""
    if steps.shape != (1,):
        raise ValueError("steps must have shape (1,)")
    steps[0] += 1


@kernel(steps=np.int64, hyper=np.float64)
def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps,  c2 = 1 - b2^steps.  steps (1,) int64, hyper (8,) as in `adam`."""
    if steps.shape != (1,) or hyper.shape != (8,):
        raise ValueError("steps must have shape (1,) and hyper (8,)")
    hyper[5] = 1 - math.pow(hyper[1], float(steps[0]))
    hyper[6] = 1 - math.pow(hyper[2], float(steps[0]))


@kernel(hyper=np.float64)
def sgd(g, hyper, v, p):
    """g' = g + wd p,  v = mu v + g',  p -= lr (g' + mu v if nesterov else v).

    hyper = (lr, mu, wd, nesterov). With mu = 0, v is None and p -= lr g'.
    """
    _check(g.shape == p.shape and hyper.shape == (4,))
    _check(v is None or v.shape == p.shape)
    T = p.dtype.type
    lr, momentum, decay, nesterov = T(hyper[0]), T(hyper[1]), T(hyper[2]), T(hyper[3])
    g, p = g.reshape(-1), p.reshape(-1)
    if v is None:
        for i in range(p.size):
            p[i] -= lr * _decayed(g[i], decay, p[i])
    else:
        v = v.reshape(-1)
        for i in range(p.size):
            step = _decayed(g[i], decay, p[i])
            v[i] = v[i] * momentum + step
            p[i] -= lr * (step + momentum * v[i] if nesterov else v[i])


@kernel(hyper=np.float64)
def adam(g, hyper, m, v, p):
    """m = b1 m + (1 - b1) g',  v = b2 v + (1 - b2) g'^2,  p -= lr/c1 m / (sqrt(v / c2) + eps).

    hyper = (lr, b1, b2, eps, wd, c1, c2, decoupled). g' = g + wd p; if decoupled, g' = g and p *= 1 - lr wd.
    """
    _check(g.shape == m.shape == v.shape == p.shape and hyper.shape == (8,))
    T = p.dtype.type
    lr, beta1, beta2 = hyper[0], hyper[1], hyper[2]
    eps, decay, c1, c2, decoupled = T(hyper[3]), T(hyper[4]), hyper[5], hyper[6], hyper[7] != 0
    kept = T(1 - lr * hyper[4] if decoupled else 1)
    if decoupled:
        decay = T(0)
    keep1, add1, keep2, add2 = T(beta1), T(1 - beta1), T(beta2), T(1 - beta2)
    rate, root = T(lr / c1), T(1 / math.sqrt(c2))
    g, m, v, p = g.reshape(-1), m.reshape(-1), v.reshape(-1), p.reshape(-1)
    for i in range(p.size):
        step = _decayed(g[i], decay, p[i])
        m[i] = m[i] * keep1 + add1 * step
        v[i] = v[i] * keep2 + add2 * (step * step)
        p[i] = p[i] * kept - rate * m[i] / (math.sqrt(v[i]) * root + eps)


@kernel(hyper=np.float64)
def rmsprop(g, hyper, v, mean, buffer, p):
    """v = alpha v + (1 - alpha) g'^2,  p -= lr g' / (sqrt(v) + eps).

    hyper = (lr, alpha, eps, wd, mu). mean and buffer (or None) work as in the specification.
    """
    _check(g.shape == v.shape == p.shape and hyper.shape == (5,))
    _check(mean is None or mean.shape == p.shape)
    _check(buffer is None or buffer.shape == p.shape)
    T = p.dtype.type
    lr, eps, decay, momentum = T(hyper[0]), T(hyper[2]), T(hyper[3]), T(hyper[4])
    keep, add = T(hyper[1]), T(1 - hyper[1])
    g, v, p = g.reshape(-1), v.reshape(-1), p.reshape(-1)
    means = mean.reshape(-1) if mean is not None else v[:0]
    buffers = buffer.reshape(-1) if buffer is not None else v[:0]
    for i in range(p.size):
        step = _decayed(g[i], decay, p[i])
        v[i] = v[i] * keep + add * (step * step)
        square = v[i]
        if mean is not None:
            means[i] = means[i] * keep + add * step
            square = max(square - means[i] * means[i], T(0))
        change = step / (math.sqrt(square) + eps)
        if buffer is not None:
            buffers[i] = buffers[i] * momentum + change
            change = buffers[i]
        p[i] -= lr * change


@kernel(total=np.float64)
def sum_squares(g, total):
    """total = sum_e g_e^2, computed in float64.  g of any shape -> total (1,) float64."""
    if total.shape != (1,):
        raise ValueError("total must have shape (1,)")
    squares = 0.0
    for value in g.reshape(-1):
        squares += float(value) * float(value)
    total[0] = squares


@kernel(totals=np.float64, bound=np.float64, norm=np.float64, factor=np.float64)
def clip_factor(totals, bound, norm, factor):
    """norm = sqrt(sum of totals),  factor = min(1, bound / (norm + 1e-6)).

    totals (P,), bound (1,) -> norm (1,), factor (1,), all float64.
    """
    if bound.shape != (1,) or norm.shape != (1,) or factor.shape != (1,):
        raise ValueError("bound, norm and factor must have shape (1,)")
    total = 0.0
    for value in totals:
        total += value
    norm[0] = math.sqrt(total)
    ratio = bound[0] / (norm[0] + 1e-6)
    factor[0] = 1.0 if ratio > 1 else ratio


@kernel(factor=np.float64)
def multiply(factor, x):
    """x *= factor.  factor (1,) float64; x of any shape, updated in place."""
    if factor.shape != (1,):
        raise ValueError("factor must have shape (1,)")
    x = x.reshape(-1)
    scale = x.dtype.type(factor[0])
    for i in range(x.size):
        x[i] *= scale


@kernel(bound=np.float64)
def clamp(bound, x):
    """x = min(max(x, -bound), bound).  bound (1,) float64; x of any shape, in place. A NaN stays NaN."""
    if bound.shape != (1,):
        raise ValueError("bound must have shape (1,)")
    x = x.reshape(-1)
    limit = x.dtype.type(bound[0])
    for i in range(x.size):
        if x[i] > limit:
            x[i] = limit
        elif x[i] < -limit:
            x[i] = -limit


@kernel()
def hold(mask, source, x):
    """x = source where mask == 0.  mask, source or None (then 0 takes its place), x of one shape."""
    _check(mask.shape == x.shape)
    _check(source is None or source.shape == x.shape)
    mask, x = mask.reshape(-1), x.reshape(-1)
    if source is None:
        for i in range(x.size):
            if mask[i] == 0:
                x[i] = 0
    else:
        source = source.reshape(-1)
        for i in range(x.size):
            if mask[i] == 0:
                x[i] = source[i]


@kernel(steps=np.int64)
def ema(p, steps, decay, warmup, average):
    """average += (1 - d) (p - average),  d = min(decay, (1 + t) / (10 + t)) if warmup else decay."""
    _check(p.shape == average.shape and steps.shape == (1,))
    warm = (1.0 + steps[0]) / (10.0 + steps[0])
    rate = p.dtype.type(1 - (min(decay, warm) if warmup else decay))
    p, average = p.reshape(-1), average.reshape(-1)
    for i in range(p.size):
        average[i] += rate * (p[i] - average[i])


@jit
def _decayed(g, decay, p):
    return g + decay * p if decay != 0 else g


@jit
def _check(fits):
    if not fits:
        raise ValueError("g, p and the optimizer state must have one shape, and hyper one value per name")
