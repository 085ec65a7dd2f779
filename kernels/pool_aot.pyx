# distutils: language = c++
"""Pooling kernels, compiled: argument checks around pool.hpp. What they compute: pool_ref.py."""

from operator import index

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport (
    AVG_POOL_DX, AVG_POOL_FORWARD, MAX_POOL_DX, MAX_POOL_FORWARD, Call, Execute, executor, expect,
    expect_shape, input, new_call, output, same_shape,
)

cnp.import_array()

cdef Execute execute = executor()

# Windows, strides and paddings beyond this would overflow the arithmetic of addresses.
cdef int64_t FARTHEST = 2**24


def max_pool_forward(x, window, stride, padding, y, taps):
    """y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c]; taps = r S + s of the first largest."""
    cdef cnp.ndarray ax, ay, ataps
    cdef Call call = new_call(MAX_POOL_FORWARD, x, "x")
    ax, ay, ataps = input(x, "x", &call), output(y, "y", &call), _taps(&call, taps, True)
    _sizes(&call, ax, window, stride, padding, ay)
    expect_shape(same_shape(ay, ataps), "y and taps of one shape are wanted")
    call.array[0], call.array[1], call.array[2] = ax.data, ay.data, ataps.data
    execute(&call)


def max_pool_dx(dy, taps, window, stride, padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] over the windows of which the pixel is the winner."""
    cdef cnp.ndarray ady, ataps, adx
    cdef Call call = new_call(MAX_POOL_DX, dy, "dy")
    ady, ataps, adx = input(dy, "dy", &call), _taps(&call, taps, False), output(dx, "dx", &call)
    _sizes(&call, adx, window, stride, padding, ady)
    expect_shape(same_shape(ady, ataps), "dy and taps of one shape are wanted")
    call.array[0], call.array[1], call.array[2] = ady.data, ataps.data, adx.data
    execute(&call)


def avg_pool_forward(x, window, stride, padding, y):
    """y[n, p, q, c] = 1 / (R S) sum_rs x[n, p stride + r - padding, ..., c], 0 outside of the image."""
    cdef cnp.ndarray ax, ay
    cdef Call call = new_call(AVG_POOL_FORWARD, x, "x")
    ax, ay = input(x, "x", &call), output(y, "y", &call)
    _sizes(&call, ax, window, stride, padding, ay)
    call.array[0], call.array[1] = ax.data, ay.data
    execute(&call)


def avg_pool_dx(dy, window, stride, padding, dx):
    """dx[n, h, w, c] = 1 / (R S) sum of dy[n, p, q, c] over the windows that see the pixel."""
    cdef cnp.ndarray ady, adx
    cdef Call call = new_call(AVG_POOL_DX, dy, "dy")
    ady, adx = input(dy, "dy", &call), output(dx, "dx", &call)
    _sizes(&call, adx, window, stride, padding, ady)
    call.array[0], call.array[1] = ady.data, adx.data
    execute(&call)


cdef cnp.ndarray _taps(Call *call, object taps, bint written):
    """Integers of the width of the call's float type."""
    return expect(taps, "taps", cnp.NPY_INT64 if call.is_double else cnp.NPY_INT32, written)


cdef int _sizes(Call *call, cnp.ndarray x, window, stride, padding, cnp.ndarray y) except -1:
    """Set the sizes from x (N, H, W, C), y (N, P, Q, C) and the pairs; check that no address can overflow."""
    cdef int i
    expect_shape(
        x.ndim == 4 and y.ndim == 4 and x.shape[0] == y.shape[0] and x.shape[3] == y.shape[3],
        "images (N, H, W, C) in and (N, P, Q, C) out are wanted",
    )
    pairs = []
    for name, pair, least in (("window", window, 1), ("stride", stride, 1), ("padding", padding, 0)):
        pair = tuple(index(size) for size in pair)
        if len(pair) != 2 or not least <= min(pair) <= max(pair) <= FARTHEST:
            raise ValueError(f"{name} must be two numbers from {least} to {FARTHEST}, not {pair!r}")
        pairs += pair
    R, S, down, along, *_ = pairs
    if R * S >= 2**31:
        raise ValueError(f"a window of {R} x {S} places is larger than any number of a place")
    if max(y.shape[1] * down, y.shape[2] * along) >= 2**58:
        raise ValueError("the images would be larger than any memory")
    for i in range(4):
        call.size[i] = x.shape[i]
    call.size[6], call.size[7] = y.shape[1], y.shape[2]
    call.size[4], call.size[5] = R, S
    for i in range(4):
        call.size[8 + i] = pairs[2 + i]
    # Each pixel once, and each window's share of it.
    call.work = 2.0 * (x.size + y.size * min(float(R * S), 1.0 * x.shape[1] * x.shape[2]))
    return 0
