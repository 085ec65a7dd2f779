"""Dense (fully connected) kernels in NumPy: the specification.

Every array may be 2-D, or 3-D with one matrix per batch entry (`B` first).
"""

import numpy as np


def dense_forward(x, w, b, y):
    """y = x w + b.

    x (M, K), w (K, N), b (N,) or None -> y (M, N);
    x (B, M, K), w (B, K, N), b (B, N) or None -> y (B, M, N).
    """
    np.matmul(x, w, out=y)
    if b is not None:
        y += b[..., None, :]


def dense_dx(dy, w, dx):
    """dx = dy w^T.  dy ([B,] M, N), w ([B,] K, N) -> dx ([B,] M, K)."""
    np.matmul(dy, w.swapaxes(-1, -2), out=dx)


def dense_dw(x, dy, dw):
    """dw = x^T dy.  x ([B,] M, K), dy ([B,] M, N) -> dw ([B,] K, N)."""
    np.matmul(x.swapaxes(-1, -2), dy, out=dw)


def dense_db(dy, db):
    """db = sum of dy over its rows.  dy ([B,] M, N) -> db ([B,] N)."""
    np.sum(dy, axis=-2, out=db)
