"""Reference kernels of the dense (fully connected) layer, in NumPy: the specification.

Letters: M rows, K features in, N features out (kernels/README.md); "->" separates inputs from outputs.
All arrays of a call may have a leading dimension B: then each of the B matrices is a problem of its own.
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
    """dx = dy w^T, the gradient of the input.

    dy (M, N), w (K, N) -> dx (M, K);
    dy (B, M, N), w (B, K, N) -> dx (B, M, K).
    """
    np.matmul(dy, w.swapaxes(-1, -2), out=dx)


def dense_dw(x, dy, dw):
    """dw = x^T dy, the gradient of the weights.

    x (M, K), dy (M, N) -> dw (K, N);
    x (B, M, K), dy (B, M, N) -> dw (B, K, N).
    """
    np.matmul(x.swapaxes(-1, -2), dy, out=dw)


def dense_db(dy, db):
    """db_n = sum_m dy_mn, the gradient of the bias.

    dy (M, N) -> db (N,);
    dy (B, M, N) -> db (B, N).
    """
    np.sum(dy, axis=-2, out=db)
