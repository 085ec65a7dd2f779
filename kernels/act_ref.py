"""Activations and their gradients, and a sum, in NumPy: the specification.

Elementwise on arrays of any one shape, softmax on rows (M, C).
Gradients are taken from the output `y`, which every layer above needs anyway.
"""

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
