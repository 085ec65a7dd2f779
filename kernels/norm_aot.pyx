# distutils: language = c++
"""Batch and layer normalisation, compiled: checks around norm.hpp. What the kernels compute: norm_ref.py."""

cimport numpy as cnp

from native cimport (
    BATCH_MOMENTS, BATCH_NORM_DX, BATCH_NORM_FORWARD, BATCH_NORM_SUMS, LAYER_NORM_DW, LAYER_NORM_DX,
    LAYER_NORM_FORWARD, RUNNING_MOMENTS, Call, Execute, executor, expect_shape, input, new_call, output,
    same_shape,
)

cnp.import_array()

cdef Execute execute = executor()


def batch_moments(x, mean, var):
    """mean_c = 1/M sum_m x_mc, var_c = 1/M sum_m (x_mc - mean_c)^2."""
    cdef Call call = new_call(BATCH_MOMENTS, x, "x")
    _rows(&call, x, 6.0)
    _channels(&call, 1, mean, "mean", True)
    _channels(&call, 2, var, "var", True)
    execute(&call)


def running_moments(mean, var, count, momentum, running_mean, running_var, before):
    """running = (1 - momentum) running + momentum batch, with count / (count - 1) var: the unbiased one."""
    cdef cnp.ndarray abefore
    cdef Call call = new_call(RUNNING_MOMENTS, mean, "mean")
    expect_shape(mean.ndim == 1, "mean (C,) is wanted")
    call.size[0], call.size[1] = count, mean.shape[0]
    _channels(&call, 0, mean, "mean", False)
    _channels(&call, 1, var, "var", False)
    _channels(&call, 2, running_mean, "running_mean", True)
    _channels(&call, 3, running_var, "running_var", True)
    abefore = output(before, "before", &call)
    expect_shape(
        abefore.ndim == 2 and abefore.shape[0] == 2 and abefore.shape[1] == call.size[1],
        "before (2, C) is wanted beside mean (C,)",
    )
    call.array[4] = abefore.data
    call.scalar[0] = momentum
    execute(&call)


def batch_norm_forward(x, mean, var, gamma, beta, epsilon, y):
    """y_mc = (x_mc - mean_c) / sqrt(var_c + epsilon) gamma_c + beta_c."""
    cdef Call call = new_call(BATCH_NORM_FORWARD, x, "x")
    shape = _rows(&call, x, 4.0)
    _channels(&call, 1, mean, "mean", False)
    _channels(&call, 2, var, "var", False)
    _optional_channels(&call, 3, gamma, "gamma")
    _optional_channels(&call, 4, beta, "beta")
    _like_x(&call, 5, shape, y, "y", True)
    call.scalar[0] = epsilon
    execute(&call)


