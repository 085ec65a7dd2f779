"""Numba embedding and its gradient: the same bits as their specification, `embedding_ref.py`."""

import numpy as np

from fastnn.kernels.jit.indices import load_once
from fastnn.kernels.jit.numba_cache import jit, kernel


@kernel()
def embedding_forward(x, w, y):
    """y_m = w[x_m]."""
    _check(x, y, w)
    for m in range(len(x)):
        if _row(x, m, len(w)) < 0:
            raise IndexError("index out of range")
    for m in range(len(x)):
        row = _row(x, m, len(w))
        if row < 0:  # changed by another thread since the check
            y[m] = np.nan
        else:
            y[m] = w[row]


@kernel()
def embedding_dw(x, dy, padding, dw):
    """dw_v = sum of dy_m over all m with x_m = v, in ascending order; 0 for v = padding."""
    _check(x, dy, dw)
    dw[:] = 0
    for m in range(len(x)):
        row = _row(x, m, len(dw))
        if row >= 0 and row != padding:
            for d in range(dw.shape[1]):
                dw[row, d] += dy[m, d]


@jit
def _row(x, m, limit):
    """x[m] as an integer if it is a whole number in [0, limit), else -1."""
    value = load_once(x, m)
    if not 0 <= value < limit:
        return -1
    row = np.int64(value)
    return row if row == value else -1


@jit
def _check(x, y, w):
    if y.shape[0] != len(x) or y.shape[1] != w.shape[1]:
        raise ValueError("x must have shape (M,), rows of output or gradient (M, D) and weights (V, D)")
