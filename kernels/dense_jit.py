"""Numba kernels of the dense (fully connected) layer, specified by `dense_ref.py`.

All three matrix products use `_add_product`: only an inner loop along contiguous rows vectorizes without
reordering sums. (np.dot would need SciPy.)
"""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel


@kernel()
def dense_forward(x, w, b, y):
    """y = x w + b.  x ([B,] M, K), w ([B,] K, N), b ([B,] N) or None -> y ([B,] M, N)."""
    _check_product(x.shape, w.shape, y.shape)
    if b is not None and b.shape != y.shape[:-2] + y.shape[-1:]:
        raise ValueError("b must have shape ([B,] N), one element for each column of y")
    if x.ndim == 2:
        _forward(x, w, b, y)
    else:
        for i in range(x.shape[0]):
            _forward(x[i], w[i], None if b is None else b[i], y[i])


@kernel()
def dense_dx(dy, w, dx):
    """dx = dy w^T.  dy ([B,] M, N), w ([B,] K, N) -> dx ([B,] M, K)."""
    _check_product(dx.shape, w.shape, dy.shape)
    if dy.ndim == 2:
        _dx(dy, w, dx)
    else:
        for i in range(dy.shape[0]):
            _dx(dy[i], w[i], dx[i])


@kernel()
def dense_dw(x, dy, dw):
    """dw = x^T dy.  x ([B,] M, K), dy ([B,] M, N) -> dw ([B,] K, N)."""
    _check_product(x.shape, dw.shape, dy.shape)
    dw[:] = 0
    if x.ndim == 2:
        _add_product(x.T, dy, dw)
    else:
        for i in range(x.shape[0]):
            _add_product(x[i].T, dy[i], dw[i])


@kernel()
def dense_db(dy, db):
    """db_n = sum_m dy_mn.  dy ([B,] M, N) -> db ([B,] N)."""
    if db.shape != dy.shape[:-2] + dy.shape[-1:]:
        raise ValueError("db must have shape ([B,] N), one element for each column of dy")
    db[:] = 0
    if dy.ndim == 2:
        _add_rows(dy, db)
    else:
        for i in range(dy.shape[0]):
            _add_rows(dy[i], db[i])


@jit
def _check_product(x, w, y):
    """Shapes ([B,] M, K), ([B,] K, N), ([B,] M, N)."""
    if not (x[:-2] == w[:-2] == y[:-2] and x[-2] == y[-2] and x[-1] == w[-2] and w[-1] == y[-1]):
        raise ValueError("shapes must be x ([B,] M, K), w ([B,] K, N) and y ([B,] M, N)")


@jit
def _forward(x, w, b, y):
    if b is None:
        y[:] = 0
    else:
        y[:] = b
    _add_product(x, w, y)


@jit
def _dx(dy, w, dx):
    dx[:] = 0
    # Transposing w costs a fraction of the product. A dot product of two rows would not vectorize.
    _add_product(dy, np.ascontiguousarray(w.T), dx)


@jit
def _add_product(a, b, c):
    """c += a b.  a (I, K), b (K, J), c (I, J).

    One pass adds four terms to each of four rows of c, so 16 products share 4 loads of b and 4 stores of c:
    75 to 155 GFLOP/s in float32 with AVX-512, against 25 for one row and one term at a time. The terms of
    an element are added one by one, in ascending order, whether or not the element lies in a full block.
    """
    rows, columns = c.shape
    terms = len(b)
    blocked_rows, blocked_terms = rows - rows % 4, terms - terms % 4
    for i in range(0, blocked_rows, 4):
        c0, c1, c2, c3 = c[i], c[i + 1], c[i + 2], c[i + 3]
        for k in range(0, blocked_terms, 4):
            a0, a1, a2, a3 = _four(a, i, k), _four(a, i + 1, k), _four(a, i + 2, k), _four(a, i + 3, k)
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(columns):
                bj = b0[j], b1[j], b2[j], b3[j]
                c0[j] = _add_four(c0[j], a0, bj)
                c1[j] = _add_four(c1[j], a1, bj)
                c2[j] = _add_four(c2[j], a2, bj)
                c3[j] = _add_four(c3[j], a3, bj)
    # The remaining terms of the blocked rows, and all terms of the remaining rows.
    for i in range(rows):
        ci = c[i]
        for k in range(blocked_terms if i < blocked_rows else 0, terms):
            aik, bk = a[i, k], b[k]
            for j in range(columns):
                ci[j] += aik * bk[j]


@jit
def _four(a, i, k):
    return a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]


@jit
def _add_four(total, a, b):
    return total + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]


@jit
def _add_rows(dy, db):
    for m in range(dy.shape[0]):
        for n in range(dy.shape[1]):
            db[n] += dy[m, n]
