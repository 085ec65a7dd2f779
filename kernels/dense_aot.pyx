# distutils: language = c++
"""Dense kernels, compiled: argument checks around dense.hpp. What they compute: dense_ref.py."""

cimport numpy as cnp

from native cimport (
    DENSE_DB, DENSE_DW, DENSE_DX, DENSE_FORWARD, Call, Execute, executor, expect_shape, input, new_call,
    output,
)

cnp.import_array()

cdef Execute execute = executor()


def dense_forward(x, w, b, y):
    """y = x w + b."""
    cdef cnp.ndarray ax, aw, ab, ay
    cdef Call call = new_call(DENSE_FORWARD, x, "x")
    ax, aw, ay = input(x, "x", &call), input(w, "w", &call), output(y, "y", &call)
    _sizes(&call, ax, aw, ay, "x (M, K), w (K, N), y (M, N)")
    call.array[0], call.array[1], call.array[3] = ax.data, aw.data, ay.data
    if b is not None:
        ab = input(b, "b", &call)
        _vector_per_matrix(ab, aw, "b (N,)")
        call.array[2] = ab.data
    execute(&call)


def dense_dx(dy, w, dx):
    """dx = dy w^T."""
    cdef cnp.ndarray ady, aw, adx
    cdef Call call = new_call(DENSE_DX, dy, "dy")
    ady, aw, adx = input(dy, "dy", &call), input(w, "w", &call), output(dx, "dx", &call)
    _sizes(&call, adx, aw, ady, "dy (M, N), w (K, N), dx (M, K)")
    call.array[0], call.array[1], call.array[2] = ady.data, aw.data, adx.data
    call.work += 32.0 * adx.size  # transposing dx, which counts where N is small
    execute(&call)


def dense_dw(x, dy, dw):
    """dw = x^T dy."""
    cdef cnp.ndarray ax, ady, adw
    cdef Call call = new_call(DENSE_DW, x, "x")
    ax, ady, adw = input(x, "x", &call), input(dy, "dy", &call), output(dw, "dw", &call)
    _sizes(&call, ax, adw, ady, "x (M, K), dy (M, N), dw (K, N)")
    call.array[0], call.array[1], call.array[2] = ax.data, ady.data, adw.data
    execute(&call)


def dense_db(dy, db):
    """db = sum of dy over its rows."""
    cdef cnp.ndarray ady, adb
    cdef Call call = new_call(DENSE_DB, dy, "dy")
    ady, adb = input(dy, "dy", &call), output(db, "db", &call)
    _check_rank(ady, "dy")
    _vector_per_matrix(adb, ady, "db (N,)")
    call.size[0] = ady.shape[0] if ady.ndim == 3 else 1
    call.size[1], call.size[3] = ady.shape[ady.ndim - 2], ady.shape[ady.ndim - 1]
    call.array[0], call.array[1] = ady.data, adb.data
    call.work = <double> ady.size
    execute(&call)


cdef int _check_rank(cnp.ndarray a, str name) except -1:
    if a.ndim != 2 and a.ndim != 3:
        raise ValueError(f"{name} must have 2 dimensions, or 3 with one matrix per batch entry, not {a.ndim}")
    return 0


cdef int _vector_per_matrix(cnp.ndarray vector, cnp.ndarray matrix, str name) except -1:
    """vector ([B,] N) beside matrix ([B,] ., N)."""
    expect_shape(
        vector.ndim == matrix.ndim - 1
        and vector.shape[vector.ndim - 1] == matrix.shape[matrix.ndim - 1]
        and (matrix.ndim == 2 or vector.shape[0] == matrix.shape[0]),
        f"{name} is wanted beside a matrix of N columns (with a leading batch for 3-D)",
    )
    return 0


cdef int _sizes(Call *call, cnp.ndarray mk, cnp.ndarray kn, cnp.ndarray mn, str wanted) except -1:
    """Set batch, M, K, N from three arrays ([B,] M, K), ([B,] K, N), ([B,] M, N) that must agree."""
    cdef int last
    _check_rank(mk, "an array")
    last = mk.ndim - 1
    expect_shape(kn.ndim == mk.ndim and mn.ndim == mk.ndim, f"{wanted} are wanted, all 2-D or all 3-D")
    expect_shape(
        mk.shape[last] == kn.shape[last - 1]
        and kn.shape[last] == mn.shape[last]
        and mk.shape[last - 1] == mn.shape[last - 1]
        and (last == 1 or (mk.shape[0] == kn.shape[0] and mk.shape[0] == mn.shape[0])),
        f"{wanted} are wanted",
    )
    call.size[0] = mk.shape[0] if last == 2 else 1
    call.size[1], call.size[2], call.size[3] = mk.shape[last - 1], mk.shape[last], mn.shape[last]
    call.work = 2.0 * call.size[0] * call.size[1] * call.size[2] * call.size[3]
    return 0
