"""Reference group normalisation and its gradients, in NumPy: the specification.

Letters: N samples of S positions and C channels, which form G groups of C / G neighbouring channels;
rstd = 1 / sqrt(var + epsilon); "->" separates inputs from outputs. Means, variances and sums are computed in
float64. The `aot` backend fixes the order of these sums but need not reproduce these bits.
"""

import numpy as np


def group_norm_forward(x, groups, gamma, beta, epsilon, y, moments):
    """y_nsc = (x_nsc - mean_nc) rstd_nc gamma_c + beta_c.

    x (N, S, C), gamma (C,) or None for ones, beta (C,) or None for zeros
    -> y (N, S, C), moments (N, 2, C): mean and rstd, which all channels of a group share.
    mean and var (biased) are over the positions and channels of a group of a sample. NaN for S = 0.
    """
    mean = _group_means(x, groups)
    var = _group_means(np.square(x - mean), groups)
    moments[:, :1], moments[:, 1:] = mean, 1 / np.sqrt(var + epsilon)
    y[...] = _normalized(x, moments) * (1 if gamma is None else gamma)
    if beta is not None:
        y += beta


def group_norm_dx(x, dy, groups, gamma, moments, dx):
    """dx = rstd (g - mean(g) - xhat mean(g xhat)),  g = dy gamma,  xhat = (x - mean) rstd.

    x, dy (N, S, C), gamma (C,) or None for ones, moments (N, 2, C) of `group_norm_forward` -> dx (N, S, C).
    The means are over the positions and channels of a group of a sample.
    """
    g, normalized = dy * (1 if gamma is None else gamma), _normalized(x, moments)
    means = _group_means(g, groups), _group_means(g * normalized, groups)
    dx[...] = moments[:, 1:] * (g - means[0] - normalized * means[1])


def group_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_ns dy_nsc xhat_nsc,  dbeta_c = sum_ns dy_nsc,  xhat = (x - mean) rstd.

    x, dy (N, S, C), moments (N, 2, C) of `group_norm_forward` -> dgamma, dbeta (C,).
    """
    dgamma[...] = (dy * _normalized(x, moments)).sum(axis=(0, 1), dtype=np.float64)
    dbeta[...] = dy.sum(axis=(0, 1), dtype=np.float64)


def _group_means(x, groups):
    """The mean of each group of each sample, for each of its channels: (N, 1, C) in float64."""
    N, S, C = x.shape
    width = C // groups
    sums = x.sum(axis=1, dtype=np.float64).reshape(N, groups, width).sum(axis=2)
    return np.repeat(sums / np.float64(S * width), width, axis=1)[:, None]


def _normalized(x, moments):
    return (x - moments[:, :1]) * moments[:, 1:]
