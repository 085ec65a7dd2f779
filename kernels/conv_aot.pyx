# distutils: language = c++
"""Argument checks of the compiled convolutions (conv.hpp). conv_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    Call, ConvSizes, Execute, KernelId, executor, floats, kernel_id, new_call, shape_error, step_pair,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId CONV_FORWARD = kernel_id("conv_forward")
cdef KernelId CONV_DX = kernel_id("conv_dx")
cdef KernelId CONV_DW = kernel_id("conv_dw")
cdef KernelId IM2COL = kernel_id("im2col")
cdef KernelId COL2IM = kernel_id("col2im")


def conv_forward(x, w, b, stride, padding, dilation, y):
    """y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] w[r, s, c, o]."""
    cdef cnp.ndarray ax, aw, ab, ay
    cdef ConvSizes sizes
    cdef Call call = new_call(CONV_FORWARD, x, "x")
    ax, aw, ay = floats(&call, "x", x), floats(&call, "w", w), floats(&call, "y", y)
    if not _fit(&call, &sizes, ax, aw, ay):
        raise shape_error(
            "x (N, H, W, C), w (R, S, C / groups, O), y (N, P, Q, O) with groups that divide C and O",
            {"x": x, "w": w, "y": y},
        )
    _set_sizes(&call, &sizes, stride, padding, dilation)
    if b is not None:
        ab = floats(&call, "b", b)
        if ab.ndim != 1 or ab.shape[0] != sizes.outputs:
            raise shape_error("b (O,), y (N, P, Q, O)", {"b": b, "y": y})
    execute(&call)


def conv_dx(dy, w, stride, padding, dilation, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, o] w[r, s, c, o] over all p, q, r, s that read the pixel."""
    cdef cnp.ndarray ady, aw, adx
    cdef ConvSizes sizes
    cdef Call call = new_call(CONV_DX, dy, "dy")
    ady, aw, adx = floats(&call, "dy", dy), floats(&call, "w", w), floats(&call, "dx", dx)
    if not _fit(&call, &sizes, adx, aw, ady):
        raise shape_error(
            "dy (N, P, Q, O), w (R, S, C / groups, O), dx (N, H, W, C) with groups that divide C and O",
            {"dy": dy, "w": w, "dx": dx},
        )
    _set_sizes(&call, &sizes, stride, padding, dilation)
    execute(&call)


def conv_dw(x, dy, stride, padding, dilation, dw):
    """dw[r, s, c, o] = sum_npq x[n, p stride + r dilation - padding, ..., c] dy[n, p, q, o]."""
    cdef cnp.ndarray ax, ady, adw
    cdef ConvSizes sizes
    cdef Call call = new_call(CONV_DW, x, "x")
    ax, ady, adw = floats(&call, "x", x), floats(&call, "dy", dy), floats(&call, "dw", dw)
    if not _fit(&call, &sizes, ax, adw, ady):
        raise shape_error(
            "x (N, H, W, C), dy (N, P, Q, O), dw (R, S, C / groups, O) with groups that divide C and O",
            {"x": x, "dy": dy, "dw": dw},
        )
    _set_sizes(&call, &sizes, stride, padding, dilation)
    execute(&call)


def im2col(x, stride, padding, dilation, columns):
    """columns[n, p, q, r, s, c] = x[n, p stride + r dilation - padding, ..., c]; 0 outside of the image."""
    cdef Call call = new_call(IM2COL, x, "x")
    _columns(&call, floats(&call, "x", x), floats(&call, "columns", columns), stride, padding, dilation)


def col2im(columns, stride, padding, dilation, x):
    """x[n, h, w, c] = sum of columns[n, p, q, r, s, c] over all p, q, r, s that read the pixel."""
    cdef Call call = new_call(COL2IM, columns, "columns")
    _columns(&call, floats(&call, "x", x), floats(&call, "columns", columns), stride, padding, dilation)


cdef bint _fit(Call *call, ConvSizes *sizes, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y):
    """Set sizes and work; return whether the shapes are (N, H, W, C), (R, S, channels, O), (N, P, Q, O)."""
    if not (x.ndim == 4 and w.ndim == 4 and y.ndim == 4):
        return False
    sizes.N, sizes.H, sizes.W, sizes.C = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    sizes.R, sizes.S, sizes.channels = w.shape[0], w.shape[1], w.shape[2]
    sizes.outputs = w.shape[3]
    sizes.P, sizes.Q = y.shape[1], y.shape[2]
    call.work = 2.0 * y.size * sizes.R * sizes.S * sizes.channels
    return (
        y.shape[0] == sizes.N
        and y.shape[3] == sizes.outputs
        and sizes.channels > 0
        and sizes.C > 0
        and sizes.C % sizes.channels == 0
        and sizes.outputs % (sizes.C // sizes.channels) == 0
    )


cdef int _columns(Call *call, cnp.ndarray x, cnp.ndarray columns, stride, padding, dilation) except -1:
    """Run a kernel of x (N, H, W, C) and columns (N, P, Q, R, S, C)."""
    cdef ConvSizes sizes
    if not (
        x.ndim == 4
        and columns.ndim == 6
        and x.shape[0] == columns.shape[0]
        and x.shape[3] == columns.shape[5]
    ):
        raise shape_error("x (N, H, W, C), columns (N, P, Q, R, S, C)", {"x": x, "columns": columns})
    sizes.N, sizes.H, sizes.W, sizes.C = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    sizes.R, sizes.S, sizes.channels = columns.shape[3], columns.shape[4], x.shape[3]
    sizes.outputs = x.shape[3]
    sizes.P, sizes.Q = columns.shape[1], columns.shape[2]
    _set_sizes(call, &sizes, stride, padding, dilation)
    call.work = 4.0 * columns.size
    return execute(call)


cdef int _set_sizes(Call *call, ConvSizes *sizes, stride, padding, dilation) except -1:
    """Complete the sizes and put them into the call. Raises ValueError if an address could overflow."""
    sizes.stride[0], sizes.stride[1] = step_pair("stride", stride, 1)
    sizes.padding[0], sizes.padding[1] = step_pair("padding", padding, 0)
    sizes.dilation[0], sizes.dilation[1] = step_pair("dilation", dilation, 1)
    # The padded image, or the gradient with zeros between its pixels; Python's integers do not overflow.
    rows = max(int(sizes.P) * int(sizes.stride[0]), int(sizes.H)) + int(sizes.R) * int(sizes.dilation[0])
    columns = max(int(sizes.Q) * int(sizes.stride[1]), int(sizes.W)) + int(sizes.S) * int(sizes.dilation[1])
    if rows * columns * max(int(sizes.C), int(sizes.outputs)) >= 2**58:
        raise ValueError("the padded image is larger than any memory: check stride, padding and dilation")
    call.set_sizes(sizes[0])
    return 0
