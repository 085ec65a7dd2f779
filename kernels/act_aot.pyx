# distutils: language = c++
"""Activations, compiled: argument checks around act.hpp. What they compute: act_ref.py."""

cimport numpy as cnp

from native cimport (
    ADD, ELU_DX, ELU_FORWARD, EXP_FORWARD, GELU_DX, GELU_FORWARD, LEAKY_RELU_DX, LEAKY_RELU_FORWARD,
    LOG_FORWARD, RELU_DX, RELU_FORWARD, SIGMOID_DX, SIGMOID_FORWARD, SILU_DX, SILU_FORWARD, SOFTMAX_DX,
    SOFTMAX_FORWARD, TANH_DX, TANH_FORWARD, Call, Execute, KernelId, executor, expect_shape, input, new_call,
    output, same_shape,
)

cnp.import_array()

cdef Execute execute = executor()

# About what an element costs, in FLOP.
cdef double CHEAP = 4, TRANSCENDENTAL = 50


def relu_forward(x, y):
    """y = max(x, 0)."""
    _forward(RELU_FORWARD, x, y, CHEAP)


def relu_dx(y, dy, dx):
    """dx = dy where y > 0, else 0."""
    _gradient(RELU_DX, y, dy, dx)


def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x))."""
    _forward(SIGMOID_FORWARD, x, y, TRANSCENDENTAL)


def sigmoid_dx(y, dy, dx):
    """dx = dy y (1 - y)."""
    _gradient(SIGMOID_DX, y, dy, dx)


def tanh_forward(x, y):
    """y = tanh(x)."""
    _forward(TANH_FORWARD, x, y, TRANSCENDENTAL)


def tanh_dx(y, dy, dx):
    """dx = dy (1 - y^2)."""
    _gradient(TANH_DX, y, dy, dx)


def leaky_relu_forward(x, slope, y):
    """y = x where x > 0, else slope x."""
    _forward(LEAKY_RELU_FORWARD, x, y, CHEAP, slope)


def leaky_relu_dx(y, dy, slope, dx):
    """dx = dy where y > 0, else slope dy."""
    _gradient(LEAKY_RELU_DX, y, dy, dx, slope)


def elu_forward(x, alpha, y):
    """y = x where x > 0, else alpha (exp(x) - 1)."""
    _forward(ELU_FORWARD, x, y, TRANSCENDENTAL, alpha)


def elu_dx(y, dy, alpha, dx):
    """dx = dy where y > 0, else dy (y + alpha)."""
    _gradient(ELU_DX, y, dy, dx, alpha)


def gelu_forward(x, by_tanh, y):
    """y = x Phi(x)."""
    _forward(GELU_FORWARD, x, y, TRANSCENDENTAL, by_tanh)


def gelu_dx(x, dy, by_tanh, dx):
    """dx = dy (Phi(x) + x phi(x))."""
    _pairs(GELU_DX, x, dy, dx, "x", "dy", "dx", TRANSCENDENTAL, by_tanh)


def silu_forward(x, y):
    """y = x / (1 + exp(-x))."""
    _forward(SILU_FORWARD, x, y, TRANSCENDENTAL)


def silu_dx(x, dy, dx):
    """dx = dy s (1 + x (1 - s)), s = sigmoid(x)."""
    _pairs(SILU_DX, x, dy, dx, "x", "dy", "dx", TRANSCENDENTAL)


def add(x1, x2, y):
    """y = x1 + x2."""
    _pairs(ADD, x1, x2, y, "x1", "x2", "y")


def softmax_forward(x, y):
    """y = softmax of the rows of x."""
    _forward(SOFTMAX_FORWARD, x, y, TRANSCENDENTAL)


def softmax_dx(y, dy, dx):
    """dx = y (dy - sum of y dy over the row)."""
    _gradient(SOFTMAX_DX, y, dy, dx)


def _exp(x, y):
    """y = exp(x): vmath.hpp's, for its test."""
    _forward(EXP_FORWARD, x, y, TRANSCENDENTAL)


def _log(x, y):
    """y = log(x): vmath.hpp's, for its test."""
    _forward(LOG_FORWARD, x, y, TRANSCENDENTAL)


cdef int _forward(KernelId kernel, object x, object y, double cost, double parameter=0) except -1:
    cdef cnp.ndarray ax, ay
    cdef Call call = new_call(kernel, x, "x")
    ax, ay = input(x, "x", &call), output(y, "y", &call)
    expect_shape(same_shape(ax, ay), "x and y of one shape are wanted")
    call.array[0], call.array[1] = ax.data, ay.data
    call.scalar[0] = parameter
    return _run(&call, ax, cost)


cdef int _gradient(KernelId kernel, object y, object dy, object dx, double parameter=0) except -1:
    return _pairs(kernel, y, dy, dx, "y", "dy", "dx", CHEAP, parameter)


cdef int _pairs(
    KernelId kernel, object a, object b, object out, str name_a, str name_b, str name_out, double cost=CHEAP,
    double parameter=0
) except -1:
    """A kernel that makes `out` of the pairs of elements of a and b."""
    cdef cnp.ndarray aa, ab, aout
    cdef Call call = new_call(kernel, a, name_a)
    aa, ab, aout = input(a, name_a, &call), input(b, name_b, &call), output(out, name_out, &call)
    if not (same_shape(aa, ab) and same_shape(aa, aout)):
        expect_shape(False, f"{name_a}, {name_b} and {name_out} of one shape are wanted")
    call.array[0], call.array[1], call.array[2] = aa.data, ab.data, aout.data
    call.scalar[0] = parameter
    return _run(&call, aa, cost)


cdef int _run(Call *call, cnp.ndarray like, double cost) except -1:
    call.size[0] = like.size
    call.work = cost * like.size
    if call.kernel == SOFTMAX_FORWARD or call.kernel == SOFTMAX_DX:
        expect_shape(like.ndim == 2, "softmax wants (M, C)")
        call.size[0], call.size[1] = like.shape[0], like.shape[1]
    return execute(call)
