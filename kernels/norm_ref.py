"""Batch and layer normalisation in NumPy: the specification.

`M` rows, N or N H W of them, of `C` channels or features; rstd = 1 / sqrt(var + epsilon). Moments and sums
over rows are made in float64 here; `aot` fixes the order of these sums, not their bits.
"""

import numpy as np


def batch_moments(x, mean, var):
    """mean_c = 1/M sum_m x_mc, var_c = 1/M sum_m (x_mc - mean_c)^2.

    x (M, C) -> mean, var (C,); nan without rows.
    """
    rows = np.float64(len(x))
    center = x.sum(axis=0, dtype=np.float64) / rows
    mean[...] = center
    var[...] = np.square(x - center).sum(axis=0) / rows


def running_moments(mean, var, count, momentum, running_mean, running_var, before):
    """running = (1 - momentum) running + momentum batch, with count / (count - 1) var: the unbiased one.

    mean, var (C,) of `count` rows; running_mean, running_var (C,), changed -> before (2, C), what they were.
    """
    before[0], before[1] = running_mean, running_var
    unbiased = var * (np.float64(count) / np.float64(count - 1))
    running_mean[...] = (1 - momentum) * running_mean + momentum * mean
    running_var[...] = (1 - momentum) * running_var + momentum * unbiased


def batch_norm_forward(x, mean, var, gamma, beta, epsilon, y):
    """y_mc = (x_mc - mean_c) / sqrt(var_c + epsilon) gamma_c + beta_c.

    x (M, C), mean, var (C,), gamma (C,) or None for 1, beta (C,) or None for 0 -> y (M, C).
    """
    np.multiply(x - mean, _scale(var, gamma, epsilon), out=y)
    if beta is not None:
        y += beta


def batch_norm_sums(x, dy, mean, var, epsilon, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc (x_mc - mean_c) / sqrt(var_c + epsilon), dbeta_c = sum_m dy_mc.

    x, dy (M, C), mean, var (C,) -> dgamma, dbeta (C,).
    """
    dgamma[...] = (dy * (x - mean)).sum(axis=0, dtype=np.float64) * _scale(var, None, epsilon)
    dbeta[...] = dy.sum(axis=0, dtype=np.float64)


def batch_norm_dx(x, dy, mean, var, gamma, epsilon, dgamma, dbeta, dx):
    """dx = gamma rstd (dy - dbeta / M - xhat dgamma / M), xhat = (x - mean) rstd.

    x, dy (M, C), mean, var (C,), gamma (C,) or None for 1 -> dx (M, C). dgamma, dbeta (C,) are those of
    `batch_norm_sums`; both None say that the moments do not depend on x: dx = gamma rstd dy.
    """
    scale = _scale(var, gamma, epsilon)
    if dgamma is None:
        np.multiply(dy, scale, out=dx)
    else:
        normalized = (x - mean) * _scale(var, None, epsilon)
        dx[...] = scale * (dy - dbeta / len(x) - normalized * (dgamma / len(x)))


def layer_norm_forward(x, gamma, beta, epsilon, y, moments):
    """y_mc = (x_mc - mean_m) / sqrt(var_m + epsilon) gamma_c + beta_c, with mean_m and var_m over all c.

    x (M, C), gamma (C,) or None for 1, beta (C,) or None for 0 -> y (M, C), moments (M, 2): mean and rstd of
    each row.
    """
    center = _means(x)
    inverse = 1 / np.sqrt(_means(np.square(x - center)) + epsilon)
    moments[:, :1], moments[:, 1:] = center, inverse
    y[...] = _normalized(x, moments) * (1 if gamma is None else gamma)
    if beta is not None:
        y += beta


def layer_norm_dx(x, dy, gamma, moments, dx):
    """dx = rstd (g - mean_c g - xhat mean_c(g xhat)), g = dy gamma, xhat = (x - mean) rstd.

    x, dy (M, C), gamma (C,) or None for 1, moments (M, 2) of `layer_norm_forward` -> dx (M, C).
    """
    g, normalized = dy * (1 if gamma is None else gamma), _normalized(x, moments)
    dx[...] = moments[:, 1:] * (g - _means(g) - normalized * _means(g * normalized))


def layer_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc xhat_mc, dbeta_c = sum_m dy_mc, xhat = (x - mean) rstd.

    x, dy (M, C), moments (M, 2) of `layer_norm_forward` -> dgamma, dbeta (C,).
    """
    dgamma[...] = (dy * _normalized(x, moments)).sum(axis=0, dtype=np.float64)
    dbeta[...] = dy.sum(axis=0, dtype=np.float64)


def _scale(var, gamma, epsilon):
    """gamma / sqrt(var + epsilon), in the type of var."""
    inverse = 1 / np.sqrt(var + var.dtype.type(epsilon))
    return inverse if gamma is None else gamma * inverse


def _means(x):
    """The mean of each row (M, 1), in float64; nan for an empty one."""
    return x.sum(axis=1, dtype=np.float64, keepdims=True) / np.float64(x.shape[1])


def _normalized(x, moments):
    return (x - moments[:, :1]) * moments[:, 1:]
