# distutils: language = c++
"""Argument checks of compiled random bits and dropout (random.hpp). random_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    Call, Elements, Execute, KernelId, executor, expect_one_element, expect_same_shape, floats, kernel_id,
    new_call, operand, shape_error,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId RANDOM_NEXT = kernel_id("random_next")
cdef KernelId DROPOUT = kernel_id("dropout")


def random_next(state, bits):
    """bits = mix(key + GOLDEN mix(count)); count += 1."""
    cdef cnp.ndarray astate
    cdef Call call
    call.kernel = RANDOM_NEXT
    astate = operand(&call, "state", state, cnp.NPY_UINT64)
    if astate.ndim != 1 or astate.shape[0] != 2:
        raise shape_error("state (2,)", {"state": state})
    expect_one_element("bits", operand(&call, "bits", bits, cnp.NPY_UINT64))
    execute(&call)


def dropout(x, bits, rate, y):
    """y_e = x_e * (1 / (1 - rate) if u_e >= rate else 0)."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(DROPOUT, x, "x")
    ax = floats(&call, "x", x)
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    expect_one_element("bits", operand(&call, "bits", bits, cnp.NPY_UINT64))
    call.scalar[0] = rate
    call.set_sizes(Elements(ax.size))
    call.work = 8.0 * ax.size
    execute(&call)
