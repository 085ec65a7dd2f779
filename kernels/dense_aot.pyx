# distutils: language = c++
"""Argument checks of the compiled dense kernels (dense.hpp). dense_ref.py specifies the results."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport Call, DenseSizes, Execute, KernelId, executor, floats, kernel_id, new_call, shape_error

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId DENSE_FORWARD = kernel_id("dense_forward")
cdef KernelId DENSE_DX = kernel_id("dense_dx")
cdef KernelId DENSE_DW = kernel_id("dense_dw")
cdef KernelId DENSE_DB = kernel_id("dense_db")

# FLOP that a float costs which another core has written: reading it, and taking it back afterwards (on Zen 4,
# 256 cache lines of neighbouring cores: 1.3 us; of distant ones 6 us).
cdef double MOVED = 100.0

# Outputs of a row up to which reading x counts.
cdef int64_t FEW_OUTPUTS = 16

cdef str BATCHED = ", or all with a leading batch axis"


def dense_forward(x, w, b, y):
    """y = x w + b."""
    cdef cnp.ndarray ax, aw, ay
    cdef Call call = new_call(DENSE_FORWARD, x, "x")
    ax, aw, ay = floats(&call, "x", x), floats(&call, "w", w), floats(&call, "y", y)
    if not _fit(&call, ax, aw, ay):
        raise shape_error(f"x (M, K), w (K, N), y (M, N){BATCHED}", {"x": x, "w": w, "y": y})
    if b is not None and not _is_vector_per_matrix(floats(&call, "b", b), aw):
        raise shape_error(f"b (N,) and w (K, N){BATCHED}", {"b": b, "w": w})
    if ay.shape[ay.ndim - 1] <= FEW_OUTPUTS:
        call.work += MOVED * ax.size
    execute(&call)


def dense_dx(dy, w, dx):
    """dx = dy w^T."""
    cdef cnp.ndarray ady, aw, adx
    cdef Call call = new_call(DENSE_DX, dy, "dy")
    ady, aw, adx = floats(&call, "dy", dy), floats(&call, "w", w), floats(&call, "dx", dx)
    if not _fit(&call, adx, aw, ady):
        raise shape_error(f"dy (M, N), w (K, N), dx (M, K){BATCHED}", {"dy": dy, "w": w, "dx": dx})
    call.work += 64.0 * adx.size  # transposing dx, which counts where N is small
    execute(&call)


def dense_dw(x, dy, dw):
    """dw = x^T dy."""
    cdef cnp.ndarray ax, ady, adw
    cdef Call call = new_call(DENSE_DW, x, "x")
    ax, ady, adw = floats(&call, "x", x), floats(&call, "dy", dy), floats(&call, "dw", dw)
    if not _fit(&call, ax, adw, ady):
        raise shape_error(f"x (M, K), dy (M, N), dw (K, N){BATCHED}", {"x": x, "dy": dy, "dw": dw})
    execute(&call)


def dense_db(dy, db):
    """db = sum of dy over its rows."""
    cdef cnp.ndarray ady, adb
    cdef DenseSizes sizes
    cdef Call call = new_call(DENSE_DB, dy, "dy")
    ady, adb = floats(&call, "dy", dy), floats(&call, "db", db)
    if not (_is_matrix(ady) and _is_vector_per_matrix(adb, ady)):
        raise shape_error(f"dy (M, N), db (N,){BATCHED}", {"dy": dy, "db": db})
    sizes.batch = ady.shape[0] if ady.ndim == 3 else 1
    sizes.M, sizes.K, sizes.N = ady.shape[ady.ndim - 2], 0, ady.shape[ady.ndim - 1]
    call.set_sizes(sizes)
    call.work = MOVED * ady.size
    execute(&call)


cdef bint _is_matrix(cnp.ndarray a):
    return a.ndim == 2 or a.ndim == 3


cdef bint _is_vector_per_matrix(cnp.ndarray vector, cnp.ndarray matrix):
    """Whether vector is ([B,] N) for a matrix ([B,] ., N)."""
    return (
        vector.ndim == matrix.ndim - 1
        and vector.shape[vector.ndim - 1] == matrix.shape[matrix.ndim - 1]
        and (matrix.ndim == 2 or vector.shape[0] == matrix.shape[0])
    )


cdef bint _fit(Call *call, cnp.ndarray mk, cnp.ndarray kn, cnp.ndarray mn):
    """Set the sizes and the work; return whether the shapes are ([B,] M, K), ([B,] K, N) and ([B,] M, N)."""
    cdef DenseSizes sizes
    cdef int last = mk.ndim - 1
    if not (_is_matrix(mk) and kn.ndim == mk.ndim and mn.ndim == mk.ndim):
        return False
    sizes.batch = mk.shape[0] if last == 2 else 1
    sizes.M, sizes.K, sizes.N = mk.shape[last - 1], mk.shape[last], mn.shape[last]
    call.set_sizes(sizes)
    call.work = 2.0 * sizes.batch * sizes.M * sizes.K * sizes.N
    return (
        kn.shape[last - 1] == sizes.K
        and kn.shape[last] == sizes.N
        and mn.shape[last - 1] == sizes.M
        and (last == 1 or (kn.shape[0] == sizes.batch and mn.shape[0] == sizes.batch))
    )
