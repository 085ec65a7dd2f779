"""Reference kernels of the dense layer with operands in bf16, in NumPy: the specification.

bf16 is the upper half of a float32: the same range, 8 bits of precision instead of 24. The operands of each
product are rounded to it, to nearest even; subnormal numbers become 0. The product of two such numbers is
exact in float32, and the sums are float32. All arrays are float32; letters as in `dense_ref.py`.
"""

import numpy as np


def dense_forward_bf16(x, w, b, y):
    """y = bf16(x) bf16(w) + b.

    x (M, K), w (K, N), b (N,) or None -> y (M, N).
    """
    np.matmul(_bf16(x), _bf16(w), out=y)
    if b is not None:
        y += b


def dense_dx_bf16(dy, w, dx):
    """dx = bf16(dy) bf16(w)^T, the gradient of the input.

    dy (M, N), w (K, N) -> dx (M, K).
    """
    np.matmul(_bf16(dy), _bf16(w).T, out=dx)


def dense_dw_bf16(x, dy, dw):
    """dw = bf16(x)^T bf16(dy), the gradient of the weights.

    x (M, K), dy (M, N) -> dw (K, N).
    """
    np.matmul(_bf16(x).T, _bf16(dy), out=dw)


def _bf16(a):
    """The elements of the float32 array `a`, rounded to bf16, as float32."""
    if a.dtype != np.float32:
        raise TypeError(f"the arrays must have dtype float32, as bf16 rounds float32, got {a.dtype}")
    bits = a.view(np.uint32)
    # Half a unit of the last place that is kept, or just less where that place is even already.
    rounded = (bits + (0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    signed_zero = np.copysign(np.float32(0), a)
    rounded = np.where(np.abs(a) < np.finfo(np.float32).tiny, signed_zero, rounded)
    return np.where(np.isnan(a), a, rounded)  # a nan whose upper bits are all set would overflow
