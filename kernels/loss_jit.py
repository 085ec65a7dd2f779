"""Numba losses with their gradients, and counts of correct predictions, specified by `loss_ref.py`.

The divisor of the mean is known before the first row, so each gradient element is scaled when it is written.
Loops that sum are separate from loops that compute elementwise: LLVM vectorizes only the latter.
"""

import math

import numpy as np

from fastnn.kernels.jit.indices import index_at
from fastnn.kernels.jit.numba_cache import jit, kernel
from fastnn.kernels.jit.reduction import divisor_of, reduce_losses
from fastnn.kernels.jit.vmath import exp, expm1_of_negative, log, sigmoid


@kernel(label=np.int64, loss=np.float64)
def cross_entropy_labels(z, label, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c,  t_m = (1 - s) onehot(label_m) + s / C.

    z (M, C), label (M,) int64 in [0, C), weight w (C,) or None for ones, smoothing s
    -> losses (M,), loss (1,) float64, dz (M, C) or None.
    """
    rows, classes = z.shape
    _check(z, None, losses, loss, dz)
    divisor = divisor_of(reduction, _check_labels(label, z, weight), rows)
    T = z.dtype.type
    own, others = T(1 - smoothing), T(smoothing / max(classes, 1))
    scale = T(1 / divisor)
    t, e = np.empty(classes, z.dtype), np.empty(classes, z.dtype)
    for m in range(rows):
        own_class = index_at(label, m, _labels(z, weight))
        if own_class < 0 or own_class == classes:
            _fill_row(m, np.nan if own_class < 0 else 0.0, losses, dz)
            continue
        t[:] = others
        t[own_class] += own
        largest, log_total = _cross_entropy(z, m, t, weight, e, scale, losses, dz)
        if smoothing == 0:  # only the term of the label, since another class may have the logit -inf
            losses[m] = -t[own_class] * (z[m, own_class] - largest - log_total)
    reduce_losses(losses, divisor, loss)


@kernel(loss=np.float64)
def cross_entropy_soft(z, target, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c,  t_m = (1 - s) target_m + s / C.

    Like `cross_entropy_labels`, but with target (M, C) of z's dtype; the mean divides by M.
    """
    rows, classes = z.shape
    _check(z, weight, losses, loss, dz)
    if target.shape != z.shape:
        raise ValueError("target must have the shape of z")
    T = z.dtype.type
    own, others = T(1 - smoothing), T(smoothing / max(classes, 1))
    divisor = divisor_of(reduction, rows, rows)
    scale = T(1 / divisor)
    t, e = np.empty(classes, z.dtype), np.empty(classes, z.dtype)
    for m in range(rows):
        for c in range(classes):
            t[c] = target[m, c] * own + others
        _cross_entropy(z, m, t, weight, e, scale, losses, dz)
    reduce_losses(losses, divisor, loss)


@kernel(label=np.int64, loss=np.float64)
def focal_labels(z, label, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -w_c (1 - p_c)^gamma log p_c,  p = softmax(z_m), c = label_m.

    Like `cross_entropy_labels`, with gamma >= 0 in place of smoothing; gamma = 0 is cross-entropy.
    """
    rows, classes = z.shape
    _check(z, None, losses, loss, dz)
    divisor = divisor_of(reduction, _check_labels(label, z, weight), rows)
    scale = z.dtype.type(1 / divisor)
    t, e = np.empty(classes, z.dtype), np.empty(classes, z.dtype)
    terms = np.empty(classes, z.dtype)
    for m in range(rows):
        own_class = index_at(label, m, _labels(z, weight))
        if own_class < 0 or own_class == classes:
            _fill_row(m, np.nan if own_class < 0 else 0.0, losses, dz)
            continue
        t[:] = 0
        t[own_class] = 1
        _focal(z, m, t, weight, z.dtype.type(gamma), e, terms, scale, losses, dz)
    reduce_losses(losses, divisor, loss)


@kernel(loss=np.float64)
def focal_soft(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc (1 - p_c)^gamma log p_c,  p = softmax(z_m).

    Like `focal_labels`, but with target (M, C) of z's dtype; the mean divides by M.
    """
    rows, classes = z.shape
    _check(z, weight, losses, loss, dz)
    if target.shape != z.shape:
        raise ValueError("target must have the shape of z")
    divisor = divisor_of(reduction, rows, rows)
    scale = z.dtype.type(1 / divisor)
    t, e = np.empty(classes, z.dtype), np.empty(classes, z.dtype)
    terms = np.empty(classes, z.dtype)
    for m in range(rows):
        t[:] = target[m]
        _focal(z, m, t, weight, z.dtype.type(gamma), e, terms, scale, losses, dz)
    reduce_losses(losses, divisor, loss)


@jit
def _focal(z, m, t, weight, gamma, e, terms, scale, losses, dz):
    """Compute loss and gradient of row m with the targets t (C,).

    Overwrites t with the g of the specification, e (C,) with the softmax, terms (C,) with the terms of the
    loss.
    """
    T = z.dtype.type
    zero, one = T(0), T(1)
    classes = z.shape[1]
    largest = T(-np.inf)
    for c in range(classes):
        largest = max(largest, z[m, c])
    for c in range(classes):
        e[c] = exp(z[m, c] - largest)
    log_total = log(_sum(e, T))
    for c in range(classes):
        e[c] = expm1_of_negative(z[m, c] - largest - log_total)  # p - 1
    terms[:] = one
    if gamma != zero:
        for c in range(classes):
            terms[c] = exp(log(-e[c]) * gamma)
    for c in range(classes):
        nll, p = log_total - (z[m, c] - largest), one + e[c]
        weighted = t[c] * terms[c]
        if weight is not None:
            weighted *= weight[c]
        ratio = one if e[c] == zero else nll / -e[c]
        slope = zero if p == zero else gamma * p * ratio  # avoids 0 * inf = NaN
        terms[c] = zero if weighted == zero else weighted * nll
        t[c] = -weighted * (slope + one)
        e[c] = p
    losses[m] = _sum(terms, T)
    sum_g = _sum(t, T)
    if dz is not None:
        for c in range(classes):
            dz[m, c] = (t[c] - e[c] * sum_g) * scale


@kernel(label=np.int64, loss=np.float64)
def hinge_labels(z, label, weight, margin, reduction, losses, loss, dz):
    """losses_m = w_c max(0, margin + max_{k != c} z_mk - z_mc),  c = label_m.

    Like `cross_entropy_labels`, with margin >= 0 in place of smoothing.
    """
    rows, classes = z.shape
    _check(z, None, losses, loss, dz)
    divisor = divisor_of(reduction, _check_labels(label, z, weight), rows)
    T = z.dtype.type
    zero, one, margin, scale = T(0), T(1), T(margin), T(1 / divisor)
    for m in range(rows):
        own_class = index_at(label, m, _labels(z, weight))
        if own_class < 0 or own_class == classes:
            _fill_row(m, np.nan if own_class < 0 else 0.0, losses, dz)
            continue
        rival = -1  # the first NaN, or else the first largest score of another class
        for c in range(classes):
            if c != own_class and (rival < 0 or not (math.isnan(z[m, rival]) or z[m, c] <= z[m, rival])):
                rival = c
        gap = zero if rival < 0 else margin + (z[m, rival] - z[m, own_class])
        own = one if weight is None else weight[own_class]
        losses[m] = zero if gap <= zero else own * gap
        if dz is not None:
            dz[m] = zero
            if not gap <= zero:
                dz[m, rival] = own * scale
                dz[m, own_class] = -own * scale
    reduce_losses(losses, divisor, loss)


@jit
def _sum(values, T):
    total = T(0)
    for value in values:
        total += value
    return total


@kernel(loss=np.float64)
def dice(z, target, weight, smooth, reduction, losses, loss, dz):
    """losses_mc = w_c (1 - (2 sum_s p t + smooth) / (sum_s (p + t) + smooth)),  p = sigmoid(z), t_s >= 0.

    z, target (M, S, C), weight (C,) or None -> losses (M, C), loss (1,) float64, dz (M, S, C) or None.
    0 / 0 counts as 1. The sums leave out pixels with a negative target.
    """
    M, S, C = z.shape
    if target.shape != z.shape or losses.shape != (M, C) or loss.shape != (1,):
        raise ValueError("z and target must have shape (M, S, C), losses (M, C) and loss (1,)")
    if dz is not None and dz.shape != z.shape:
        raise ValueError("dz must have the shape of z")
    if weight is not None and weight.shape != (C,):
        raise ValueError("weight must have one element for each class")
    divisor = divisor_of(reduction, losses.size, M)
    scale = 1 / divisor
    p, t = np.empty(S, z.dtype), np.empty(S, z.dtype)
    for m in range(M):
        for c in range(C):
            for s in range(S):
                p[s], t[s] = sigmoid(z[m, s, c]), target[m, s, c]
                if t[s] < 0:
                    p[s] = t[s] = 0
            overlap, total = 0.0, 0.0
            for s in range(S):
                overlap += p[s] * t[s]
                total += p[s] + t[s]
            denominator = total + smooth
            w = 1.0 if weight is None else float(weight[c])
            ratio = (2 * overlap + smooth) / denominator if denominator != 0 else 1.0
            losses[m, c] = w * (1 - ratio)
            if dz is not None:
                factor = w * scale / denominator if denominator != 0 else 0.0
                for s in range(S):
                    dz[m, s, c] = p[s] * (1 - p[s]) * factor * (ratio - 2 * t[s])
    reduce_losses(losses.reshape(-1), divisor, loss)


@jit
def _check(z, weight, losses, loss, dz):
    rows, classes = z.shape
    if weight is not None and weight.shape != (classes,):
        raise ValueError("weight must have one element for each class")
    if losses.shape != (rows,) or loss.shape != (1,):
        raise ValueError("losses must have shape (M,) and loss (1,), where z is (M, C)")
    if dz is not None and dz.shape != z.shape:
        raise ValueError("dz must have the shape of z")


@jit
def _check_labels(label, z, weight):
    """Check labels and class weights; return the sum of the weights of the labels, by which the mean divides.

    Raises ValueError for a label outside [0, C), or [0, C] with weights (C + 1,).
    """
    rows, classes = z.shape
    if label.shape != (rows,):
        raise ValueError("label must have shape (M,), where z is (M, C)")
    labels = _labels(z, weight)
    if labels != classes and labels != classes + 1:
        raise ValueError("weight must have one element for each class, and may have one for label C")
    total = 0.0
    for m in range(rows):
        own_class = index_at(label, m, labels)
        if own_class < 0:
            raise ValueError("label out of range")
        total += 1.0 if weight is None else weight[own_class]
    return total


@jit
def _labels(z, weight):
    """The number of labels: C, or C + 1 if C is the label of rows to ignore."""
    return z.shape[1] if weight is None else weight.size


@jit
def _fill_row(m, value, losses, dz):
    """Make row m 0 if it is ignored, or NaN: another thread has changed its label since it was checked."""
    losses[m] = value
    if dz is not None:
        dz[m] = value


@jit
def _cross_entropy(z, m, t, weight, e, scale, losses, dz):
    """Compute loss and gradient of row m with the targets t (C,).

    Overwrites t with the weighted targets; e (C,) is scratch memory. Returns (a, b) with
    log softmax(z_m) = z_m - a - b: the largest logit, and the logarithm of the sum of exponentials.
    """
    T = z.dtype.type
    classes = z.shape[1]
    largest = T(-np.inf)  # max ignores a NaN here, but the sum becomes NaN, and so do loss and gradient
    for c in range(classes):
        largest = max(largest, z[m, c])
    for c in range(classes):
        e[c] = exp(z[m, c] - largest)
    total = _sum(e, T)
    log_total = log(total)
    if weight is not None:
        for c in range(classes):
            t[c] *= weight[c]
    mass, loss = T(0), T(0)
    for c in range(classes):
        mass += t[c]
        loss -= t[c] * (z[m, c] - largest - log_total)
    losses[m] = loss
    if dz is not None:
        for c in range(classes):
            dz[m, c] = (mass * (e[c] / total) - t[c]) * scale
    return largest, log_total


@kernel(label=np.int64, loss=np.float64)
def weigh_loss(sample_weight, weight, label, reduction, losses, loss, dz):
    """losses_m *= s_m, loss = sum_m losses_m / D, dz_m *= s_m / D, with the D of the specification.

    sample_weight s (M,), losses (M, ...) and dz (M, ...) or None, updated in place -> loss (1,) float64.
    label (M,) int64 in [0, C) and weight (C,), or both None.
    """
    rows = sample_weight.size
    if len(losses) != rows or loss.shape != (1,) or (dz is not None and len(dz) != rows):
        raise ValueError("losses and dz must have one row for each sample weight, and loss shape (1,)")
    total, with_label = 0.0, 0.0
    for m in range(rows):
        total += sample_weight[m]
    if (label is None) != (weight is None):
        raise ValueError("label (M,) and weight (C,) come together")
    if label is not None:
        if label.shape != (rows,):
            raise ValueError("label must have shape (M,)")
        for m in range(rows):
            if label[m] < 0 or label[m] >= weight.size:
                raise ValueError("label out of range")
        for m in range(rows):
            own_class = index_at(label, m, weight.size)
            with_label += sample_weight[m] * weight[own_class] if own_class >= 0 else np.nan
    per_row = losses.size // max(rows, 1)
    if rows and total == 0:
        total = np.inf
    if rows and with_label == 0:
        with_label = np.inf
    divisor = divisor_of(reduction, total * per_row if label is None else with_label, total)
    flat = losses.reshape(-1)
    _weigh(flat, sample_weight, 1.0)
    if dz is not None:
        _weigh(dz.reshape(-1), sample_weight, 1 / divisor)
    reduce_losses(flat, divisor, loss)


@jit
def _weigh(x, sample_weight, factor):
    """x_m *= s_m factor for the rows of x, which has been flattened."""
    per_row = x.size // max(sample_weight.size, 1)
    for m in range(sample_weight.size):
        scale = x.dtype.type(sample_weight[m] * factor)
        for k in range(m * per_row, (m + 1) * per_row):
            x[k] *= scale


@kernel(label=np.int64, count=np.int64)
def count_correct_labels(y, label, count):
    """count += number of rows m with argmax_c y_mc = label_m.

    y (M, C) with C >= 1, label (M,) int64; count (1,) int64, updated in place.
    """
    _check_count(y, label.shape == y.shape[:1], count)
    for m in range(len(y)):
        if _first_largest(y[m]) == label[m]:
            count[0] += 1


@kernel(count=np.int64)
def count_correct_soft(y, target, count):
    """count += number of rows m with argmax_c y_mc = argmax_c target_mc.

    Like `count_correct_labels`, but with class probabilities target (M, C) in place of labels.
    """
    _check_count(y, target.shape == y.shape, count)
    for m in range(len(y)):
        if _first_largest(y[m]) == _first_largest(target[m]):
            count[0] += 1


@kernel(count=np.int64)
def count_correct_binary(y, target, count):
    """count += number of elements with (y > 0) = (target > 1/2) and a target that is not negative."""
    if y.shape != target.shape or count.shape != (1,):
        raise ValueError("y and target must have the same shape, and count shape (1,)")
    y, target = y.reshape(-1), target.reshape(-1)
    for i in range(y.size):
        if (y[i] > 0) == (target[i] > 0.5) and not target[i] < 0:
            count[0] += 1


@jit
def _check_count(y, fits, count):
    if y.shape[1] < 1 or not fits or count.shape != (1,):
        raise ValueError("shapes must be y (M, C) with C >= 1, label (M,) or target (M, C), and count (1,)")


@jit
def _first_largest(row):
    """The index of the first NaN, or else of the first maximum."""
    best = 0
    for c in range(1, len(row)):
        if math.isnan(row[best]):
            break
        if not row[c] <= row[best]:
            best = c
    return best
