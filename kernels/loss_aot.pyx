# distutils: language = c++
"""Argument checks of the compiled losses (loss.hpp). loss_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    REDUCE_LOSS, Call, DiceSizes, Elements, Execute, KernelId, LabelSizes, MatrixSizes, Note, WeighSizes,
    executor, expect_one_element, expect_same_shape, floats, index_check, kernel_id, new_call, noter, operand,
    passes, shape_error,
)
from reduction cimport BATCH_MEAN, MEAN, reduced, sum_losses

from fastnn.kernels import empty

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()

cdef KernelId CROSS_ENTROPY_LABELS = kernel_id("cross_entropy_labels")
cdef KernelId CROSS_ENTROPY_SOFT = kernel_id("cross_entropy_soft")
cdef KernelId FOCAL_LABELS = kernel_id("focal_labels")
cdef KernelId FOCAL_SOFT = kernel_id("focal_soft")
cdef KernelId HINGE_LABELS = kernel_id("hinge_labels")
cdef KernelId DICE = kernel_id("dice")
cdef KernelId COUNT_CORRECT = kernel_id("count_correct")
cdef KernelId COUNT_CORRECT_BINARY = kernel_id("count_correct_binary")
cdef KernelId LABEL_DIVISOR = kernel_id("label_divisor")
cdef KernelId WEIGH_LOSS = kernel_id("weigh_loss")

cdef double COST = 100  # approximate cost of a logit, in FLOP


def cross_entropy_labels(z, label, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c with integer labels, and its gradient."""
    _with_labels(CROSS_ENTROPY_LABELS, z, label, weight, smoothing, reduction, losses, loss, dz)


