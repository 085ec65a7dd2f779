# distutils: language = c++
"""Argument checks of the compiled group normalization (group_norm.hpp); group_norm_ref.py specifies it."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from channels cimport per_channel, per_channel_or_none
from native cimport (
    Call, Execute, GroupSizes, KernelId, executor, expect_same_shape, floats, kernel_id, new_call,
    shape_error,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId GROUP_NORM_FORWARD = kernel_id("group_norm_forward")
cdef KernelId GROUP_NORM_DX = kernel_id("group_norm_dx")
cdef KernelId GROUP_NORM_DW = kernel_id("group_norm_dw")


def group_norm_forward(x, int64_t groups, gamma, beta, epsilon, y, moments):
    """y_nsc = (x_nsc - mean_nc) rstd_nc gamma_c + beta_c, with moments over positions and groups of c."""
    cdef Call call = new_call(GROUP_NORM_FORWARD, x, "x")
    cdef cnp.ndarray ax = _samples(&call, x, groups, 10.0)
    per_channel_or_none(&call, "gamma", gamma, ax)
    per_channel_or_none(&call, "beta", beta, ax)
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    _moments(&call, moments, ax)
    call.scalar[0] = epsilon
    execute(&call)


def group_norm_dx(x, dy, int64_t groups, gamma, moments, dx):
    """dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma, with means over positions and groups."""
    cdef Call call = new_call(GROUP_NORM_DX, x, "x")
    cdef cnp.ndarray ax = _samples(&call, x, groups, 12.0)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    per_channel_or_none(&call, "gamma", gamma, ax)
    _moments(&call, moments, ax)
    expect_same_shape("x", ax, "dx", floats(&call, "dx", dx))
    execute(&call)


def group_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_ns dy_nsc xhat_nsc, dbeta_c = sum_ns dy_nsc, xhat = (x - mean) rstd."""
    cdef Call call = new_call(GROUP_NORM_DW, x, "x")
    cdef cnp.ndarray ax = _samples(&call, x, 1, 6.0)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    _moments(&call, moments, ax)
    per_channel(&call, "dgamma", dgamma, ax)
    per_channel(&call, "dbeta", dbeta, ax)
    execute(&call)


cdef cnp.ndarray _samples(Call *call, object x, int64_t groups, double work):
    """Make x (N, S, C) an operand and set the sizes; `work` is the cost of an element in FLOP. Returns x."""
    cdef cnp.ndarray array = floats(call, "x", x)
    if array.ndim != 3:
        raise shape_error("x (N, S, C)", {"x": x})
    if groups < 1 or array.shape[2] % groups:
        raise ValueError(f"groups must divide the {array.shape[2]} channels of x, got {groups}")
    call.set_sizes(GroupSizes(array.shape[0], array.shape[1], array.shape[2], groups))
    call.work = work * array.size
    return array


cdef int _moments(Call *call, object moments, cnp.ndarray x) except -1:
    """Make moments (N, 2, C) an operand."""
    cdef cnp.ndarray array = floats(call, "moments", moments)
    if not (
        array.ndim == 3
        and array.shape[0] == x.shape[0]
        and array.shape[1] == 2
        and array.shape[2] == x.shape[2]
    ):
        raise shape_error("moments (N, 2, C), x (N, S, C)", {"moments": moments, "x": x})
    return 0
