# distutils: language = c++
"""Argument checks of the compiled activations (act.hpp). act_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    Call, Elements, Execute, KernelId, MatrixSizes, executor, expect_same_shape, floats, kernel_id, new_call,
    operand_name, shape_error,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId RELU_FORWARD = kernel_id("relu_forward")
cdef KernelId RELU_DX = kernel_id("relu_dx")
cdef KernelId SIGMOID_FORWARD = kernel_id("sigmoid_forward")
cdef KernelId SIGMOID_DX = kernel_id("sigmoid_dx")
cdef KernelId TANH_FORWARD = kernel_id("tanh_forward")
cdef KernelId TANH_DX = kernel_id("tanh_dx")
cdef KernelId LEAKY_RELU_FORWARD = kernel_id("leaky_relu_forward")
cdef KernelId LEAKY_RELU_DX = kernel_id("leaky_relu_dx")
cdef KernelId ELU_FORWARD = kernel_id("elu_forward")
cdef KernelId ELU_DX = kernel_id("elu_dx")
cdef KernelId GELU_FORWARD = kernel_id("gelu_forward")
cdef KernelId GELU_DX = kernel_id("gelu_dx")
cdef KernelId SILU_FORWARD = kernel_id("silu_forward")
cdef KernelId SILU_DX = kernel_id("silu_dx")
cdef KernelId ADD = kernel_id("add")
cdef KernelId ADD_BIAS = kernel_id("add_bias")
cdef KernelId SOFTMAX_FORWARD = kernel_id("softmax_forward")
cdef KernelId SOFTMAX_DX = kernel_id("softmax_dx")
cdef KernelId EXP_FORWARD = kernel_id("exp_forward")
cdef KernelId LOG_FORWARD = kernel_id("log_forward")

# Approximate cost of an element, in FLOP.
cdef double CHEAP = 4, TRANSCENDENTAL = 50


def relu_forward(x, y):
    """y = max(x, 0)."""
    _forward(RELU_FORWARD, x, y, CHEAP)


def relu_dx(y, dy, dx):
    """dx = dy where y > 0, else 0."""
    _pairs(RELU_DX, y, dy, dx, CHEAP)


def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x))."""
    _forward(SIGMOID_FORWARD, x, y, TRANSCENDENTAL)


def sigmoid_dx(y, dy, dx):
    """dx = dy y (1 - y)."""
    _pairs(SIGMOID_DX, y, dy, dx, CHEAP)


def tanh_forward(x, y):
    """y = tanh(x)."""
    _forward(TANH_FORWARD, x, y, TRANSCENDENTAL)


def tanh_dx(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _pairs(TANH_DX, y, dy, dx, CHEAP)


def leaky_relu_forward(x, slope, y):
    """y = x where x > 0, else slope x."""
    _forward(LEAKY_RELU_FORWARD, x, y, CHEAP, slope)


def leaky_relu_dx(y, dy, slope, dx):
    """dx = dy where y > 0, else slope dy."""
    _pairs(LEAKY_RELU_DX, y, dy, dx, CHEAP, slope)


def elu_forward(x, alpha, y):
    """y = x where x > 0, else alpha (exp(x) - 1)."""
    _forward(ELU_FORWARD, x, y, TRANSCENDENTAL, alpha)


def elu_dx(y, dy, alpha, dx):
    """dx = dy where y > 0, else dy (y + alpha)."""
    _pairs(ELU_DX, y, dy, dx, CHEAP, alpha)


def gelu_forward(x, by_tanh, y):
    """y = x Phi(x)."""
    _forward(GELU_FORWARD, x, y, TRANSCENDENTAL, by_tanh)


def gelu_dx(x, dy, by_tanh, dx):
    """dx = dy (Phi(x) + x phi(x))."""
    _pairs(GELU_DX, x, dy, dx, TRANSCENDENTAL, by_tanh)


def silu_forward(x, y):
    """y = x / (1 + exp(-x))."""
    _forward(SILU_FORWARD, x, y, TRANSCENDENTAL)


def silu_dx(x, dy, dx):
    """dx = dy s (1 + x (1 - s)), s = sigmoid(x)."""
    _pairs(SILU_DX, x, dy, dx, TRANSCENDENTAL)


def add(x1, x2, y):
    """y = x1 + x2."""
    _pairs(ADD, x1, x2, y, CHEAP)


def add_bias(x, b, y):
    """y_mc = x_mc + b_c."""
    cdef cnp.ndarray ax, ab
    cdef Call call = new_call(ADD_BIAS, x, "x")
    ax, ab = floats(&call, "x", x), floats(&call, "b", b)
    if not (ax.ndim == 2 and ab.ndim == 1 and ab.shape[0] == ax.shape[1]):
        raise shape_error("x (M, C), b (C,)", {"x": x, "b": b})
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    call.set_sizes(MatrixSizes(ax.shape[0], ax.shape[1]))
    call.work = CHEAP * ax.size
    execute(&call)


def softmax_forward(x, y):
    """y = softmax of the rows of x."""
    _forward(SOFTMAX_FORWARD, x, y, TRANSCENDENTAL)


def softmax_dx(y, dy, dx):
    """dx = y (dy - sum of y dy over the row)."""
    _pairs(SOFTMAX_DX, y, dy, dx, CHEAP)


def _exp(x, y):
    """y = exp(x), for the test of vmath.hpp."""
    _forward(EXP_FORWARD, x, y, TRANSCENDENTAL)


def _log(x, y):
    """y = log(x), for the test of vmath.hpp."""
    _forward(LOG_FORWARD, x, y, TRANSCENDENTAL)


cdef int _forward(KernelId kernel, object x, object y, double cost, double parameter=0) except -1:
    """Run a kernel of x and y, of the same shape."""
    cdef Call call = new_call(kernel, x, "x")
    cdef cnp.ndarray ax = floats(&call, "x", x)
    expect_same_shape("x", ax, "y", floats(&call, "y", y))
    return _run(&call, ax, cost, parameter)


cdef int _pairs(KernelId kernel, object a, object b, object out, double cost, double parameter=0) except -1:
    """Run a kernel of two inputs and an output, of the same shape."""
    cdef const char *name_a = operand_name(kernel, 0)
    cdef const char *name_b = operand_name(kernel, 1)
    cdef const char *name_out = operand_name(kernel, 2)
    cdef Call call = new_call(kernel, a, name_a)
    cdef cnp.ndarray aa = floats(&call, name_a, a)
    expect_same_shape(name_a, aa, name_b, floats(&call, name_b, b))
    expect_same_shape(name_a, aa, name_out, floats(&call, name_out, out))
    return _run(&call, aa, cost, parameter)


cdef int _run(Call *call, cnp.ndarray like, double cost, double parameter) except -1:
    call.scalar[0] = parameter
    call.work = cost * like.size
    if call.kernel == SOFTMAX_FORWARD or call.kernel == SOFTMAX_DX:
        if like.ndim != 2:
            name = operand_name(call.kernel, 0).decode()
            raise shape_error(f"{name} (M, C)", {name: like})
        call.set_sizes(MatrixSizes(like.shape[0], like.shape[1]))
    else:
        call.set_sizes(Elements(like.size))
    return execute(call)
