"""Numba activations and their gradients, specified by `act_ref.py`.

Constants are first converted to the dtype of the arrays, because Numba computes `1 - y` in float64.
"""

import math

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel
from fastnn.kernels.jit.vmath import exp, expm1_of_negative, sigmoid, tanh


@kernel()
def relu_forward(x, y):
    """y = max(x, 0), with relu(NaN) = NaN, because every comparison with NaN is false."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@kernel()
def relu_dx(y, dy, dx):
    """dx = dy where y > 0 or y is NaN, else 0."""
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
    for i in range(x.size):
        y[i] = sigmoid(x[i])


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
        y[i] = tanh(x[i])


@kernel()
def tanh_dx(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _check(y.shape == dy.shape == dx.shape)
    y, dy, dx = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


@kernel()
def leaky_relu_forward(x, slope, y):
    """y = x where x > 0, else slope x."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    zero, slope = x.dtype.type(0), x.dtype.type(slope)
    for i in range(x.size):
        y[i] = x[i] * slope if x[i] < zero else x[i]


@kernel()
def leaky_relu_dx(y, dy, slope, dx):
    """dx = dy where y > 0, else slope dy."""
    _check(y.shape == dy.shape == dx.shape)
    y, dy, dx = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    zero, slope = y.dtype.type(0), y.dtype.type(slope)
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > zero else dy[i] * slope


@kernel()
def elu_forward(x, alpha, y):
    """y = x where x > 0, else alpha (exp(x) - 1)."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    zero, alpha = x.dtype.type(0), x.dtype.type(alpha)
    for i in range(x.size):
        y[i] = expm1_of_negative(x[i]) * alpha if x[i] < zero else x[i]


@kernel()
def elu_dx(y, dy, alpha, dx):
    """dx = dy where y > 0, else dy (y + alpha)."""
    _check(y.shape == dy.shape == dx.shape)
    y, dy, dx = y.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    zero, alpha = y.dtype.type(0), y.dtype.type(alpha)
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > zero else dy[i] * (y[i] + alpha)


@kernel()
def gelu_forward(x, by_tanh, y):
    """y = x Phi(x), in float64 unless `by_tanh`."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    if by_tanh:
        for i in range(x.size):
            y[i] = x[i] * _normal_cdf_by_tanh(x[i], x.dtype.type)[0]
    else:
        for i in range(x.size):
            y[i] = x[i] * _normal_cdf(np.float64(x[i]))[0]


@kernel()
def gelu_dx(x, dy, by_tanh, dx):
    """dx = dy (Phi(x) + x Phi'(x)), in float64 unless `by_tanh`."""
    _check(x.shape == dy.shape == dx.shape)
    x, dy, dx = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    if by_tanh:
        for i in range(x.size):
            cdf, density = _normal_cdf_by_tanh(x[i], x.dtype.type)
            dx[i] = dy[i] * (cdf + x[i] * density)
    else:
        for i in range(x.size):
            cdf, density = _normal_cdf(np.float64(x[i]))
            dx[i] = dy[i] * (cdf + x[i] * density)


@jit
def _normal_cdf(x):
    """Phi(x) and its derivative. libm's erfc stays accurate in relative terms for x far below 0."""
    return 0.5 * math.erfc(x / -math.sqrt(2)), math.exp(x * x * -0.5) / math.sqrt(2 * math.pi)


@jit
def _normal_cdf_by_tanh(x, T):
    """Phi(x) ~ (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3), and its derivative."""
    factor, cubic, beyond = 2 * math.sqrt(2 / math.pi), 0.044715, T(39)
    a, b, slope = T(factor), T(factor * cubic), T(3 * factor * cubic)
    within = -beyond if x < -beyond else beyond if x > beyond else x  # beyond, Phi is 0 or 1; NaN stays
    square = within * within
    cdf = sigmoid(within * (square * b + a))
    return cdf, cdf * (T(1) - cdf) * (square * slope + a)


@kernel()
def silu_forward(x, y):
    """y = x sigmoid(x)."""
    _check(x.shape == y.shape)
    x, y = x.reshape(-1), y.reshape(-1)
    for i in range(x.size):
        y[i] = x[i] * sigmoid(x[i])


@kernel()
def silu_dx(x, dy, dx):
    """dx = dy s (1 + x (1 - s)), s = sigmoid(x)."""
    _check(x.shape == dy.shape == dx.shape)
    x, dy, dx = x.reshape(-1), dy.reshape(-1), dx.reshape(-1)
    one = x.dtype.type(1)
    for i in range(x.size):
        s = sigmoid(x[i])
        dx[i] = dy[i] * (s * (one + x[i] * (one - s)))


@kernel()
def add(x1, x2, y):
    """y = x1 + x2."""
    _check(x1.shape == x2.shape == y.shape)
    x1, x2, y = x1.reshape(-1), x2.reshape(-1), y.reshape(-1)
    for i in range(y.size):
        y[i] = x1[i] + x2[i]


@kernel()
def add_bias(x, b, y):
    """y_mc = x_mc + b_c."""
    _check(x.shape == y.shape and b.shape == x.shape[1:])
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            y[m, c] = x[m, c] + b[c]


@kernel()
def softmax_forward(x, y):
    """y_mc = exp(x_mc - max_c x_mc) / sum_c exp(x_mc - max_c x_mc).  x (M, C) -> y (M, C)."""
    _check(x.shape == y.shape)
    rows, classes = x.shape
    T = x.dtype.type
    for m in range(rows):
        largest = T(-np.inf)  # max ignores a NaN here, but the sum below becomes NaN, and so does the row
        for c in range(classes):
            largest = max(largest, x[m, c])
        for c in range(classes):
            y[m, c] = exp(x[m, c] - largest)
        total = T(0)
        for c in range(classes):
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
        raise ValueError("all arrays must have the same shape")
