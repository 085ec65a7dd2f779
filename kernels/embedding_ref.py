"""Reference embedding and its gradient, in NumPy: the specification.

Letters: V rows of D values each, M indices; "->" separates inputs from outputs. The indices are whole
numbers, stored as floats of the dtype of the call: a layer gets them in a mini-batch, which holds floats.
float32 has all whole numbers up to 2^24.
"""

import numpy as np


def embedding_forward(x, w, y):
    """y_m = w[x_m].

    x (M,), w (V, D) -> y (M, D).
    Raises IndexError unless all of x are whole numbers in [0, V), before anything is written.
    """
    index = x.copy()  # no other thread can change it after the check
    if not np.all((index >= 0) & (index < len(w)) & (index == np.floor(index))):
        raise IndexError("index out of range")
    y[...] = w[index.astype(np.int64)]


def embedding_dw(x, dy, padding, dw):
    """dw_v = sum of dy_m over all m with x_m = v, in ascending order; 0 for v = padding (-1: no such row).

    x (M,), dy (M, D) -> dw (V, D). A value of x that is no index adds nothing.
    """
    index = x.copy()  # no other thread can change it after the check
    dw[...] = 0
    counts = (index >= 0) & (index < len(dw)) & (index == np.floor(index)) & (index != padding)
    np.add.at(dw, index[counts].astype(np.int64), dy[counts])
