"""Reference optimizer updates, gradient clipping and weight averaging, in NumPy: the specification.

One call updates one parameter `p` in place from its gradient `g`. p, g and the optimizer state share one
shape and one dtype; "->" separates inputs from outputs. `hyper` is a float64 array that holds the
hyper-parameters. Kernels read it at every call, so a schedule can change it between two calls.
"""

import numpy as np


def advance(steps):
    """steps += 1.  steps (1,) int64, updated in place: the number of updates of a parameter."""
    steps[0] += 1


def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps,  c2 = 1 - b2^steps.

    steps (1,) int64; hyper (8,) float64 as in `adam`, whose c1 and c2 are updated in place.
    """
    hyper[5:7] = 1 - hyper[1] ** float(steps[0]), 1 - hyper[2] ** float(steps[0])


def sgd(g, hyper, v, p):
    """g' = g + wd p,  v = mu v + g',  p -= lr (g' + mu v if nesterov else v).

    g, hyper (4,) float64 = (lr, mu, wd, nesterov); v, p updated in place. With mu = 0, v is None and
    p -= lr g'. PyTorch's SGD with dampening 0; the Nesterov form is that of Sutskever et al. 2013.
    """
    lr, momentum, decay, nesterov = hyper.astype(p.dtype)
    step = g + decay * p if decay else g
    if v is not None:
        v *= momentum
        v += step
        step = step + momentum * v if nesterov else v
    p -= lr * step


def adam(g, hyper, m, v, p):
    """m = b1 m + (1 - b1) g',  v = b2 v + (1 - b2) g'^2,  p -= lr/c1 m / (sqrt(v / c2) + eps).

    g, hyper (8,) float64 = (lr, b1, b2, eps, wd, c1, c2, decoupled); m, v, p updated in place.
    c1 = 1 - b1^t and c2 = 1 - b2^t are the bias corrections of step t (`adam_corrections`).
    Coupled weight decay: g' = g + wd p (Kingma & Ba 2015, algorithm 1; PyTorch's Adam). Decoupled: g' = g,
    and p *= 1 - lr wd before the update (Loshchilov & Hutter 2019; PyTorch's AdamW).
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
    """v = alpha v + (1 - alpha) g'^2,  p -= lr g' / (sqrt(v) + eps).

    g, hyper (5,) float64 = (lr, alpha, eps, wd, mu); v, mean or None, buffer or None, p updated in place.
    g' = g + wd p. If mean is not None (centered): mean = alpha mean + (1 - alpha) g', and sqrt(v - mean^2)
    takes the place of sqrt(v). If buffer is not None (momentum): buffer = mu buffer + g' / (...), and
    p -= lr buffer. PyTorch's RMSprop, except where rounding makes v - mean^2 negative, as for a constant
    gradient: here it counts as 0, in PyTorch the result is NaN.
    Tieleman & Hinton 2012; centered: Graves 2013.
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
    """total = sum_e g_e^2, computed in float64.

    g of any shape -> total (1,) float64.
    """
    total[0] = np.sum(np.square(g, dtype=np.float64))


def clip_factor(totals, bound, norm, factor):
    """norm = sqrt(sum of totals),  factor = min(1, bound / (norm + 1e-6)).

    totals (P,) sums of squares of P gradients, bound (1,) -> norm (1,), factor (1,), all float64. A norm of
    NaN gives a factor of NaN. PyTorch's clip_grad_norm_.
    """
    norm[0] = np.sqrt(sum(totals.tolist()))
    factor[0] = np.minimum(bound[0] / (norm[0] + 1e-6), 1)


def multiply(factor, x):
    """x *= factor.  factor (1,) float64; x of any shape, updated in place."""
    x *= x.dtype.type(factor[0])


def clamp(bound, x):
    """x = min(max(x, -bound), bound).

    bound (1,) float64; x of any shape, updated in place. A NaN stays NaN.
    """
    limit = x.dtype.type(bound[0])
    np.clip(x, -limit, limit, out=x)


def hold(mask, source, x):
    """x = source where mask == 0.

    mask, source or None (then 0 takes its place), x of one shape; x is updated in place. No arithmetic: a NaN
    in the mask counts as 1, and elements keep all their bits.
    """
    np.copyto(x, 0 if source is None else source, where=mask == 0)


def ema(p, steps, decay, warmup, average):
    """average += (1 - d) (p - average),  d = min(decay, (1 + t) / (10 + t)) if warmup else decay.

    p; steps (1,) int64 = t, the number of earlier calls; decay (a Python float), warmup (bool);
    average of p's shape, updated in place. The exponential moving average of the weights.
    """
    t = float(steps[0])
    d = min(decay, (1 + t) / (10 + t)) if warmup else decay
    average += p.dtype.type(1 - d) * (p - average)
