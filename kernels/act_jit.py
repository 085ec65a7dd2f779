"""Activations and their gradients in Numba: the twin of `act_ref.py`.

Constants are made of the arrays' own type first: Numba computes `1 - y` in float64.
"""

import math

import numpy as np

from fastnn.kernels.numba_cache import jit, kernel


@kernel()
def relu_forward(x, y):
    """y = max(x, 0), with relu(nan) = nan: no comparison with nan is true."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@kernel()
def relu_dx(y, dy, dx):
    """dx = dy where y > 0 or y is nan, else 0."""
    _check(y.shape == dy.shape == dx.shape)
    y, dy, dx = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    zero = y.dtype.type(0)
    for i in range(y.size):
        dx[i] = zero if y[i] <= zero else dy[i]


@kernel()
def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in range(x.size):
        e = math.exp(-abs(x[i]))
        y[i] = (one if x[i] >= zero else e) / (one + e)


@kernel()
def sigmoid_dx(y, dy, dx):
    """dx = dy y (1 - y)."""
    _check(y.shape == dy.shape == dx.shape)
    y, dy, dx = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * (y[i] * (one - y[i]))


@kernel()
def tanh_forward(x, y):
    """y = tanh(x)."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    for i in range(x.size):
        y[i] = math.tanh(x[i])


@kernel()
def tanh_dx(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _check(y.shape == dy.shape == dx.shape)
    y, dy, dx = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


@kernel()
def add(x1, x2, y):
    """y = x1 + x2."""
    _check(x1.shape == x2.shape == y.shape)
    x1, x2, y = x1.reshape(-1), x2.reshape(-1), y.reshape(-1)
    for i in range(y.size):
        y[i] = x1[i] + x2[i]


@kernel()
def softmax_forward(x, y):
    """y_mc = exp(x_mc - max_c x_mc) / sum_c exp(x_mc - max_c x_mc).  x (M, C) -> y (M, C)."""
    _check(x.shape == y.shape)
    rows, classes = x.shape
    T = x.dtype.type
    for m in range(rows):
        largest = T(-np.inf)  # a nan is never larger; it makes the sum nan, and so the whole row
        for c in range(classes):
            largest = max(largest, x[m, c])
        total = T(0)
        for c in range(classes):
            y[m, c] = math.exp(x[m, c] - largest)
            total += y[m, c]
        for c in range(classes):
            y[m, c] /= total


@kernel()
def softmax_dx(y, dy, dx):
    """dx_mc = y_mc (dy_mc - sum_c y_mc dy_mc).  y, dy (M, C) -> dx (M, C)."""
    _check(y.shape == dy.shape == dx.shape)
    rows, classes = y.shape
    for m in range(rows):
        total = y.dtype.type(0)
        for c in range(classes):
            total += y[m, c] * dy[m, c]
        for c in range(classes):
            dx[m, c] = y[m, c] * (dy[m, c] - total)


@jit
def _check(same_shape):
    if not same_shape:
        raise ValueError("the arrays must have one shape")
