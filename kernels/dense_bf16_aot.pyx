# distutils: language = c++
"""Argument checks of the compiled bf16 kernels (dense_bf16.hpp). dense_bf16_ref.py specifies the results."""

cimport numpy as cnp

from native cimport Call, DenseSizes, Execute, KernelId, executor, floats, kernel_id, new_call, shape_error

from fastnn.kernels import core

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId DENSE_FORWARD_BF16 = kernel_id("dense_forward_bf16")
cdef KernelId DENSE_DX_BF16 = kernel_id("dense_dx_bf16")
cdef KernelId DENSE_DW_BF16 = kernel_id("dense_dw_bf16")


def dense_forward_bf16(x, w, b, y):
    """y = bf16(x) bf16(w) + b."""
    cdef cnp.ndarray ax, aw, ay, ab
    cdef Call call = _new_call(DENSE_FORWARD_BF16, x, "x")
    ax, aw, ay = floats(&call, "x", x), floats(&call, "w", w), floats(&call, "y", y)
    if not _fit(&call, ax, aw, ay):
        raise shape_error("x (M, K), w (K, N), y (M, N)", {"x": x, "w": w, "y": y})
    if b is not None:
        ab = floats(&call, "b", b)
        if ab.ndim != 1 or ab.shape[0] != aw.shape[1]:
            raise shape_error("b (N,) and w (K, N)", {"b": b, "w": w})
    execute(&call)


def dense_dx_bf16(dy, w, dx):
    """dx = bf16(dy) bf16(w)^T."""
    cdef cnp.ndarray ady, aw, adx
    cdef Call call = _new_call(DENSE_DX_BF16, dy, "dy")
    ady, aw, adx = floats(&call, "dy", dy), floats(&call, "w", w), floats(&call, "dx", dx)
    if not _fit(&call, adx, aw, ady):
        raise shape_error("dy (M, N), w (K, N), dx (M, K)", {"dy": dy, "w": w, "dx": dx})
    execute(&call)


def dense_dw_bf16(x, dy, dw):
    """dw = bf16(x)^T bf16(dy)."""
    cdef cnp.ndarray ax, ady, adw
    cdef Call call = _new_call(DENSE_DW_BF16, x, "x")
    ax, ady, adw = floats(&call, "x", x), floats(&call, "dy", dy), floats(&call, "dw", dw)
    if not _fit(&call, ax, adw, ady):
        raise shape_error("x (M, K), dy (M, N), dw (K, N)", {"x": x, "dy": dy, "dw": dw})
    execute(&call)


cdef Call _new_call(KernelId kernel, object first, const char *name) except *:
    cdef Call call = new_call(kernel, first, name)
    if call.is_double:
        raise TypeError(f"{name.decode()} must have dtype float32, as bf16 rounds float32, got float64")
    core.check_bf16()
    return call


cdef bint _fit(Call *call, cnp.ndarray mk, cnp.ndarray kn, cnp.ndarray mn):
    """Set the sizes and the work; return whether the shapes are (M, K), (K, N) and (M, N)."""
    cdef DenseSizes sizes
    if mk.ndim != 2 or kn.ndim != 2 or mn.ndim != 2:
        return False
    sizes.batch, sizes.M, sizes.K, sizes.N = 1, mk.shape[0], mk.shape[1], mn.shape[1]
    call.set_sizes(sizes)
    call.work = 2.0 * sizes.M * sizes.K * sizes.N
    return kn.shape[0] == sizes.K and kn.shape[1] == sizes.N and mn.shape[0] == sizes.M
