"""Reference activations and their gradients, and the sum of two arrays, in NumPy: the specification.

All kernels are elementwise, on arrays of one shape, except softmax, which works on rows (M, C). Letters are
declared in kernels/README.md; "->" separates inputs from outputs.
A gradient kernel takes the output `y`, which the layer above keeps anyway, wherever `y` determines the
derivative, and the input `x` elsewhere (GELU, SiLU).
"""

import math

import numpy as np


def relu_forward(x, y):
    """y = max(x, 0).

    x -> y of the same shape. NaN propagates: relu(NaN) = NaN.
    """
    np.maximum(x, 0, out=y)


def relu_dx(y, dy, dx):
    """dx = dy where y > 0, else 0.

    y, dy -> dx of the same shape. The derivative at x = 0 is 0. Where y is NaN, dx = dy, as in PyTorch.
    """
    dx[...] = np.where(y <= 0, 0, dy)


def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x)).

    x -> y of the same shape. Computed from exp(-|x|), which cannot overflow.
    """
    e = np.exp(-np.abs(x))
    y[...] = np.where(x >= 0, 1, e) / (1 + e)


def sigmoid_dx(y, dy, dx):
    """dx = dy y (1 - y).  y, dy -> dx of the same shape."""
    dx[...] = dy * (y * (1 - y))


def tanh_forward(x, y):
    """y = tanh(x).  x -> y of the same shape."""
    np.tanh(x, out=y)


def tanh_dx(y, dy, dx):
    """dx = dy (1 - y^2).  y, dy -> dx of the same shape."""
    dx[...] = dy * (1 - y * y)


def leaky_relu_forward(x, slope, y):
    """y = x where x > 0, else slope x.

    x, slope >= 0 (a Python float) -> y of the same shape.
    """
    y[...] = np.where(x < 0, x * x.dtype.type(slope), x)


def leaky_relu_dx(y, dy, slope, dx):
    """dx = dy where y > 0, else slope dy.

    y, dy, slope >= 0 (a Python float) -> dx of the same shape. Since slope >= 0, y > 0 exactly where x > 0.
    Where y is NaN, dx = slope dy, as in PyTorch.
    """
    dx[...] = np.where(y > 0, dy, dy * y.dtype.type(slope))


def elu_forward(x, alpha, y):
    """y = x where x > 0, else alpha (exp(x) - 1).

    x, alpha >= 0 (a Python float) -> y of the same shape. Clevert et al. 2015.
    """
    y[...] = np.where(x < 0, np.expm1(np.minimum(x, 0)) * x.dtype.type(alpha), x)


def elu_dx(y, dy, alpha, dx):
    """dx = dy where y > 0, else dy (y + alpha).

    y, dy, alpha >= 0 (a Python float) -> dx of the same shape. For x <= 0, y + alpha = alpha exp(x).
    Where y is NaN, so is dx.
    """
    dx[...] = np.where(y > 0, dy, dy * (y + y.dtype.type(alpha)))


def gelu_forward(x, by_tanh, y):
    """y = x Phi(x),  Phi(x) = erfc(-x / sqrt(2)) / 2.

    x, by_tanh (bool) -> y of the same shape. Phi is the cumulative distribution function of the standard
    normal distribution. With `by_tanh`, Phi(x) ~ (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    Hendrycks & Gimpel 2016.
    """
    y[...] = x * (_normal_cdf_by_tanh(x)[0] if by_tanh else _normal_cdf(x))


def gelu_dx(x, dy, by_tanh, dx):
    """dx = dy (Phi(x) + x Phi'(x)),  Phi'(x) = exp(-x^2 / 2) / sqrt(2 pi).

    x, dy, by_tanh (bool) -> dx of the same shape. With `by_tanh`, Phi and Phi' are the tanh approximation of
    `gelu_forward` and its derivative.
    """
    if by_tanh:
        cdf, density = _normal_cdf_by_tanh(x)
    else:
        cdf, density = _normal_cdf(x), np.exp(x * x * -0.5) / math.sqrt(2 * math.pi)
    dx[...] = dy * (cdf + x * density)


def silu_forward(x, y):
    """y = x sigmoid(x).

    x -> y of the same shape. Also called Swish: Ramachandran et al. 2017.
    """
    sigmoid_forward(x, y)
    y *= x


def silu_dx(x, dy, dx):
    """dx = dy s (1 + x (1 - s)),  s = sigmoid(x).  x, dy -> dx of the same shape."""
    s = np.empty_like(x)
    sigmoid_forward(x, s)
    dx[...] = dy * (s * (1 + x * (1 - s)))


def _normal_cdf(x):
    """Phi(x), in float64 and element by element, because NumPy has no erfc."""
    each = [0.5 * math.erfc(value / -math.sqrt(2)) for value in x.ravel().tolist()]
    return np.array(each, np.float64).reshape(x.shape)


def _normal_cdf_by_tanh(x):
    """The tanh approximation of Phi(x), and its derivative.

    (1 + tanh(u)) / 2 = sigmoid(2 u), which keeps its digits where u is negative and the sum cancels.
    """
    factor, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    within = np.clip(x, -39, 39)  # beyond, Phi is 0 or 1, and the cube could overflow
    square = within * within
    cdf = np.empty_like(x)
    sigmoid_forward(factor * within * (1 + cubic * square), cdf)
    return cdf, cdf * (1 - cdf) * (factor * (1 + 3 * cubic * square))


def add(x1, x2, y):
    """y = x1 + x2.  x1, x2 -> y of the same shape."""
    np.add(x1, x2, out=y)


def add_bias(x, b, y):
    """y_mc = x_mc + b_c.  x (M, C), b (C,) -> y (M, C)."""
    np.add(x, b, out=y)


def softmax_forward(x, y):
    """y_mc = exp(x_mc - max_c x_mc) / sum_c exp(x_mc - max_c x_mc).

    x (M, C) -> y (M, C). Subtracting the maximum prevents overflow. A NaN makes its whole row NaN.
    """
    if x.size == 0:
        return
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y[...] = e / e.sum(axis=1, keepdims=True)


def softmax_dx(y, dy, dx):
    """dx_mc = y_mc (dy_mc - sum_c y_mc dy_mc).

    y, dy (M, C) -> dx (M, C).
    """
    dx[...] = y * (dy - (y * dy).sum(axis=1, keepdims=True))