def batch_norm_sums(x, dy, mean, var, epsilon, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc (x_mc - mean_c) / sqrt(var_c + epsilon), dbeta_c = sum_m dy_mc."""
    cdef Call call = new_call(BATCH_NORM_SUMS, x, "x")
    shape = _rows(&call, x, 6.0)
    _like_x(&call, 1, shape, dy, "dy", False)
    _channels(&call, 2, mean, "mean", False)
    _channels(&call, 3, var, "var", False)
    _channels(&call, 4, dgamma, "dgamma", True)
    _channels(&call, 5, dbeta, "dbeta", True)
    call.scalar[0] = epsilon
    execute(&call)


def batch_norm_dx(x, dy, mean, var, gamma, epsilon, dgamma, dbeta, dx):
    """dx = gamma rstd (dy - dbeta / M - xhat dgamma / M), xhat = (x - mean) rstd."""
    cdef Call call = new_call(BATCH_NORM_DX, x, "x")
    shape = _rows(&call, x, 8.0)
    _like_x(&call, 1, shape, dy, "dy", False)
    _channels(&call, 2, mean, "mean", False)
    _channels(&call, 3, var, "var", False)
    _optional_channels(&call, 4, gamma, "gamma")
    if (dgamma is None) != (dbeta is None):
        raise TypeError("dgamma and dbeta belong together: both or none of them")
    _optional_channels(&call, 5, dgamma, "dgamma")
    _optional_channels(&call, 6, dbeta, "dbeta")
    _like_x(&call, 7, shape, dx, "dx", True)
    call.scalar[0] = epsilon
    execute(&call)


def layer_norm_forward(x, gamma, beta, epsilon, y, moments):
    """y_mc = (x_mc - mean_m) / sqrt(var_m + epsilon) gamma_c + beta_c, with mean_m and var_m over all c."""
    cdef Call call = new_call(LAYER_NORM_FORWARD, x, "x")
    shape = _rows(&call, x, 8.0)
    _optional_channels(&call, 1, gamma, "gamma")
    _optional_channels(&call, 2, beta, "beta")
    _like_x(&call, 3, shape, y, "y", True)
    _moments(&call, 4, moments, True)
    call.scalar[0] = epsilon
    execute(&call)


def layer_norm_dx(x, dy, gamma, moments, dx):
    """dx = rstd (g - mean_c g - xhat mean_c(g xhat)), g = dy gamma, xhat = (x - mean) rstd."""
    cdef Call call = new_call(LAYER_NORM_DX, x, "x")
    shape = _rows(&call, x, 12.0)
    _like_x(&call, 1, shape, dy, "dy", False)
    _optional_channels(&call, 2, gamma, "gamma")
    _moments(&call, 3, moments, False)
    _like_x(&call, 4, shape, dx, "dx", True)
    execute(&call)


def layer_norm_dw(x, dy, moments, dgamma, dbeta):
    """dgamma_c = sum_m dy_mc xhat_mc, dbeta_c = sum_m dy_mc, xhat = (x - mean) rstd."""
    cdef Call call = new_call(LAYER_NORM_DW, x, "x")
    shape = _rows(&call, x, 6.0)
    _like_x(&call, 1, shape, dy, "dy", False)
    _moments(&call, 2, moments, False)
    _channels(&call, 3, dgamma, "dgamma", True)
    _channels(&call, 4, dbeta, "dbeta", True)
    execute(&call)


cdef cnp.ndarray _rows(Call *call, object x, double work):
    """Put x (M, C) first into the call, with the sizes; `work` is that of an element. Returns x."""
    cdef cnp.ndarray array = input(x, "x", call)
    expect_shape(array.ndim == 2, "x (M, C) is wanted")
    call.array[0] = array.data
    call.size[0], call.size[1] = array.shape[0], array.shape[1]
    call.work = work * array.size
    return array


cdef int _like_x(Call *call, int place, cnp.ndarray x, object rows, str name, bint written) except -1:
    """Put an array of the shape of x into the call."""
    cdef cnp.ndarray array = output(rows, name, call) if written else input(rows, name, call)
    expect_shape(same_shape(array, x), f"{name} of the shape of x (M, C) is wanted")
    call.array[place] = array.data
    return 0


cdef int _channels(Call *call, int place, object channels, str name, bint written) except -1:
    """Put an array (C,) into the call."""
    cdef cnp.ndarray array = output(channels, name, call) if written else input(channels, name, call)
    expect_shape(array.ndim == 1 and array.shape[0] == call.size[1], f"{name} (C,) is wanted")
    call.array[place] = array.data
    return 0


cdef int _optional_channels(Call *call, int place, object channels, str name) except -1:
    """The same, unless it is None."""
    return 0 if channels is None else _channels(call, place, channels, name, False)


cdef int _moments(Call *call, int place, object moments, bint written) except -1:
    """Put moments (M, 2) into the call."""
    cdef cnp.ndarray array = output(moments, "moments", call) if written else input(moments, "moments", call)
    expect_shape(
        array.ndim == 2 and array.shape[0] == call.size[0] and array.shape[1] == 2,
        "moments (M, 2) are wanted beside x (M, C)",
    )
    call.array[place] = array.data
    return 0