def cross_entropy_soft(z, target, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c with probabilities as targets, and its gradient."""
    _with_targets(CROSS_ENTROPY_SOFT, z, target, weight, smoothing, reduction, losses, loss, dz)


def focal_labels(z, label, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -w_c (1 - p_c)^gamma log p_c, p = softmax(z_m), c = label_m, and its gradient."""
    _with_labels(FOCAL_LABELS, z, label, weight, gamma, reduction, losses, loss, dz)


def focal_soft(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc (1 - p_c)^gamma log p_c, p = softmax(z_m), and its gradient."""
    _with_targets(FOCAL_SOFT, z, target, weight, gamma, reduction, losses, loss, dz)


def hinge_labels(z, label, weight, margin, reduction, losses, loss, dz):
    """losses_m = w_c max(0, margin + max_{k != c} z_mk - z_mc), c = label_m, and its gradient."""
    _with_labels(HINGE_LABELS, z, label, weight, margin, reduction, losses, loss, dz)


def dice(z, target, weight, smooth, reduction, losses, loss, dz):
    """losses_mc = w_c (1 - (2 sum_s p t + smooth) / (sum_s (p + t) + smooth)), p = sigmoid(z), t_s >= 0."""
    cdef cnp.ndarray az, alosses
    cdef Call call = new_call(DICE, z, "z")
    az, alosses = floats(&call, "z", z), floats(&call, "losses", losses)
    expect_same_shape("z", az, "target", floats(&call, "target", target))
    if not (
        az.ndim == 3
        and alosses.ndim == 2
        and alosses.shape[0] == az.shape[0]
        and alosses.shape[1] == az.shape[2]
    ):
        raise shape_error("z (M, S, C), losses (M, C)", {"z": z, "losses": losses})
    _class_weights(&call, weight, az, az.shape[2], 0)
    _gradient(&call, az, dz)
    call.set_sizes(DiceSizes(az.shape[0], az.shape[1], az.shape[2]))
    call.scalar[0] = smooth
    call.work = COST * az.size
    reduced(execute, &call, reduction, <double> alosses.size, az.shape[0], None, losses, loss)


def weigh_loss(sample_weight, weight, label, reduction, losses, loss, dz):
    """losses_m *= s_m, loss = sum_m losses_m / D, dz_m *= s_m / D, with the D of the specification."""
    cdef cnp.ndarray aweight, alosses, alabel, aclass, adz, factors = None
    cdef Py_ssize_t rows, gradients = 0
    cdef Call labels, total, call = new_call(WEIGH_LOSS, sample_weight, "sample_weight")
    labels.kernel, labels.is_double = LABEL_DIVISOR, call.is_double
    aweight, alosses = floats(&call, "sample_weight", sample_weight), floats(&call, "losses", losses)
    if aweight.ndim != 1 or alosses.ndim == 0 or alosses.shape[0] != aweight.shape[0]:
        raise shape_error(
            "sample_weight (M,), losses (M, ...)", {"sample_weight": sample_weight, "losses": losses}
        )
    rows = max(aweight.shape[0], 1)
    if dz is not None:
        adz = floats(&call, "dz", dz)
        if adz.ndim == 0 or adz.shape[0] != aweight.shape[0]:
            raise shape_error("sample_weight (M,), dz (M, ...)", {"sample_weight": sample_weight, "dz": dz})
        gradients = adz.size // rows
    if label is not None or weight is not None:
        alabel, aclass = operand(&labels, "label", label, cnp.NPY_INT64), floats(&labels, "weight", weight)
        if alabel.ndim != 1 or alabel.shape[0] != aweight.shape[0] or aclass.ndim != 1:
            raise shape_error("label (M,), weight (C,)", {"label": label, "weight": weight})
        _check_labels(alabel, aclass.shape[0])
    total.kernel, total.is_double = REDUCE_LOSS, call.is_double
    expect_one_element("loss", operand(&total, "loss", loss, cnp.NPY_DOUBLE))
    if reduction == MEAN and label is not None:
        factors = _sum_weights(&call, weight, label, sample_weight, 1)
    elif reduction == MEAN or reduction == BATCH_MEAN:
        factors = _sum_weights(
            &call, None, None, sample_weight, alosses.size // rows if reduction == MEAN else 1
        )
    call.set_sizes(WeighSizes(aweight.shape[0], alosses.size // rows, gradients))
    call.work = 2.0 * (alosses.size + gradients * rows)
    execute(&call)
    sum_losses(execute, &total, alosses, factors, 1)


def count_correct_labels(y, label, count):
    """count += number of rows m whose largest output y_mc is at c = label_m."""
    cdef cnp.ndarray ay, alabel
    cdef Call call = new_call(COUNT_CORRECT, y, "y")
    ay, alabel = floats(&call, "y", y), operand(&call, "label", label, cnp.NPY_INT64)
    if ay.ndim != 2 or alabel.ndim != 1 or alabel.shape[0] != ay.shape[0]:
        raise shape_error("y (M, C), label (M,)", {"y": y, "label": label})
    _count(&call, ay, count)


def count_correct_soft(y, target, count):
    """count += number of rows m whose largest output y_mc is where target_mc is largest."""
    cdef cnp.ndarray ay
    cdef Call call = new_call(COUNT_CORRECT, y, "y")
    ay = floats(&call, "y", y)
    expect_same_shape("y", ay, "target", floats(&call, "target", target))
    _count(&call, ay, count)


def count_correct_binary(y, target, count):
    """count += number of elements with (y > 0) = (target > 1/2) and a target that is not negative."""
    cdef cnp.ndarray ay
    cdef Call call = new_call(COUNT_CORRECT_BINARY, y, "y")
    ay = floats(&call, "y", y)
    expect_same_shape("y", ay, "target", floats(&call, "target", target))
    expect_one_element("count", operand(&call, "count", count, cnp.NPY_INT64))
    call.set_sizes(Elements(ay.size))
    execute(&call)


cdef int _count(Call *call, cnp.ndarray y, object count) except -1:
    if y.ndim != 2 or y.shape[1] == 0:
        raise shape_error("y (M, C) with C > 0", {"y": y})
    expect_one_element("count", operand(call, "count", count, cnp.NPY_INT64))
    call.set_sizes(MatrixSizes(y.shape[0], y.shape[1]))
    return execute(call)


cdef int _with_labels(
    KernelId kernel, object z, object label, object weight, double parameter, int reduction, object losses,
    object loss, object dz
) except -1:
    """A loss of logits (M, C) and labels (M,); `parameter` is its smoothing, gamma or margin."""
    cdef cnp.ndarray az, alabel, factors = None
    cdef Py_ssize_t labels
    cdef Call call = new_call(kernel, z, "z")
    az = _logits(&call, z, weight, 1, parameter, losses, dz)
    alabel = operand(&call, "label", label, cnp.NPY_INT64)
    if alabel.ndim != 1 or alabel.shape[0] != az.shape[0]:
        raise shape_error("z (M, C), label (M,)", {"z": z, "label": label})
    labels = az.shape[1] if weight is None else len(weight)
    _check_labels(alabel, labels)
    call.set_sizes(LabelSizes(az.shape[0], az.shape[1], labels))
    if weight is not None and reduction == MEAN:
        factors = _sum_weights(&call, weight, label, None, 1)
    return reduced(execute, &call, reduction, <double> az.shape[0], az.shape[0], factors, losses, loss)


cdef int _check_labels(cnp.ndarray label, Py_ssize_t classes) except -1:
    """Raise ValueError unless all labels are in [0, classes), now and in every replay."""
    cdef Call check = index_check(label, classes)
    if not passes(check):
        raise ValueError(f"label must lie in [0, {classes})")
    return note(&check)


cdef int _with_targets(
    KernelId kernel, object z, object target, object weight, double parameter, int reduction, object losses,
    object loss, object dz
) except -1:
    """A loss of logits and targets (M, C)."""
    cdef cnp.ndarray az
    cdef Call call = new_call(kernel, z, "z")
    az = _logits(&call, z, weight, 0, parameter, losses, dz)
    expect_same_shape("z", az, "target", floats(&call, "target", target))
    return reduced(execute, &call, reduction, <double> az.shape[0], az.shape[0], None, losses, loss)


cdef cnp.ndarray _logits(
    Call *call, object z, object weight, Py_ssize_t more, double parameter, object losses, object dz
):
    """Set the operands z (M, C), weight (C,), losses (M,) and dz (M, C), and the sizes. Returns z.

    The weights may have `more` elements than there are classes.
    """
    cdef cnp.ndarray az, alosses
    az, alosses = floats(call, "z", z), floats(call, "losses", losses)
    if az.ndim != 2 or alosses.ndim != 1 or alosses.shape[0] != az.shape[0]:
        raise shape_error("z (M, C), losses (M,)", {"z": z, "losses": losses})
    _class_weights(call, weight, az, az.shape[1], more)
    _gradient(call, az, dz)
    call.set_sizes(MatrixSizes(az.shape[0], az.shape[1]))
    call.scalar[0] = parameter
    call.work = COST * az.size
    return az


cdef int _class_weights(
    Call *call, object weight, cnp.ndarray z, Py_ssize_t classes, Py_ssize_t more
) except -1:
    """Set the operand weight, (C,) or with `more` elements, unless it is None."""
    cdef cnp.ndarray aweight
    if weight is None:
        return 0
    aweight = floats(call, "weight", weight)
    if aweight.ndim != 1 or aweight.shape[0] not in (classes, classes + more):
        raise shape_error("weight (C,), z (..., C)", {"weight": weight, "z": z})
    return 0


cdef int _gradient(Call *call, cnp.ndarray z, object dz) except -1:
    """Set the operand dz, of the shape of z, unless it is None."""
    return 0 if dz is None else expect_same_shape("z", z, "dz", floats(call, "dz", dz))


cdef cnp.ndarray _sum_weights(Call *call, object weight, object label, object sample_weight, double per_row):
    """Let the call divide by per_row sum_m s_m w[label_m], which is computed again for every batch.

    weight w (C,) and label (M,), or both None; sample_weight s (M,) or None. The labels have been checked.
    """
    cdef cnp.ndarray factors = empty((2,), "float64")
    cdef Call divisor
    divisor.kernel, divisor.is_double = LABEL_DIVISOR, call.is_double
    divisor.set_sizes(MatrixSizes(len(label if sample_weight is None else sample_weight), 0))
    if label is not None:
        operand(&divisor, "label", label, cnp.NPY_INT64)
        divisor.set_sizes(MatrixSizes(len(label), floats(&divisor, "weight", weight).size))
    if sample_weight is not None:
        floats(&divisor, "sample_weight", sample_weight)
    operand(&divisor, "factors", factors, cnp.NPY_DOUBLE)
    divisor.scalar[0] = per_row
    execute(&divisor)
    operand(call, "factors", factors, cnp.NPY_DOUBLE)
    return factors
