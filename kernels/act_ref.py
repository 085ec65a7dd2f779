"""Activations and their gradients, and a sum, in NumPy: the specification.

Elementwise on arrays of any one shape, softmax on rows (M, C).
Gradients are taken from the output `y`, which every layer above needs anyway, or from the input `x` where the
output does not tell.
"""

import math

import numpy as np


def relu_forward(x, y):
    """y = max(x, 0), with relu(nan) = nan."""
    np.maximum(x, 0, out=y)


def relu_dx(y, dy, dx):
    """dx = dy where y > 0, else 0 (so 0 at x = 0; a nan in y lets dy through, as in PyTorch)."""
    dx[...] = np.where(y <= 0, 0, dy)


def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow."""
    e = np.exp(-np.abs(x))
    y[...] = np.where(x >= 0, 1, e) / (1 + e)


def sigmoid_dx(y, dy, dx):
    """dx = dy y (1 - y)."""
    dx[...] = dy * (y * (1 - y))


def tanh_forward(x, y):
    """y = tanh(x)."""
    np.tanh(x, out=y)


def tanh_dx(y, dy, dx):
    """dx = dy (1 - y^2)."""
    dx[...] = dy * (1 - y * y)


def leaky_relu_forward(x, slope, y):
    """y = x where x > 0, else slope x, slope at least 0."""
    y[...] = np.where(x < 0, x * x.dtype.type(slope), x)


def leaky_relu_dx(y, dy, slope, dx):
    """dx = dy where y > 0, else slope dy."""
    dx[...] = np.where(y <= 0, dy * y.dtype.type(slope), dy)


def elu_forward(x, alpha, y):
    """y = x where x > 0, else alpha (exp(x) - 1), alpha at least 0: Clevert et al. 2015."""
    y[...] = np.where(x < 0, np.expm1(np.minimum(x, 0)) * x.dtype.type(alpha), x)


def elu_dx(y, dy, alpha, dx):
    """dx = dy where y > 0, else dy (y + alpha), which is dy alpha exp(x)."""
    dx[...] = np.where(y <= 0, dy * (y + y.dtype.type(alpha)), dy)


def gelu_forward(x, by_tanh, y):
    """y = x Phi(x), Phi(x) = erfc(-x / sqrt(2)) / 2 the normal distribution: Hendrycks and Gimpel 2016.

    `by_tanh`: Phi(x) ~ (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """
    y[...] = x * (_normal_by_tanh(x)[0] if by_tanh else _normal(x))


def gelu_dx(x, dy, by_tanh, dx):
    """dx = dy (Phi(x) + x Phi'(x)), Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi) unless `by_tanh`."""
    if by_tanh:
        integral, density = _normal_by_tanh(x)
    else:
        integral, density = _normal(x), np.exp(x * x * -0.5) / math.sqrt(2 * math.pi)
    dx[...] = dy * (integral + x * density)


def silu_forward(x, y):
    """y = x sigmoid(x): the Swish of Ramachandran et al. 2017."""
    sigmoid_forward(x, y)
    y *= x


def silu_dx(x, dy, dx):
    """dx = dy s (1 + x (1 - s)), s = sigmoid(x)."""
    s = np.empty_like(x)
    sigmoid_forward(x, s)
    dx[...] = dy * (s * (1 + x * (1 - s)))


def _normal(x):
    """Phi(x), in float64 and element by element: NumPy has no erfc."""
    each = [0.5 * math.erfc(value / -math.sqrt(2)) for value in x.ravel().tolist()]
    return np.array(each, np.float64).reshape(x.shape)


def _normal_by_tanh(x):
    """Phi(x) by the tanh, and its derivative."""
    root, cubic = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(root * (x + cubic * (x * x * x)))
    return 0.5 * (1 + t), 0.5 * (1 - t * t) * (root * (1 + 3 * cubic * (x * x)))


def add(x1, x2, y):
    """y = x1 + x2."""
    np.add(x1, x2, out=y)


def softmax_forward(x, y):
    """y_mc = exp(x_mc - max_c x_mc) / sum_c exp(x_mc - max_c x_mc).  x (M, C) -> y (M, C)."""
    if x.size == 0:
        return
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y[...] = e / e.sum(axis=1, keepdims=True)


def softmax_dx(y, dy, dx):
    """dx_mc = y_mc (dy_mc - sum_c y_mc dy_mc).  y, dy (M, C) -> dx (M, C)."""
    dx[...] = y * (dy - (y * dy).sum(axis=1, keepdims=True))
