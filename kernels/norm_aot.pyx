# distutils: language = c++
"""Argument checks of the compiled normalization (norm.hpp). norm_ref.py specifies the results."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from channels cimport per_channel, per_channel_or_none
from native cimport (
    Call, Execute, KernelId, MatrixSizes, executor, expect_same_shape, floats, kernel_id, new_call,
    shape_error,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId BATCH_MOMENTS = kernel_id("batch_moments")
cdef KernelId RUNNING_MOMENTS = kernel_id("running_moments")
cdef KernelId BATCH_NORM_FORWARD = kernel_id("batch_norm_forward")
cdef KernelId BATCH_NORM_SUMS = kernel_id("batch_norm_sums")
cdef KernelId BATCH_NORM_DX = kernel_id("batch_norm_dx")
cdef KernelId LAYER_NORM_FORWARD = kernel_id("layer_norm_forward")
cdef KernelId LAYER_NORM_DX = kernel_id("layer_norm_dx")
cdef KernelId LAYER_NORM_DW = kernel_id("layer_norm_dw")


def batch_moments(x, mean, var):
    """mean_c = 1/M sum_m x_mc, var_c = 1/M sum_m (x_mc - mean_c)^2."""
    cdef Call call = new_call(BATCH_MOMENTS, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 6.0)
    per_channel(&call, "mean", mean, ax)
    per_channel(&call, "var", var, ax)
    execute(&call)


def running_moments(mean, var, int64_t count, momentum, running_mean, running_var, before):
    """running = (1 - momentum) running + momentum batch, where var is unbiased: count / (count - 1) var."""
    cdef cnp.ndarray amean, abefore
    cdef Call call = new_call(RUNNING_MOMENTS, mean, "mean")
    amean = floats(&call, "mean", mean)
    if amean.ndim != 1:
        raise shape_error("mean (C,)", {"mean": mean})
    expect_same_shape("mean", amean, "var", floats(&call, "var", var))
    expect_same_shape("mean", amean, "running_mean", floats(&call, "running_mean", running_mean))
    expect_same_shape("mean", amean, "running_var", floats(&call, "running_var", running_var))
    abefore = floats(&call, "before", before)
    if abefore.ndim != 2 or abefore.shape[0] != 2 or abefore.shape[1] != amean.shape[0]:
        raise shape_error("before (2, C), mean (C,)", {"before": before, "mean": mean})
    call.set_sizes(MatrixSizes(count, amean.shape[0]))
    call.scalar[0] = momentum
    execute(&call)


def batch_norm_forward(x, mean, var, gamma, beta, epsilon, y):
    """y_mc = (x_mc - mean_c) / sqrt(var_c + epsilon) gamma_c + beta_c."""
    cdef Call call = new_call(BATCH_NORM_FORWARD, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 4.0)
    per_channel(&call, "mean", mean, ax)
    per_channel(&call, "var", var, ax)
    per_channel_or_none(&call, "gamma", gamma, ax)
    per_channel_or_none(&call, "beta", beta, ax)
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    call.scalar[0] = epsilon
    execute(&call)


def batch_norm_sums(x, dy, mean, var, epsilon, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc (x_mc - mean_c) / sqrt(var_c + epsilon), dbeta_c = sum_m dy_mc."""
    cdef Call call = new_call(BATCH_NORM_SUMS, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 6.0)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    per_channel(&call, "mean", mean, ax)
    per_channel(&call, "var", var, ax)
    per_channel(&call, "dgamma", dgamma, ax)
    per_channel(&call, "dbeta", dbeta, ax)
    call.scalar[0] = epsilon
    execute(&call)


def batch_norm_dx(x, dy, mean, var, gamma, epsilon, dgamma, dbeta, dx):
    """dx = gamma rstd (dy - dbeta / M - xhat dgamma / M), xhat = (x - mean) rstd."""
    cdef Call call = new_call(BATCH_NORM_DX, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 8.0)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    per_channel(&call, "mean", mean, ax)
    per_channel(&call, "var", var, ax)
    per_channel_or_none(&call, "gamma", gamma, ax)
    if (dgamma is None) != (dbeta is None):
        raise TypeError("dgamma and dbeta must both be arrays or both be None")
    per_channel_or_none(&call, "dgamma", dgamma, ax)
    per_channel_or_none(&call, "dbeta", dbeta, ax)
    expect_same_shape("x", ax, "dx", floats(&call, "dx", dx))
    call.scalar[0] = epsilon
    execute(&call)


def layer_norm_forward(x, gamma, beta, epsilon, y, moments):
    """y_mc = (x_mc - mean_m) / sqrt(var_m + epsilon) gamma_c + beta_c, with mean_m and var_m over all c."""
    cdef Call call = new_call(LAYER_NORM_FORWARD, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 8.0)
    per_channel_or_none(&call, "gamma", gamma, ax)
    per_channel_or_none(&call, "beta", beta, ax)
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    _moments(&call, moments, ax)
    call.scalar[0] = epsilon
    execute(&call)


def layer_norm_dx(x, dy, gamma, moments, dx):
    """dx = rstd (g - mean_c g - xhat mean_c(g xhat)), g = dy gamma, xhat = (x - mean) rstd."""
    cdef Call call = new_call(LAYER_NORM_DX, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 12.0)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    per_channel_or_none(&call, "gamma", gamma, ax)
    _moments(&call, moments, ax)
    expect_same_shape("x", ax, "dx", floats(&call, "dx", dx))
    execute(&call)


def layer_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc xhat_mc, dbeta_c = sum_m dy_mc, xhat = (x - mean) rstd."""
    cdef Call call = new_call(LAYER_NORM_DW, x, "x")
    cdef cnp.ndarray ax = _rows(&call, x, 6.0)
    expect_same_shape("x", ax, "dy", floats(&call, "dy", dy))
    _moments(&call, moments, ax)
    per_channel(&call, "dgamma", dgamma, ax)
    per_channel(&call, "dbeta", dbeta, ax)
    execute(&call)


cdef cnp.ndarray _rows(Call *call, object x, double work):
    """Make x (M, C) an operand and set the sizes; `work` is the cost of an element in FLOP. Returns x."""
    cdef cnp.ndarray array = floats(call, "x", x)
    if array.ndim != 2:
        raise shape_error("x (M, C)", {"x": x})
    call.set_sizes(MatrixSizes(array.shape[0], array.shape[1]))
    call.work = work * array.size
    return array


cdef int _moments(Call *call, object moments, cnp.ndarray x) except -1:
    """Make moments (M, 2) an operand."""
    cdef cnp.ndarray array = floats(call, "moments", moments)
    if array.ndim != 2 or array.shape[0] != x.shape[0] or array.shape[1] != 2:
        raise shape_error("moments (M, 2), x (M, C)", {"moments": moments, "x": x})
    return 0
