# distutils: language = c++
"""Argument checks of the compiled losses of each output alone (pointwise.hpp).

pointwise_ref.py specifies the results.
"""

cimport numpy as cnp

from native cimport (
    BinarySizes, Call, Elements, Execute, KernelId, executor, expect_same_shape, floats, kernel_id, new_call,
    shape_error,
)
from reduction cimport reduced

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId SQUARED_ERROR = kernel_id("squared_error")
cdef KernelId ABSOLUTE_ERROR = kernel_id("absolute_error")
cdef KernelId HUBER = kernel_id("huber")
cdef KernelId POISSON = kernel_id("poisson")
cdef KernelId BINARY_HINGE = kernel_id("binary_hinge")
cdef KernelId BINARY_CROSS_ENTROPY = kernel_id("binary_cross_entropy")

# Approximate costs of an element, in FLOP. With few operations, moving its four numbers takes as long as 20.
cdef double FEW = 20
cdef double EXPONENTIAL = 100


def squared_error(y, target, reduction, losses, loss, dy):
    """losses = (y - target)^2 / 2, elementwise, and its gradient."""
    _pointwise(SQUARED_ERROR, FEW, y, target, 0, reduction, losses, loss, dy)


def absolute_error(y, target, reduction, losses, loss, dy):
    """losses = |y - target|, elementwise, and its gradient."""
    _pointwise(ABSOLUTE_ERROR, FEW, y, target, 0, reduction, losses, loss, dy)


def huber(y, target, delta, reduction, losses, loss, dy):
    """losses = d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), d = y - target, elementwise."""
    _pointwise(HUBER, FEW, y, target, delta, reduction, losses, loss, dy)


def poisson(y, target, deviance, reduction, losses, loss, dy):
    """losses = exp(y) - t y, elementwise; with `deviance` plus t log t - t; and its gradient."""
    _pointwise(POISSON, EXPONENTIAL, y, target, deviance, reduction, losses, loss, dy)


def binary_hinge(y, target, margin, reduction, losses, loss, dy):
    """losses = max(0, margin - (2 t - 1) y), elementwise, and its gradient."""
    _pointwise(BINARY_HINGE, FEW, y, target, margin, reduction, losses, loss, dy)


cdef int _pointwise(
    KernelId kernel, double cost, object y, object target, double parameter, int reduction, object losses,
    object loss, object dy
) except -1:
    """A loss of outputs and targets of any one shape; `cost` is the FLOP of an element."""
    cdef cnp.ndarray ay
    cdef Call call = new_call(kernel, y, "y")
    ay = floats(&call, "y", y)
    expect_same_shape("y", ay, "target", floats(&call, "target", target))
    expect_same_shape("y", ay, "losses", floats(&call, "losses", losses))
    if dy is not None:
        expect_same_shape("y", ay, "dy", floats(&call, "dy", dy))
    call.set_sizes(Elements(ay.size))
    call.scalar[0] = parameter
    call.work = cost * ay.size
    return reduced(execute, &call, reduction, <double> ay.size, ay.shape[0], None, losses, loss)


def binary_cross_entropy(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses = -w1 t (1 - p)^gamma log p - w0 (1 - t) p^gamma log(1 - p), p = sigmoid(z)."""
    cdef cnp.ndarray az, aweight
    cdef Call call = new_call(BINARY_CROSS_ENTROPY, z, "z")
    az = floats(&call, "z", z)
    if az.ndim == 0:
        raise shape_error("z (..., C)", {"z": z})
    expect_same_shape("z", az, "target", floats(&call, "target", target))
    expect_same_shape("z", az, "losses", floats(&call, "losses", losses))
    if weight is not None:
        aweight = floats(&call, "weight", weight)
        if aweight.ndim != 2 or aweight.shape[0] != 2 or aweight.shape[1] != az.shape[az.ndim - 1]:
            raise shape_error("weight (2, C), z (..., C)", {"weight": weight, "z": z})
    if dz is not None:
        expect_same_shape("z", az, "dz", floats(&call, "dz", dz))
    call.set_sizes(BinarySizes(az.size, az.shape[az.ndim - 1]))
    call.scalar[0] = gamma
    call.work = EXPONENTIAL * az.size
    reduced(execute, &call, reduction, <double> az.size, az.shape[0], None, losses, loss)
