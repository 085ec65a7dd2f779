# distutils: language = c++
"""Losses, compiled: argument checks around loss.hpp. What they compute: loss_ref.py."""

cimport numpy as cnp
from libc.math cimport NAN

from native cimport (
    BINARY_CROSS_ENTROPY, COUNT_CORRECT, COUNT_CORRECT_BINARY, CROSS_ENTROPY_LABELS, CROSS_ENTROPY_SOFT,
    DICE, FOCAL_LABELS, FOCAL_SOFT, LABEL_DIVISOR, REDUCE_LOSS, SQUARED_ERROR, Call, Execute, KernelId, Note,
    executor, expect, expect_shape, index_check, input, new_call, noter, output, passes, same_shape,
)

from fastnn.kernels import empty

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()

cdef double COST = 100  # about what a logit costs, in FLOP


def cross_entropy_labels(z, label, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c with integer labels, and its gradient."""
    _of_labels(CROSS_ENTROPY_LABELS, z, label, weight, smoothing, reduction, losses, loss, dz)


def cross_entropy_soft(z, target, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c with rows of targets, and its gradient."""
    _of_rows(CROSS_ENTROPY_SOFT, z, target, weight, smoothing, reduction, losses, loss, dz)


def focal_labels(z, label, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -w_c (1 - p_c)^gamma log p_c, p = softmax(z_m), c = label_m, and its gradient."""
    _of_labels(FOCAL_LABELS, z, label, weight, gamma, reduction, losses, loss, dz)


def focal_soft(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc (1 - p_c)^gamma log p_c, p = softmax(z_m), and its gradient."""
    _of_rows(FOCAL_SOFT, z, target, weight, gamma, reduction, losses, loss, dz)


def binary_cross_entropy(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses = -w1 t (1 - p)^gamma log p - w0 (1 - t) p^gamma log(1 - p), p = sigmoid(z)."""
    cdef cnp.ndarray az, atarget, alosses, aweight, adz
    cdef Call call = new_call(BINARY_CROSS_ENTROPY, z, "z")
    az, atarget = input(z, "z", &call), input(target, "target", &call)
    alosses = output(losses, "losses", &call)
    expect_shape(
        az.ndim > 0 and same_shape(az, atarget) and same_shape(az, alosses),
        "z, target and losses of one shape (..., C) are wanted",
    )
    call.array[0], call.array[1], call.array[3] = az.data, atarget.data, alosses.data
    call.size[0], call.size[1] = az.size, az.shape[az.ndim - 1]
    call.scalar[0] = gamma
    if weight is not None:
        aweight = input(weight, "weight", &call)
        expect_shape(
            aweight.ndim == 2 and aweight.shape[0] == 2 and aweight.shape[1] == call.size[1],
            "weight (2, C) is wanted",
        )
        call.array[2] = aweight.data
    if dz is not None:
        adz = output(dz, "dz", &call)
        expect_shape(same_shape(az, adz), "z and dz of one shape are wanted")
        call.array[4] = adz.data
    call.work = COST * az.size
    _reduce(&call, reduction, <double> az.size, None, losses, loss)


def dice(z, target, weight, smooth, reduction, losses, loss, dz):
    """losses_mc = w_c (1 - (2 sum_s p t + smooth) / (sum_s (p + t) + smooth)), p = sigmoid(z)."""
    cdef cnp.ndarray az, atarget, alosses, aweight, adz
    cdef Call call = new_call(DICE, z, "z")
    az, atarget = input(z, "z", &call), input(target, "target", &call)
    alosses = output(losses, "losses", &call)
    expect_shape(az.ndim == 3 and same_shape(az, atarget), "z and target of one shape (M, S, C) are wanted")
    call.size[0], call.size[1], call.size[2] = az.shape[0], az.shape[1], az.shape[2]
    expect_shape(
        alosses.ndim == 2 and alosses.shape[0] == call.size[0] and alosses.shape[1] == call.size[2],
        "losses (M, C) are wanted",
    )
    call.array[0], call.array[1], call.array[3] = az.data, atarget.data, alosses.data
    call.scalar[0] = smooth
    if weight is not None:
        aweight = input(weight, "weight", &call)
        expect_shape(aweight.ndim == 1 and aweight.shape[0] == call.size[2], "weight (C,) is wanted")
        call.array[2] = aweight.data
    if dz is not None:
        adz = output(dz, "dz", &call)
        expect_shape(same_shape(az, adz), "z and dz of one shape are wanted")
        call.array[4] = adz.data
    call.work = COST * az.size
    _reduce(&call, reduction, <double> alosses.size, None, losses, loss)


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
    _reduce(&call, reduction, <double> ay.size, None, losses, loss)


def count_correct_labels(y, label, count):
    """count += number of rows m whose largest output y_mc is at c = label_m."""
    cdef cnp.ndarray alabel
    cdef Call call = new_call(COUNT_CORRECT, y, "y")
    alabel = expect(label, "label", cnp.NPY_INT64, False)
    expect_shape(alabel.ndim == 1 and alabel.shape[0] == len(y), "y (M, C), label (M,) are wanted")
    call.array[1] = alabel.data
    _count(&call, y, count)


def count_correct_soft(y, target, count):
    """count += number of rows m whose largest output y_mc is where target_mc is largest."""
    cdef cnp.ndarray atarget
    cdef Call call = new_call(COUNT_CORRECT, y, "y")
    atarget = input(target, "target", &call)
    expect_shape(same_shape(atarget, <cnp.ndarray> y), "y and target of one shape (M, C) are wanted")
    call.array[2] = atarget.data
    _count(&call, y, count)


def count_correct_binary(y, target, count):
    """count += number of elements where y > 0 says what target > 1/2 does."""
    cdef cnp.ndarray ay, atarget, acount = expect(count, "count", cnp.NPY_INT64, True)
    cdef Call call = new_call(COUNT_CORRECT_BINARY, y, "y")
    ay, atarget = input(y, "y", &call), input(target, "target", &call)
    expect_shape(same_shape(ay, atarget), "y and target of one shape are wanted")
    expect_shape(acount.ndim == 1 and acount.shape[0] == 1, "count (1,) is wanted")
    call.array[0], call.array[1], call.array[2] = ay.data, atarget.data, acount.data
    call.size[0] = ay.size
    execute(&call)


cdef int _of_labels(
    KernelId kernel, object z, object label, object weight, double number, int reduction, object losses,
    object loss, object dz
) except -1:
    """A loss of rows of logits and their labels; `number` is its smoothing or gamma."""
    cdef cnp.ndarray alabel, factors = None
    cdef Call check, call = new_call(kernel, z, "z")
    alabel = expect(label, "label", cnp.NPY_INT64, False)
    _logits(&call, z, weight, number, losses, dz)
    expect_shape(alabel.ndim == 1 and alabel.shape[0] == call.size[0], "z (M, C), label (M,) are wanted")
    call.array[1] = alabel.data
    check = index_check(alabel, call.size[1])
    if not passes(check):
        raise ValueError("label out of range")
    note(&check)
    if call.array[2] != NULL and reduction == 2:
        factors = _divide_by_weights(&call)
    return _reduce(&call, reduction, <double> call.size[0], factors, losses, loss)


cdef int _of_rows(
    KernelId kernel, object z, object target, object weight, double number, int reduction, object losses,
    object loss, object dz
) except -1:
    """The same of rows of targets."""
    cdef cnp.ndarray atarget
    cdef Call call = new_call(kernel, z, "z")
    atarget = input(target, "target", &call)
    _logits(&call, z, weight, number, losses, dz)
    expect_shape(same_shape(atarget, <cnp.ndarray> z), "z and target of one shape (M, C) are wanted")
    call.array[1] = atarget.data
    return _reduce(&call, reduction, <double> call.size[0], None, losses, loss)


cdef int _count(Call *call, object y, object count) except -1:
    cdef cnp.ndarray ay = input(y, "y", call), acount = expect(count, "count", cnp.NPY_INT64, True)
    expect_shape(ay.ndim == 2 and ay.shape[1] > 0, "y (M, C) is wanted, C at least 1")
    expect_shape(acount.ndim == 1 and acount.shape[0] == 1, "count (1,) is wanted")
    call.array[0], call.array[3] = ay.data, acount.data
    call.size[0], call.size[1] = ay.shape[0], ay.shape[1]
    execute(call)
    return 0


cdef int _logits(Call *call, object z, object weight, double number, object losses, object dz) except -1:
    """What the losses of classes share: z (M, C), weight (C,), losses (M,), dz (M, C)."""
    cdef cnp.ndarray az, aweight, alosses, adz
    az, alosses = input(z, "z", call), output(losses, "losses", call)
    expect_shape(
        az.ndim == 2 and alosses.ndim == 1 and alosses.shape[0] == az.shape[0],
        "z (M, C), losses (M,) are wanted",
    )
    call.size[0], call.size[1] = az.shape[0], az.shape[1]
    call.array[0], call.array[3] = az.data, alosses.data
    call.scalar[0] = number
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


cdef cnp.ndarray _divide_by_weights(Call *call):
    """Let the call divide by the sum of its labels' weights, which is computed anew whenever it runs."""
    cdef cnp.ndarray factors = empty((2,), "float64")
    cdef Call divisor
    divisor.kernel, divisor.is_double = LABEL_DIVISOR, call.is_double
    divisor.array[0], divisor.array[1], divisor.array[2] = call.array[2], call.array[1], factors.data
    divisor.size[0] = call.size[0]
    execute(&divisor)
    call.array[5] = factors.data
    return factors


cdef int _reduce(
    Call *call, int reduction, double divisor, cnp.ndarray factors, cnp.ndarray losses, object loss
) except -1:
    """Run the call with the gradient's factor, then reduce its losses."""
    cdef cnp.ndarray aloss = expect(loss, "loss", cnp.NPY_DOUBLE, True)
    cdef Call total
    expect_shape(aloss.ndim == 1 and aloss.shape[0] == 1, "loss (1,) is wanted")
    if reduction != 2:
        divisor = 1
    elif divisor == 0:
        divisor = NAN  # the mean of nothing
    call.scalar[1] = 1 / divisor
    execute(call)
    total.kernel, total.is_double = REDUCE_LOSS, call.is_double
    total.array[0], total.array[1] = losses.data, aloss.data
    if factors is not None:
        total.array[2] = factors.data
    total.scalar[0] = divisor
    total.size[0] = losses.size
    execute(&total)
    return 0
