# distutils: language = c++
"""Losses, compiled: argument checks around loss.hpp. What they compute: loss_ref.py."""

cimport numpy as cnp
from libc.math cimport NAN
from libc.stdint cimport int64_t

from native cimport (
    CROSS_ENTROPY_LABELS, CROSS_ENTROPY_SOFT, SQUARED_ERROR, Call, Execute, executor, expect, expect_shape,
    input, new_call, output, same_shape,
)

cdef extern from "serial.hpp" namespace "fastnn" nogil:
    bint in_range(const int64_t *index, int64_t count, int64_t limit)
    double sum(const void *values, int64_t count, bint is_double)
    double weight_of_labels(const void *weight, bint is_double, const int64_t *label, int64_t count)

cnp.import_array()

cdef Execute execute = executor()

cdef double COST = 100  # about what a logit costs, in FLOP


def cross_entropy_labels(z, label, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c with integer labels, and its gradient."""
    cdef cnp.ndarray alabel
    cdef double divisor
    cdef Call call = new_call(CROSS_ENTROPY_LABELS, z, "z")
    alabel = expect(label, "label", cnp.NPY_INT64, False)
    _logits(&call, z, weight, smoothing, losses, dz)
    expect_shape(alabel.ndim == 1 and alabel.shape[0] == call.size[0], "z (M, C), label (M,) are wanted")
    call.array[1] = alabel.data
    if not in_range(<int64_t *> alabel.data, call.size[0], call.size[1]):
        raise ValueError("label out of range")
    divisor = <double> call.size[0]
    if call.array[2]:
        divisor = weight_of_labels(call.array[2], call.is_double, <int64_t *> alabel.data, call.size[0])
    _reduce(&call, reduction, divisor, losses, loss)


def cross_entropy_soft(z, target, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c with rows of targets, and its gradient."""
    cdef cnp.ndarray atarget
    cdef Call call = new_call(CROSS_ENTROPY_SOFT, z, "z")
    atarget = input(target, "target", &call)
    _logits(&call, z, weight, smoothing, losses, dz)
    expect_shape(same_shape(atarget, <cnp.ndarray> z), "z and target of one shape (M, C) are wanted")
    call.array[1] = atarget.data
    _reduce(&call, reduction, <double> call.size[0], losses, loss)


def squared_error(y, target, reduction, losses, loss, dy):
    """losses = (y - target)^2 / 2, elementwise, and its gradient."""
    cdef cnp.ndarray ay, atarget, alosses, ady
    cdef Call call = new_call(SQUARED_ERROR, y, "y")
    ay, atarget = input(y, "y", &call), input(target, "target", &call)
    alosses = output(losses, "losses", &call)
    expect_shape(
        same_shape(ay, atarget) and same_shape(ay, alosses), "y, target and losses of one shape are wanted"
    )
    call.array[0], call.array[1], call.array[2] = ay.data, atarget.data, alosses.data
    if dy is not None:
        ady = output(dy, "dy", &call)
        expect_shape(same_shape(ay, ady), "y and dy of one shape are wanted")
        call.array[3] = ady.data
    call.size[0] = ay.size
    call.work = 4.0 * ay.size
    _reduce(&call, reduction, <double> ay.size, losses, loss)


cdef int _logits(Call *call, object z, object weight, double smoothing, object losses, object dz) except -1:
    """What the two cross-entropies share: z (M, C), weight (C,), losses (M,), dz (M, C)."""
    cdef cnp.ndarray az, aweight, alosses, adz
    az, alosses = input(z, "z", call), output(losses, "losses", call)
    expect_shape(
        az.ndim == 2 and alosses.ndim == 1 and alosses.shape[0] == az.shape[0],
        "z (M, C), losses (M,) are wanted",
    )
    call.size[0], call.size[1] = az.shape[0], az.shape[1]
    call.array[0], call.array[3] = az.data, alosses.data
    call.scalar[0] = smoothing
    call.work = COST * az.size
    if weight is not None:
        aweight = input(weight, "weight", call)
        expect_shape(aweight.ndim == 1 and aweight.shape[0] == call.size[1], "weight (C,) is wanted")
        call.array[2] = aweight.data
    if dz is not None:
        adz = output(dz, "dz", call)
        expect_shape(same_shape(az, adz), "z and dz of one shape are wanted")
        call.array[4] = adz.data
    return 0


cdef int _reduce(Call *call, int reduction, double divisor, cnp.ndarray losses, object loss) except -1:
    """Run the call with the gradient's factor, then reduce its losses."""
    cdef cnp.ndarray aloss = expect(loss, "loss", cnp.NPY_DOUBLE, True)
    cdef double total
    expect_shape(aloss.ndim == 1 and aloss.shape[0] == 1, "loss (1,) is wanted")
    if divisor == 0:
        divisor = NAN  # the mean of nothing
    call.scalar[1] = 1 / divisor if reduction == 2 else 1
    execute(call)
    total = sum(losses.data, losses.size, call.is_double)
    (<double *> aloss.data)[0] = total / divisor if reduction == 2 else total
    return 0
