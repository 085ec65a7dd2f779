"""Optimizer updates in Numba: the twin of `optim_ref.py`.

`hyper` is rounded to the type of the parameter first, except where the specification computes with it.
"""

import math

import numpy as np

from fastnn.kernels.numba_cache import jit, kernel


@kernel(steps=np.int64)
def advance(steps):
    """steps += 1.  steps (1,) int64: the number of updates of a parameter."""
    if steps.shape != (1,):
        raise ValueError("steps must have a single element")
    steps[0] += 1


@kernel(steps=np.int64, hyper=np.float64)
def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps;  c2 = 1 - b2^steps.  steps (1,) int64, hyper as `adam` takes it."""
    if steps.shape != (1,) or hyper.shape != (7,):
        raise ValueError("steps must have a single element, hyper seven")
    hyper[5] = 1 - math.pow(hyper[1], float(steps[0]))
    hyper[6] = 1 - math.pow(hyper[2], float(steps[0]))


@kernel(hyper=np.float64)
def sgd(g, hyper, v, p):
    """g' = g + wd p;  v = mu v + g';  p -= lr (g' + mu v if nesterov else v).

    hyper = (lr, mu, wd, nesterov); v is None when mu = 0, and then p -= lr g'.
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
    """m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2;  p -= lr/c1 m / (sqrt(v / c2) + eps).

    hyper = (lr, b1, b2, eps, wd, c1, c2) with g' = g + wd p.
    """
    _check(g.shape == m.shape == v.shape == p.shape and hyper.shape == (7,))
    T = p.dtype.type
    lr, beta1, beta2 = hyper[0], hyper[1], hyper[2]
    eps, decay, c1, c2 = T(hyper[3]), T(hyper[4]), hyper[5], hyper[6]
    keep1, add1, keep2, add2 = T(beta1), T(1 - beta1), T(beta2), T(1 - beta2)
    rate, root = T(lr / c1), T(1 / math.sqrt(c2))
    g, m, v, p = g.reshape(-1), m.reshape(-1), v.reshape(-1), p.reshape(-1)
    for i in range(p.size):
        step = _decayed(g[i], decay, p[i])
        m[i] = m[i] * keep1 + add1 * step
        v[i] = v[i] * keep2 + add2 * (step * step)
        p[i] -= rate * m[i] / (math.sqrt(v[i]) * root + eps)


@jit
def _decayed(g, decay, p):
    return g + decay * p if decay != 0 else g


@jit
def _check(fits):
    if not fits:
        raise ValueError("g, the moments and p must have one shape, hyper one element for each of its names")
