"""Numba kernels of the dense layer with operands in bf16, specified by `dense_bf16_ref.py`.

They emulate bf16 in float32, on any machine: for tests, not for speed.
"""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel

FLOAT = np.float32


@kernel(x=FLOAT, w=FLOAT, b=FLOAT, y=FLOAT)
def dense_forward_bf16(x, w, b, y):
    """y = bf16(x) bf16(w) + b.  x (M, K), w (K, N), b (N,) or None -> y (M, N)."""
    _check_product(x.shape, w.shape, y.shape)
    if b is not None and b.shape != y.shape[1:]:
        raise ValueError("b must have shape (N,), one element for each column of y")
    if b is None:
        y[:] = 0
    else:
        y[:] = b
    _add_product(_bf16(x), _bf16(w), y)


@kernel(dy=FLOAT, w=FLOAT, dx=FLOAT)
def dense_dx_bf16(dy, w, dx):
    """dx = bf16(dy) bf16(w)^T.  dy (M, N), w (K, N) -> dx (M, K)."""
    _check_product(dx.shape, w.shape, dy.shape)
    dx[:] = 0
    _add_product(_bf16(dy), np.ascontiguousarray(_bf16(w).T), dx)


@kernel(x=FLOAT, dy=FLOAT, dw=FLOAT)
def dense_dw_bf16(x, dy, dw):
    """dw = bf16(x)^T bf16(dy).  x (M, K), dy (M, N) -> dw (K, N)."""
    _check_product(x.shape, dw.shape, dy.shape)
    dw[:] = 0
    _add_product(np.ascontiguousarray(_bf16(x).T), _bf16(dy), dw)


@jit
def _check_product(x, w, y):
    """Shapes (M, K), (K, N), (M, N)."""
    if not (x[0] == y[0] and x[1] == w[0] and w[1] == y[1]):
        raise ValueError("shapes must be x (M, K), w (K, N) and y (M, N)")


@jit
def _bf16(a):
    """The elements of the float32 array `a`, rounded to bf16, as float32."""
    rounded = a.copy()
    bits = rounded.reshape(rounded.size).view(np.uint32)
    for i in range(len(bits)):
        magnitude = bits[i] & np.uint32(0x7FFFFFFF)
        if magnitude < np.uint32(0x00800000):  # subnormal
            bits[i] &= np.uint32(0x80000000)
        elif magnitude <= np.uint32(0x7F800000):  # not nan
            half = np.uint32(0x7FFF) + (bits[i] >> np.uint32(16) & np.uint32(1))
            bits[i] = np.uint32(bits[i] + half) & np.uint32(0xFFFF0000)
    return rounded


@jit
def _add_product(a, b, c):
    """c += a b.  a (I, K), b (K, J), c (I, J)."""
    for i in range(c.shape[0]):
        for k in range(a.shape[1]):
            for j in range(c.shape[1]):
                c[i, j] += a[i, k] * b[k, j]
