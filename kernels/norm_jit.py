"""Numba batch and layer normalisation, specified by `norm_ref.py`. Sums are computed in float64."""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel


@kernel()
def batch_moments(x, mean, var):
    """mean_c = 1/M sum_m x_mc, var_c = 1/M sum_m (x_mc - mean_c)^2."""
    _check_channels(x, mean)
    _check_channels(x, var)
    center, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            center[c] += x[m, c]
    center /= x.shape[0]
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            squares[c] += (x[m, c] - center[c]) ** 2
    mean[:] = center
    var[:] = squares / x.shape[0]


@kernel()
def running_moments(mean, var, count, momentum, running_mean, running_var, before):
    """running_mean = (1 - momentum) running_mean + momentum mean, and running_var likewise (unbiased)."""
    if not (mean.shape == var.shape == running_mean.shape == running_var.shape):
        raise ValueError("mean, var, running_mean and running_var must have the same shape (C,)")
    if before.shape != (2, len(mean)):
        raise ValueError("before must have shape (2, C)")
    unbiased = count / (count - 1)
    before[0], before[1] = running_mean, running_var
    for c in range(len(mean)):
        running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c]
        running_var[c] = (1 - momentum) * running_var[c] + momentum * (var[c] * unbiased)


@kernel()
def batch_norm_forward(x, mean, var, gamma, beta, epsilon, y):
    """y_mc = (x_mc - mean_c) / sqrt(var_c + epsilon) gamma_c + beta_c."""
    _check_rows(x, y)
    _check_channels(x, mean)
    scale = _scale(x, var, gamma, epsilon)
    shift = _or_zeros(x, beta)
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            y[m, c] = (x[m, c] - mean[c]) * scale[c] + shift[c]


@kernel()
def batch_norm_sums(x, dy, mean, var, epsilon, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc (x_mc - mean_c) / sqrt(var_c + epsilon), dbeta_c = sum_m dy_mc."""
    _check_rows(x, dy)
    for channels in (mean, dgamma, dbeta):
        _check_channels(x, channels)
    scale = _scale(x, var, None, epsilon)
    sums, products = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            sums[c] += dy[m, c]
            products[c] += dy[m, c] * (x[m, c] - mean[c])
    dbeta[:] = sums
    dgamma[:] = products * scale


@kernel()
def batch_norm_dx(x, dy, mean, var, gamma, epsilon, dgamma, dbeta, dx):
    """dx = gamma rstd (dy - dbeta / M - xhat dgamma / M), xhat = (x - mean) rstd."""
    _check_rows(x, dy)
    _check_rows(x, dx)
    _check_channels(x, mean)
    if (dgamma is None) != (dbeta is None):
        raise ValueError("dgamma and dbeta must both be arrays or both be None")
    scale = _scale(x, var, gamma, epsilon)
    a = _or_zeros(x, dbeta) / x.shape[0]
    b = _or_zeros(x, dgamma) * _scale(x, var, None, epsilon) / x.shape[0]
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            dx[m, c] = scale[c] * (dy[m, c] - a[c] - (x[m, c] - mean[c]) * b[c])


@kernel()
def layer_norm_forward(x, gamma, beta, epsilon, y, moments):
    """y_mc = (x_mc - mean_m) / sqrt(var_m + epsilon) gamma_c + beta_c, with mean_m and var_m over all c."""
    _check_rows(x, y)
    _check_moments(x, moments)
    scale, shift = _or_ones(x, gamma), _or_zeros(x, beta)
    for m in range(x.shape[0]):
        center, squares = 0.0, 0.0
        for c in range(x.shape[1]):
            center += x[m, c]
        center /= x.shape[1]
        for c in range(x.shape[1]):
            squares += (x[m, c] - center) ** 2
        moments[m, 0] = center
        moments[m, 1] = 1 / np.sqrt(squares / x.shape[1] + epsilon)
        for c in range(x.shape[1]):
            y[m, c] = (x[m, c] - moments[m, 0]) * moments[m, 1] * scale[c] + shift[c]


@kernel()
def layer_norm_dx(x, dy, gamma, moments, dx):
    """dx = rstd (g - mean_c(g) - xhat mean_c(g xhat)), g = dy gamma, xhat = (x - mean) rstd."""
    _check_rows(x, dy)
    _check_rows(x, dx)
    _check_moments(x, moments)
    scale = _or_ones(x, gamma)
    for m in range(x.shape[0]):
        mean, inverse = moments[m, 0], moments[m, 1]
        a, b = 0.0, 0.0
        for c in range(x.shape[1]):
            a += dy[m, c] * scale[c]
            b += dy[m, c] * scale[c] * ((x[m, c] - mean) * inverse)
        a /= x.shape[1]
        b /= x.shape[1]
        for c in range(x.shape[1]):
            dx[m, c] = inverse * (dy[m, c] * scale[c] - a - (x[m, c] - mean) * inverse * b)


@kernel()
def layer_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc xhat_mc, dbeta_c = sum_m dy_mc, xhat = (x - mean) rstd."""
    _check_rows(x, dy)
    _check_moments(x, moments)
    _check_channels(x, dgamma)
    _check_channels(x, dbeta)
    sums, products = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            sums[c] += dy[m, c]
            products[c] += dy[m, c] * ((x[m, c] - moments[m, 0]) * moments[m, 1])
    dbeta[:] = sums
    dgamma[:] = products


@jit
def _scale(x, var, gamma, epsilon):
    """gamma / sqrt(var + epsilon), in float64."""
    _check_channels(x, var)
    return _or_ones(x, gamma) / np.sqrt(var + epsilon)


@jit
def _or_ones(x, channels):
    """`channels` (C,) in float64; ones for None, where x is (M, C)."""
    values = np.ones(x.shape[1])
    if channels is not None:
        _check_channels(x, channels)
        values[:] = channels
    return values


@jit
def _or_zeros(x, channels):
    """`channels` (C,) in float64; zeros for None, where x is (M, C)."""
    return np.zeros(x.shape[1]) if channels is None else _or_ones(x, channels)


@jit
def _check_rows(x, y):
    if x.shape != y.shape:
        raise ValueError("x, its gradient and the output must have the same shape (M, C)")


@jit
def _check_channels(x, channels):
    if x.shape[1:] != channels.shape:
        raise ValueError("mean, var, gamma, beta and their gradients must have shape (C,)")


@jit
def _check_moments(x, moments):
    if moments.shape != (x.shape[0], 2):
        raise ValueError("moments must have shape (M, 2), where x is (M, C)")
