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
    hyper[5:] = 1 - hyper[1] ** float(steps[0]), 1 - hyper[2] ** float(steps[0])


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

    hyper = (lr, b1, b2, eps, wd, c1, c2) with g' = g + wd p and the bias corrections
    c1 = 1 - b1^t, c2 = 1 - b2^t of step t (Kingma & Ba 2015, algorithm 1; PyTorch's Adam).
    """
    lr, beta1, beta2, eps, decay, c1, c2 = hyper
    T = p.dtype.type
    step = g + T(decay) * p if decay else g
    m *= T(beta1)
    m += T(1 - beta1) * step
    v *= T(beta2)
    v += T(1 - beta2) * (step * step)
    p -= T(lr / c1) * m / (np.sqrt(v) * T(1 / np.sqrt(c2)) + T(eps))
