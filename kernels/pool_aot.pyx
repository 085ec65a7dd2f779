# distutils: language = c++
"""Argument checks of the compiled pooling (pool.hpp). pool_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    Call, Execute, KernelId, PoolSizes, executor, expect_same_shape, floats, kernel_id, new_call, operand,
    shape_error, step_pair,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId MAX_POOL_FORWARD = kernel_id("max_pool_forward")
cdef KernelId MAX_POOL_DX = kernel_id("max_pool_dx")
cdef KernelId AVG_POOL_FORWARD = kernel_id("avg_pool_forward")
cdef KernelId AVG_POOL_DX = kernel_id("avg_pool_dx")


def max_pool_forward(x, window, stride, padding, y, taps):
    """y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c]; taps = r S + s of the first maximum."""
    cdef cnp.ndarray ax, ay
    cdef Call call = new_call(MAX_POOL_FORWARD, x, "x")
    ax, ay = floats(&call, "x", x), floats(&call, "y", y)
    _set_sizes(&call, "x", ax, window, stride, padding, "y", ay)
    expect_same_shape("y", ay, "taps", _taps(&call, taps))
    execute(&call)


def max_pool_dx(dy, taps, window, stride, padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] over the windows whose maximum is the pixel."""
    cdef cnp.ndarray ady, adx
    cdef Call call = new_call(MAX_POOL_DX, dy, "dy")
    ady, adx = floats(&call, "dy", dy), floats(&call, "dx", dx)
    _set_sizes(&call, "dx", adx, window, stride, padding, "dy", ady)
    expect_same_shape("dy", ady, "taps", _taps(&call, taps))
    execute(&call)


def avg_pool_forward(x, window, stride, padding, count_padding, y):
    """y[n, p, q, c] = mean_rs x[n, p stride + r - padding, ..., c]; x is 0 outside of the image."""
    cdef Call call = new_call(AVG_POOL_FORWARD, x, "x")
    call.scalar[0] = not count_padding
    _set_sizes(&call, "x", floats(&call, "x", x), window, stride, padding, "y", floats(&call, "y", y))
    execute(&call)


def avg_pool_dx(dy, window, stride, padding, count_padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] / size over the windows that contain the pixel."""
    cdef Call call = new_call(AVG_POOL_DX, dy, "dy")
    call.scalar[0] = not count_padding
    _set_sizes(&call, "dx", floats(&call, "dx", dx), window, stride, padding, "dy", floats(&call, "dy", dy))
    execute(&call)


cdef cnp.ndarray _taps(Call *call, object taps):
    """Integers as wide as the call's float type."""
    return operand(call, "taps", taps, cnp.NPY_INT64 if call.is_double else cnp.NPY_INT32)


cdef int _set_sizes(
    Call *call, str name_x, cnp.ndarray x, window, stride, padding, str name_y, cnp.ndarray y
) except -1:
    """Set the sizes and the work from x (N, H, W, C), y (N, P, Q, C) and the pairs.

    Raises ValueError if an address could overflow.
    """
    cdef PoolSizes sizes
    if not (x.ndim == 4 and y.ndim == 4 and x.shape[0] == y.shape[0] and x.shape[3] == y.shape[3]):
        raise shape_error(f"{name_x} (N, H, W, C), {name_y} (N, P, Q, C)", {name_x: x, name_y: y})
    R, S = step_pair("window", window, 1)
    sizes.N, sizes.H, sizes.W, sizes.C = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    sizes.R, sizes.S, sizes.P, sizes.Q = R, S, y.shape[1], y.shape[2]
    rows, columns = step_pair("stride", stride, 1)
    sizes.stride[0], sizes.stride[1] = rows, columns
    sizes.padding[0], sizes.padding[1] = step_pair("padding", padding, 0)
    if R * S >= 2**31:
        raise ValueError(f"window must have fewer than 2^31 places, got {R} x {S}")
    if max(sizes.P * rows, sizes.Q * columns) >= 2**58:
        raise ValueError("the padded image is larger than any memory: check stride and padding")
    call.set_sizes(sizes)
    # Each pixel is read once, and each window makes one output of its pixels.
    call.work = 2.0 * (x.size + y.size * min(float(R * S), 1.0 * sizes.H * sizes.W))
    return 0
