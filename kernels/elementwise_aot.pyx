# distutils: language = c++
"""Argument checks of the compiled loops over a user's scalar functions (elementwise.hpp)."""

cimport numpy as cnp
from libc.stdint cimport uintptr_t

from native cimport (
    Call, Elements, Execute, KernelId, executor, expect_same_shape, find_operand, floats, kernel_id,
    new_call,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId ELEMENTWISE_FORWARD = kernel_id("elementwise_forward")
cdef KernelId ELEMENTWISE_DX = kernel_id("elementwise_dx")

cdef double COST = 20  # approximate cost of an element, in FLOP


def elementwise_forward(function, x, y):
    """y_e = function(x_e)."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(ELEMENTWISE_FORWARD, x, "x")
    ax = floats(&call, "x", x)
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    _run(&call, function, ax)


def elementwise_dx(function, x, dy, dx):
    """dx_e = function(x_e, dy_e)."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(ELEMENTWISE_DX, x, "x")
    ax = floats(&call, "x", x)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    expect_same_shape("x", ax, "dx", floats(&call, "dx", dx))
    _run(&call, function, ax)


cdef int _run(Call *call, object function, cnp.ndarray x) except -1:
    call.array[find_operand(call.kernel, "function")] = <void *> <uintptr_t> function.address(x.dtype)
    call.set_sizes(Elements(x.size))
    call.work = COST * x.size
    return execute(call)
