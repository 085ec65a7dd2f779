# distutils: language = c++
"""Convolution kernels, compiled: argument checks around conv.hpp. What they compute: conv_ref.py."""

from operator import index

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport (
    COL2IM, CONV_DW, CONV_DX, CONV_FORWARD, IM2COL, Call, Execute, executor, expect_shape, input,
    new_call, output,
)

cnp.import_array()

cdef Execute execute = executor()

# Strides and the like beyond this would overflow the arithmetic of addresses.
cdef int64_t FARTHEST = 2**24


def conv_forward(x, w, b, stride, padding, dilation, y):
    """y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] w[r, s, c, o]."""
    cdef cnp.ndarray ax, aw, ab, ay
    cdef Call call = new_call(CONV_FORWARD, x, "x")
    ax, aw, ay = input(x, "x", &call), input(w, "w", &call), output(y, "y", &call)
    _images_and_filters(&call, ax, aw, ay)
    _steps(&call, stride, padding, dilation)
    call.array[0], call.array[1], call.array[3] = ax.data, aw.data, ay.data
    if b is not None:
        ab = input(b, "b", &call)
        expect_shape(ab.ndim == 1 and ab.shape[0] == ay.shape[3], "b (O,) is wanted beside y (N, P, Q, O)")
        call.array[2] = ab.data
    execute(&call)


def conv_dx(dy, w, stride, padding, dilation, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, o] w[r, s, c, o] over all p, q, r, s that see the pixel."""
    cdef cnp.ndarray ady, aw, adx
    cdef Call call = new_call(CONV_DX, dy, "dy")
    ady, aw, adx = input(dy, "dy", &call), input(w, "w", &call), output(dx, "dx", &call)
    _images_and_filters(&call, adx, aw, ady)
    _steps(&call, stride, padding, dilation)
    call.array[0], call.array[1], call.array[2] = ady.data, aw.data, adx.data
    execute(&call)


def conv_dw(x, dy, stride, padding, dilation, dw):
    """dw[r, s, c, o] = sum_npq x[n, p stride + r dilation - padding, ..., c] dy[n, p, q, o]."""
    cdef cnp.ndarray ax, ady, adw
    cdef Call call = new_call(CONV_DW, x, "x")
    ax, ady, adw = input(x, "x", &call), input(dy, "dy", &call), output(dw, "dw", &call)
    _images_and_filters(&call, ax, adw, ady)
    _steps(&call, stride, padding, dilation)
    call.array[0], call.array[1], call.array[2] = ax.data, ady.data, adw.data
    execute(&call)


def im2col(x, stride, padding, dilation, columns):
    """columns[n, p, q, r, s, c] = x[n, p stride + r dilation - padding, ..., c], 0 outside of the image."""
    cdef cnp.ndarray ax, acolumns
    cdef Call call = new_call(IM2COL, x, "x")
    ax, acolumns = input(x, "x", &call), output(columns, "columns", &call)
    _images_and_columns(&call, ax, acolumns)
    _steps(&call, stride, padding, dilation)
    call.array[0], call.array[1] = ax.data, acolumns.data
    execute(&call)


def col2im(columns, stride, padding, dilation, x):
    """x[n, h, w, c] = sum of columns[n, p, q, r, s, c] over all p, q, r, s that see the pixel."""
    cdef cnp.ndarray ax, acolumns
    cdef Call call = new_call(COL2IM, columns, "columns")
    acolumns, ax = input(columns, "columns", &call), output(x, "x", &call)
    _images_and_columns(&call, ax, acolumns)
    _steps(&call, stride, padding, dilation)
    call.array[0], call.array[1] = acolumns.data, ax.data
    execute(&call)


cdef int _images_and_filters(Call *call, cnp.ndarray x, cnp.ndarray w, cnp.ndarray y) except -1:
    """Set the first ten sizes from x (N, H, W, C), w (R, S, channels, O) and y (N, P, Q, O)."""
    expect_shape(
        x.ndim == 4 and w.ndim == 4 and y.ndim == 4
        and x.shape[0] == y.shape[0] and w.shape[3] == y.shape[3]
        and w.shape[2] > 0 and x.shape[3] > 0 and x.shape[3] % w.shape[2] == 0
        and y.shape[3] % (x.shape[3] // w.shape[2]) == 0,
        "x (N, H, W, C), w (R, S, C / groups, O), y (N, P, Q, O) are wanted, with groups that divide C and O",
    )
    for i in range(4):
        call.size[i], call.size[4 + i] = x.shape[i], w.shape[i]
    call.size[8], call.size[9] = y.shape[1], y.shape[2]
    call.work = 2.0 * y.size * w.shape[0] * w.shape[1] * w.shape[2]
    return 0


cdef int _images_and_columns(Call *call, cnp.ndarray x, cnp.ndarray columns) except -1:
    """The same from x and columns (N, P, Q, R, S, C)."""
    expect_shape(
        x.ndim == 4 and columns.ndim == 6
        and x.shape[0] == columns.shape[0] and x.shape[3] == columns.shape[5],
        "x (N, H, W, C) and columns (N, P, Q, R, S, C) are wanted",
    )
    for i in range(4):
        call.size[i] = x.shape[i]
    call.size[4], call.size[5] = columns.shape[3], columns.shape[4]
    call.size[6] = call.size[7] = x.shape[3]
    call.size[8], call.size[9] = columns.shape[1], columns.shape[2]
    call.work = 4.0 * columns.size
    return 0


cdef int _steps(Call *call, stride, padding, dilation) except -1:
    """Set the last six sizes, and check that no address can overflow."""
    cdef int i = 10
    for name, pair, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        pair = tuple(index(size) for size in pair)
        if len(pair) != 2 or not least <= min(pair) <= max(pair) <= FARTHEST:
            raise ValueError(f"{name} must be two numbers from {least} to {FARTHEST}, not {pair!r}")
        call.size[i], call.size[i + 1] = pair
        i += 2
    # What is drawn with zeros between, in Python's numbers, which do not overflow.
    sizes = [int(call.size[j]) for j in range(16)]
    rows = max(sizes[8] * sizes[10], sizes[1]) + sizes[4] * sizes[14]
    columns = max(sizes[9] * sizes[11], sizes[2]) + sizes[5] * sizes[15]
    if rows * columns * max(sizes[3], sizes[7]) >= 2**58:
        raise ValueError("the padded image would be larger than any memory")
    return 0
