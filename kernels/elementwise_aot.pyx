# distutils: language = c++
"""A user's own elementwise functions: argument checks around elementwise.hpp."""

cimport numpy as cnp
from libc.stdint cimport uintptr_t

from native cimport (
    ELEMENTWISE_DX, ELEMENTWISE_FORWARD, Call, Execute, executor, expect_shape, input, new_call, output,
    same_shape,
)

cnp.import_array()

cdef Execute execute = executor()

cdef double COST = 20  # about what an element costs, in FLOP


def elementwise_forward(function, x, y):
    """y_e = function(x_e)."""
    cdef cnp.ndarray ax, ay
    cdef Call call = new_call(ELEMENTWISE_FORWARD, x, "x")
    ax, ay = input(x, "x", &call), output(y, "y", &call)
    expect_shape(same_shape(ax, ay), "x and y of one shape are wanted")
    call.array[0], call.array[1] = ax.data, ay.data
    _run(&call, function, ax)


def elementwise_dx(function, x, dy, dx):
    """dx_e = function(x_e, dy_e)."""
    cdef cnp.ndarray ax, ady, adx
    cdef Call call = new_call(ELEMENTWISE_DX, x, "x")
    ax, ady, adx = input(x, "x", &call), input(dy, "dy", &call), output(dx, "dx", &call)
    expect_shape(same_shape(ax, ady) and same_shape(ax, adx), "x, dy and dx of one shape are wanted")
    call.array[0], call.array[1], call.array[2] = ax.data, ady.data, adx.data
    _run(&call, function, ax)


cdef int _run(Call *call, object function, cnp.ndarray x) except -1:
    call.array[7] = <void *> <uintptr_t> function.address(x.dtype)
    call.size[0] = x.size
    call.work = COST * x.size
    execute(call)
    return 0
