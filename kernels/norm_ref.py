"""Reference batch and layer normalisation and their gradients, in NumPy: the specification.

Letters (kernels/README.md): M rows of C channels or features; M is the number of samples N, or N H W for
images; rstd = 1 / sqrt(var + epsilon); "->" separates inputs from outputs.
Here means, variances and sums over rows are computed in float64. The `aot` backend fixes the order of these
sums but need not reproduce these bits.
"""

import numpy as np


def batch_moments(x, mean, var):
    """mean_c = 1/M sum_m x_mc,  var_c = 1/M sum_m (x_mc - mean_c)^2.

    x (M, C) -> mean, var (C,). The variance is the biased one (divisor M). With M = 0 both are NaN.
    """
    rows = np.float64(len(x))
    center = x.sum(axis=0, dtype=np.float64) / rows
    mean[...] = center
    var[...] = np.square(x - center).sum(axis=0) / rows


def running_moments(mean, var, count, momentum, running_mean, running_var, before):
    """running_mean = (1 - momentum) running_mean + momentum mean, and running_var likewise.

    mean, var (C,) of a batch of `count` rows; running_mean, running_var (C,), updated in place
    -> before (2, C): running_mean and running_var before the update, to undo a step that fails.
    running_var takes the unbiased variance, var count / (count - 1), as in PyTorch.
    """
    before[0], before[1] = running_mean, running_var
    unbiased = var * (np.float64(count) / np.float64(count - 1))
    running_mean[...] = (1 - momentum) * running_mean + momentum * mean
    running_var[...] = (1 - momentum) * running_var + momentum * unbiased


def batch_norm_forward(x, mean, var, gamma, beta, epsilon, y):
    """y_mc = (x_mc - mean_c) / sqrt(var_c + epsilon) gamma_c + beta_c.

    x (M, C), mean, var (C,), gamma (C,) or None for ones, beta (C,) or None for zeros -> y (M, C).
    """
    np.multiply(x - mean, _scale(var, gamma, epsilon), out=y)
    if beta is not None:
        y += beta


def batch_norm_sums(x, dy, mean, var, epsilon, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc (x_mc - mean_c) / sqrt(var_c + epsilon),  dbeta_c = sum_m dy_mc.

    x, dy (M, C), mean, var (C,) -> dgamma, dbeta (C,).
    """
    dgamma[...] = (dy * (x - mean)).sum(axis=0, dtype=np.float64) * _scale(var, None, epsilon)
    dbeta[...] = dy.sum(axis=0, dtype=np.float64)


def batch_norm_dx(x, dy, mean, var, gamma, epsilon, dgamma, dbeta, dx):
    """dx = gamma rstd (dy - dbeta / M - xhat dgamma / M),  xhat = (x - mean) rstd.

    x, dy (M, C), mean, var (C,), gamma (C,) or None for ones, dgamma, dbeta (C,) of `batch_norm_sums`
    -> dx (M, C).
    With dgamma and dbeta both None, mean and var are constants (running statistics): dx = gamma rstd dy.
    """
    scale = _scale(var, gamma, epsilon)
    if dgamma is None:
        np.multiply(dy, scale, out=dx)
    else:
        normalized = (x - mean) * _scale(var, None, epsilon)
        dx[...] = scale * (dy - dbeta / len(x) - normalized * (dgamma / len(x)))


def layer_norm_forward(x, gamma, beta, epsilon, y, moments):
    """y_mc = (x_mc - mean_m) / sqrt(var_m + epsilon) gamma_c + beta_c.

    x (M, C), gamma (C,) or None for ones, beta (C,) or None for zeros
    -> y (M, C), moments (M, 2): mean and rstd of each row.
    mean_m and var_m (biased) are over the C features of row m.
    """
    mean = _row_means(x)
    rstd = 1 / np.sqrt(_row_means(np.square(x - mean)) + epsilon)
    moments[:, :1], moments[:, 1:] = mean, rstd
    y[...] = _normalized(x, moments) * (1 if gamma is None else gamma)
    if beta is not None:
        y += beta


def layer_norm_dx(x, dy, gamma, moments, dx):
    """dx = rstd (g - mean_c(g) - xhat mean_c(g xhat)),  g = dy gamma,  xhat = (x - mean) rstd.

    x, dy (M, C), gamma (C,) or None for ones, moments (M, 2) of `layer_norm_forward` -> dx (M, C).
    """
    g, normalized = dy * (1 if gamma is None else gamma), _normalized(x, moments)
    dx[...] = moments[:, 1:] * (g - _row_means(g) - normalized * _row_means(g * normalized))


def layer_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc xhat_mc,  dbeta_c = sum_m dy_mc,  xhat = (x - mean) rstd.

    x, dy (M, C), moments (M, 2) of `layer_norm_forward` -> dgamma, dbeta (C,).
    """
    dgamma[...] = (dy * _normalized(x, moments)).sum(axis=0, dtype=np.float64)
    dbeta[...] = dy.sum(axis=0, dtype=np.float64)


def _scale(var, gamma, epsilon):
    """gamma / sqrt(var + epsilon), in the dtype of var."""
    rstd = 1 / np.sqrt(var + var.dtype.type(epsilon))
    return rstd if gamma is None else gamma * rstd


def _row_means(x):
    """The mean of each row, (M, 1) in float64; NaN for an empty row."""
    return x.sum(axis=1, dtype=np.float64, keepdims=True) / np.float64(x.shape[1])


def _normalized(x, moments):
    return (x - moments[:, :1]) * moments[:, 1:]
