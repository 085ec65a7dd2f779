"""Numba group normalisation, specified by `group_norm_ref.py`. Sums are computed in float64."""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel


@kernel()
def group_norm_forward(x, groups, gamma, beta, epsilon, y, moments):
    """y_nsc = (x_nsc - mean_nc) rstd_nc gamma_c + beta_c."""
    _check_samples(x, y, groups)
    _check_moments(x, moments)
    scale, shift = _or_constant(x, gamma, 1.0), _or_constant(x, beta, 0.0)
    samples, positions, channels = x.shape
    width = channels // groups
    for n in range(samples):
        for first in range(0, channels, width):
            group = range(first, first + width)
            center, squares = 0.0, 0.0
            for s in range(positions):
                for c in group:
                    center += x[n, s, c]
            center /= positions * width
            for s in range(positions):
                for c in group:
                    squares += (x[n, s, c] - center) ** 2
            moments[n, 0, first : first + width] = center
            moments[n, 1, first : first + width] = 1 / np.sqrt(squares / (positions * width) + epsilon)
        for s in range(positions):
            for c in range(channels):
                normalized = (x[n, s, c] - moments[n, 0, c]) * moments[n, 1, c]
                y[n, s, c] = normalized * scale[c] + shift[c]


@kernel()
def group_norm_dx(x, dy, groups, gamma, moments, dx):
    """dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma, xhat = (x - mean) rstd."""
    _check_samples(x, dy, groups)
    _check_samples(x, dx, groups)
    _check_moments(x, moments)
    scale = _or_constant(x, gamma, 1.0)
    samples, positions, channels = x.shape
    width = channels // groups
    for n in range(samples):
        for first in range(0, channels, width):
            group = range(first, first + width)
            mean, inverse = moments[n, 0, first], moments[n, 1, first]
            a, b = 0.0, 0.0
            for s in range(positions):
                for c in group:
                    a += dy[n, s, c] * scale[c]
                    b += dy[n, s, c] * scale[c] * ((x[n, s, c] - mean) * inverse)
            a /= positions * width
            b /= positions * width
            for s in range(positions):
                for c in group:
                    normalized = (x[n, s, c] - mean) * inverse
                    dx[n, s, c] = inverse * (dy[n, s, c] * scale[c] - a - normalized * b)


@kernel()
def group_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_ns dy_nsc xhat_nsc, dbeta_c = sum_ns dy_nsc, xhat = (x - mean) rstd."""
    _check_samples(x, dy, 1)
    _check_moments(x, moments)
    samples, positions, channels = x.shape
    if dgamma.shape != (channels,) or dbeta.shape != (channels,):
        raise ValueError("dgamma and dbeta must have shape (C,)")
    sums, products = np.zeros(channels), np.zeros(channels)
    for n in range(samples):
        for s in range(positions):
            for c in range(channels):
                sums[c] += dy[n, s, c]
                products[c] += dy[n, s, c] * ((x[n, s, c] - moments[n, 0, c]) * moments[n, 1, c])
    dbeta[:] = sums
    dgamma[:] = products


@jit
def _or_constant(x, channels, constant):
    """`channels` (C,) in float64; the constant for each channel for None, where x is (N, S, C)."""
    values = np.full(x.shape[2], constant)
    if channels is not None:
        if channels.shape != values.shape:
            raise ValueError("gamma and beta must have shape (C,)")
        values[:] = channels
    return values


@jit
def _check_samples(x, y, groups):
    if x.shape != y.shape:
        raise ValueError("x, its gradient and the output must have the same shape (N, S, C)")
    if groups < 1 or x.shape[2] % groups:
        raise ValueError("groups must divide the channels")


@jit
def _check_moments(x, moments):
    if moments.shape != (x.shape[0], 2, x.shape[2]):
        raise ValueError("moments must have shape (N, 2, C), where x is (N, S, C)")
