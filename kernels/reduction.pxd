"""The reduction of losses, for the compiled families of losses.

This file holds only inline functions: there is no module of this name.
"""

cimport numpy as cnp
from libc.math cimport NAN

from native cimport REDUCE_LOSS, Call, Elements, Execute, expect_one_element, floats, operand


cdef enum:  # of fastnn.kernels.REDUCTIONS
    MEAN = 2
    BATCH_MEAN = 3


cdef inline int reduced(
    Execute execute, Call *call, int reduction, double mean, double rows, cnp.ndarray factors,
    cnp.ndarray losses, object loss
) except -1:
    """Run the call, whose gradient is divided by the divisor of the reduction, then reduce its losses.

    The divisor of the mean is `mean`, that of the batch mean `rows`.
    """
    cdef Call total
    cdef double divisor = mean if reduction == MEAN else rows if reduction == BATCH_MEAN else 1
    total.kernel, total.is_double = REDUCE_LOSS, call.is_double
    expect_one_element("loss", operand(&total, "loss", loss, cnp.NPY_DOUBLE))
    if divisor == 0:
        divisor = NAN  # the mean of nothing
    call.scalar[1] = 1 / divisor
    execute(call)
    return sum_losses(execute, &total, losses, factors, divisor)


cdef inline int sum_losses(
    Execute execute, Call *total, cnp.ndarray losses, cnp.ndarray factors, double divisor
) except -1:
    """Run `total`, which divides the sum of the losses by the divisor or, if given, by that in `factors`."""
    floats(total, "losses", losses)
    if factors is not None:
        operand(total, "factors", factors, cnp.NPY_DOUBLE)
    total.scalar[0] = divisor
    total.set_sizes(Elements(losses.size))
    return execute(total)
