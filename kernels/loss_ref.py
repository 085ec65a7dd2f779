"""Reference losses with their gradients, and counts of correct predictions, in NumPy: the specification.

Letters (kernels/README.md): M rows, C classes; "->" separates inputs from outputs. Every loss kernel writes
three outputs:
- `losses`: the unreduced losses, whatever the reduction;
- `loss` (1,) float64: their sum if `reduction` is 0 ("none") or 1 ("sum"), their mean if it is 2 ("mean"),
  and their sum divided by the length of the first axis if it is 3 ("batch_mean"); the mean over nothing
  (divisor 0) is NaN;
- the gradient of `loss`, unless that array is None.
"""

import numpy as np


def cross_entropy_labels(z, label, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c,  t_m = (1 - s) onehot(label_m) + s / C.

    z (M, C) logits, label (M,) int64 in [0, C), weight w (C,) or None for ones, smoothing s (a Python float)
    -> losses (M,), loss (1,) float64, dz (M, C) or None.
    The mean divides by sum_m w[label_m], as in PyTorch. Without smoothing only the term of the label is
    summed, so another class may have the logit -inf.
    With weight (C + 1,), labels lie in [0, C]: the losses and gradients of rows with the label C are 0, and
    its weight, the last one, is 0.
    Raises ValueError for a label outside these ranges, before anything is written.
    """
    rows, classes = z.shape
    z, label, weight, divisor = _rows_with_classes(z, label, weight)
    target = np.full_like(z, smoothing / classes) if classes else np.empty_like(z)
    target[np.arange(rows), label] += 1 - smoothing
    weighted = target * weight
    log_p = _log_softmax(z)
    terms = weighted * log_p if smoothing else (weighted * log_p)[np.arange(rows), label][:, None]
    _cross_entropy(terms, weighted, log_p, divisor, reduction, losses, loss, dz)


def cross_entropy_soft(z, target, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c,  t_m = (1 - s) target_m + s / C.

    Like `cross_entropy_labels`, but with class probabilities target (M, C) of z's dtype in place of labels.
    The mean divides by M.
    """
    rows, classes = z.shape
    target = target * z.dtype.type(1 - smoothing) + z.dtype.type(smoothing / max(classes, 1))
    weighted = target if weight is None else target * weight
    log_p = _log_softmax(z)
    _cross_entropy(weighted * log_p, weighted, log_p, float(rows), reduction, losses, loss, dz)


def focal_labels(z, label, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -w_c (1 - p_c)^gamma log p_c,  p = softmax(z_m),  c = label_m.

    Like `cross_entropy_labels`, with gamma >= 0 in place of smoothing; gamma = 0 is cross-entropy.
    The focal loss of Lin et al. 2017.
    """
    rows = np.arange(len(z))
    z, label, weight, divisor = _rows_with_classes(z, label, weight)
    target = np.zeros_like(z)
    target[rows, label] = weight[rows, label]
    _focal(z, target, gamma, divisor, reduction, losses, loss, dz)


def focal_soft(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc (1 - p_c)^gamma log p_c,  p = softmax(z_m).

    Like `focal_labels`, but with class probabilities target (M, C) of z's dtype in place of labels. The mean
    divides by M. A class whose target is 0 may have the logit -inf.
    """
    weighted = target if weight is None else target * weight
    _focal(z, weighted, gamma, float(len(z)), reduction, losses, loss, dz)


def hinge_labels(z, label, weight, margin, reduction, losses, loss, dz):
    """losses_m = w_c max(0, margin + max_{k != c} z_mk - z_mc),  c = label_m.

    Like `cross_entropy_labels`, with margin >= 0 in place of smoothing. Of several equal largest scores of
    other classes, the first gets the gradient. With a single class the losses are 0.
    The multi-class hinge loss of Crammer & Singer 2001.
    """
    rows, classes = np.arange(len(z)), z.shape[1]
    z, label, weight, divisor = _rows_with_classes(z, label, weight)
    losses[...] = 0
    if dz is not None:
        dz[...] = 0
    if classes > 1:
        others = z[np.arange(classes) != label[:, None]].reshape(len(z), classes - 1)
        rival = others.argmax(axis=1)
        gap = z.dtype.type(margin) + (others[rows, rival] - z[rows, label])
        own = weight[rows, label]
        losses[...] = np.where(gap <= 0, 0, own * gap)
        if dz is not None:
            slope = np.where(gap <= 0, 0, own)
            dz[rows, rival + (rival >= label)] = slope
            dz[rows, label] = -slope
    _reduce(losses, divisor, reduction, loss, dz)


def dice(z, target, weight, smooth, reduction, losses, loss, dz):
    """losses_mc = w_c (1 - (2 sum_s p t + smooth) / (sum_s (p + t) + smooth)),  p = sigmoid(z).

    z (M, S, C) logits of S pixels, target t (M, S, C), weight (C,) or None for ones, smooth >= 0 (a Python
    float) -> losses (M, C), loss (1,) float64, dz (M, S, C) or None.
    0 / 0 counts as 1. The mean divides by M C. Milletari et al. 2016, but with sums that are not squared.
    The sums leave out the pixels with a target t below 0, whose gradient is 0.
    """
    weight = z.dtype.type(1) if weight is None else weight
    e = np.exp(-np.abs(z))
    ignored = target < 0
    p = np.where(ignored, 0, np.where(z < 0, e, 1) / (1 + e))
    target = np.where(ignored, 0, target)
    overlap = 2 * (p * target).sum(axis=1, dtype=np.float64) + smooth
    total = (p + target).sum(axis=1, dtype=np.float64) + smooth
    empty = total == 0
    total = np.where(empty, 1, total)
    ratio = np.where(empty, 1, overlap / total)
    losses[...] = weight * (1 - ratio)
    if dz is not None:
        slopes = (ratio / total)[:, None] - np.where(empty, 0, 2 / total)[:, None] * target
        dz[...] = np.where(empty[:, None], 0, weight * (p * (1 - p)) * slopes)
    _reduce(losses, float(losses.size), reduction, loss, dz)


def count_correct_labels(y, label, count):
    """count += number of rows m with argmax_c y_mc = label_m.

    y (M, C) with C >= 1, label (M,) int64; count (1,) int64, updated in place. Of several equal maxima the
    first counts; a NaN is larger than every number.
    """
    count[0] += np.count_nonzero(y.argmax(axis=1) == label)


def count_correct_soft(y, target, count):
    """count += number of rows m with argmax_c y_mc = argmax_c target_mc.

    Like `count_correct_labels`, but with class probabilities target (M, C) in place of labels.
    """
    count_correct_labels(y, target.argmax(axis=1), count)


def count_correct_binary(y, target, count):
    """count += number of elements with (y > 0) = (target > 1/2) and a target that is not negative.

    y of any shape (logits), target of y's shape; count (1,) int64, updated in place.
    """
    count[0] += np.count_nonzero(((y > 0) == (target > 0.5)) & ~(target < 0))


def _rows_with_classes(z, label, weight):
    """Return z (M, C), label (M,), the class weights of each row (M, C), and the divisor of the mean.

    Ignored rows, those with the label C, become rows of class 0 with logits and weights 0.
    """
    rows, classes = z.shape
    label = label.copy()  # no other thread can change it after this check
    if label.size and (label.min() < 0 or label.max() >= (classes if weight is None else len(weight))):
        raise ValueError("label out of range")
    if weight is None:
        return z, label, np.ones_like(z), float(rows)
    divisor = float(weight[label].sum(dtype=np.float64))
    counts = (label < classes)[:, None]
    return np.where(counts, z, 0), np.where(counts[:, 0], label, 0), counts * weight[:classes], divisor


def _log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True) if z.size else z
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _cross_entropy(terms, weighted, log_p, divisor, reduction, losses, loss, dz):
    """losses_m = -sum of the terms of row m,  dz = (sum_c w_c t_c) p - w t."""
    losses[...] = -terms.sum(axis=1)
    if dz is not None:
        dz[...] = weighted.sum(axis=1, keepdims=True) * np.exp(log_p) - weighted
    _reduce(losses, divisor, reduction, loss, dz)


def _focal(z, target, gamma, divisor, reduction, losses, loss, dz):
    """losses = sum_c t (1 - p)^gamma s,  dz_k = g_k - p_k sum_c g_c,  with s = -log p.

    g = -t (1 - p)^gamma (gamma p s / (1 - p) + 1) is the derivative with respect to log p. The quotient
    s / (1 - p) tends to 1 as p tends to 1, so in this form g is finite for every gamma.
    """
    nll = -_log_softmax(z)
    p, q = np.exp(-nll), -np.expm1(-nll)
    gamma = z.dtype.type(gamma)
    factor = np.where(q == 0, 0, q) ** gamma
    weighted = target * factor
    losses[...] = np.where(weighted == 0, 0, weighted * nll).sum(axis=1)
    if dz is not None:
        ratio = np.where(q == 0, 1, nll / np.where(q == 0, 1, q))
        g = -weighted * (np.where(p == 0, 0, gamma * p * ratio) + 1)
        dz[...] = g - p * g.sum(axis=1, keepdims=True)
    _reduce(losses, divisor, reduction, loss, dz)


def weigh_loss(sample_weight, weight, label, reduction, losses, loss, dz):
    """losses_m *= s_m,  loss = sum_m losses_m / D,  dz_m *= s_m / D.

    sample_weight s (M,), losses (M, ...) and dz (M, ...) or None, as a loss kernel with reduction "sum" wrote
    them; both are updated in place -> loss (1,) float64.
    D is 1 for the sum, sum_m s_m for the batch mean, and for the mean sum_m s_m times the number of losses of
    a row, or sum_m s_m w[label_m] if label (M,) int64 in [0, C) and class weights w (C,) are given. If this
    sum is 0, D is infinite: loss and gradient are 0, because no sample counts.
    Raises ValueError for a label outside [0, C), before anything is written.
    """
    rows = len(sample_weight)
    if label is not None and rows and (label.min() < 0 or label.max() >= len(weight)):
        raise ValueError("label out of range")
    total = sample_weight if label is None or reduction != 2 else sample_weight * weight[label]
    divisor = total.sum(dtype=np.float64) or (np.inf if rows else 0)
    per_row = losses.size // rows if rows else 1
    for array in (losses, dz):
        if array is not None:
            array *= sample_weight.reshape(-1, *(1,) * (array.ndim - 1))
    _reduce(losses, float(divisor * per_row), reduction, loss, dz, float(divisor))


def _reduce(losses, divisor, reduction, loss, gradient, rows=None):
    """Reduce the losses and the gradient; `divisor` is that of the mean, `rows` that of the batch mean."""
    loss[0] = losses.sum(dtype=np.float64)
    if reduction < 2:
        return
    if reduction == 3:
        divisor = len(losses) if rows is None else rows
    loss[0] = loss[0] / divisor if divisor else np.nan
    if gradient is not None:
        gradient *= 1 / divisor if divisor else np.nan
