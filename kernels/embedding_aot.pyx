# distutils: language = c++
"""Argument checks of the compiled embedding (embedding.hpp). embedding_ref.py specifies the results."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport (
    CHECK_WHOLE, Call, EmbeddingSizes, Execute, IndexCheck, KernelId, Note, executor, floats, kernel_id,
    new_call, noter, passes, shape_error,
)

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()

cdef KernelId EMBEDDING_FORWARD = kernel_id("embedding_forward")
cdef KernelId EMBEDDING_DW = kernel_id("embedding_dw")


def embedding_forward(x, w, y):
    """y_m = w[x_m]."""
    cdef cnp.ndarray ax, aw, ay
    cdef Call check
    cdef Call call = new_call(EMBEDDING_FORWARD, x, "x")
    ax, aw, ay = floats(&call, "x", x), floats(&call, "w", w), floats(&call, "y", y)
    if not _fit(ax, ay, aw):
        raise shape_error("x (M,), w (V, D), y (M, D)", {"x": x, "w": w, "y": y})
    check.kernel = CHECK_WHOLE
    check.is_double = call.is_double
    check.array[0] = ax.data
    check.set_sizes(IndexCheck(ax.size, aw.shape[0]))
    if not passes(check):
        raise IndexError(f"x must hold whole numbers in [0, {aw.shape[0]})")
    note(&check)
    _run(&call, ax, aw, -1)


def embedding_dw(x, dy, int64_t padding, dw):
    """dw_v = sum of dy_m over all m with x_m = v; 0 for v = padding."""
    cdef cnp.ndarray ax, ady, adw
    cdef Call call = new_call(EMBEDDING_DW, x, "x")
    ax, ady, adw = floats(&call, "x", x), floats(&call, "dy", dy), floats(&call, "dw", dw)
    if not _fit(ax, ady, adw):
        raise shape_error("x (M,), dy (M, D), dw (V, D)", {"x": x, "dy": dy, "dw": dw})
    _run(&call, ax, adw, padding)


cdef bint _fit(cnp.ndarray x, cnp.ndarray y, cnp.ndarray w):
    """Whether the shapes are (M,), (M, D) and (V, D)."""
    return (
        x.ndim == 1
        and y.ndim == 2
        and w.ndim == 2
        and y.shape[0] == x.shape[0]
        and y.shape[1] == w.shape[1]
    )


cdef int _run(Call *call, cnp.ndarray x, cnp.ndarray w, int64_t padding) except -1:
    call.set_sizes(EmbeddingSizes(x.shape[0], w.shape[1], w.shape[0], padding))
    call.work = 4.0 * x.shape[0] * w.shape[1]
    if call.kernel == EMBEDDING_DW:
        call.work += w.size  # which is cleared
    return execute(call)
