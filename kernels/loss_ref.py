"""Losses with their gradients in NumPy: the specification.

`reduction` is 0 (none), 1 (sum) or 2 (mean). It scales the gradient and forms `loss`, a float64
array of one element; `losses` always holds the unreduced values. With reduction 0 `loss` is the sum.
A gradient array of None leaves the gradient out.
"""

import numpy as np


def cross_entropy_labels(z, label, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c  with  t_m = (1 - s) onehot(label_m) + s / C.

    z (M, C), label (M,) int64 in [0, C), weight w (C,) or None for ones, smoothing s
    -> losses (M,), loss (1,) float64, dz (M, C) or None.
    The mean divides by sum_m w[label_m], as PyTorch's does. Without smoothing only the label's own term
    counts, so that another class may have the logit -inf.
    Raises ValueError for a label outside [0, C), before anything is written.
    """
    rows, classes = z.shape
    if rows and (label.min() < 0 or label.max() >= classes):
        raise ValueError("label out of range")
    target = np.full_like(z, smoothing / classes) if classes else np.empty_like(z)
    target[np.arange(rows), label] += 1 - smoothing
    divisor = float(rows) if weight is None else float(weight[label].sum(dtype=np.float64))
    weighted = target if weight is None else target * weight
    log_p = _log_softmax(z)
    terms = weighted * log_p if smoothing else (weighted * log_p)[np.arange(rows), label][:, None]
    _cross_entropy(terms, weighted, log_p, divisor, reduction, losses, loss, dz)


def cross_entropy_soft(z, target, weight, smoothing, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc log softmax(z_m)_c  with  t_m = (1 - s) target_m + s / C.

    As `cross_entropy_labels`, with target (M, C) of z's type; the mean divides by M.
    """
    rows, classes = z.shape
    target = target * z.dtype.type(1 - smoothing) + z.dtype.type(smoothing / max(classes, 1))
    weighted = target if weight is None else target * weight
    log_p = _log_softmax(z)
    _cross_entropy(weighted * log_p, weighted, log_p, float(rows), reduction, losses, loss, dz)


def count_correct_labels(y, label, count):
    """count += number of rows m whose largest output y_mc is at c = label_m.

    y (M, C), C at least 1, label (M,) int64, count (1,) int64, changed. Of several largest outputs the first
    one counts, and nan is the largest.
    """
    count[0] += np.count_nonzero(y.argmax(axis=1) == label)


def count_correct_soft(y, target, count):
    """count += number of rows m whose largest output y_mc is where target_mc is largest.

    As `count_correct_labels`, with target (M, C).
    """
    count_correct_labels(y, target.argmax(axis=1), count)


def _log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True) if z.size else z
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _cross_entropy(terms, weighted, log_p, divisor, reduction, losses, loss, dz):
    """losses = -sum of the terms of a row;  dz = (sum_c w_c t_c) p - w t."""
    losses[...] = -terms.sum(axis=1)
    if dz is not None:
        dz[...] = weighted.sum(axis=1, keepdims=True) * np.exp(log_p) - weighted
    _reduce(losses, divisor, reduction, loss, dz)


def squared_error(y, target, reduction, losses, loss, dy):
    """losses = (y - target)^2 / 2, elementwise; the mean divides by the number of elements.

    y, target of any one shape -> losses and dy (or None) of that shape, loss (1,) float64.
    """
    np.subtract(y, target, out=losses)
    if dy is not None:
        dy[...] = losses
    losses *= losses
    losses *= 0.5
    _reduce(losses, float(y.size), reduction, loss, dy)


def _reduce(losses, divisor, reduction, loss, gradient):
    loss[0] = losses.sum(dtype=np.float64)
    if reduction == 2:
        loss[0] = loss[0] / divisor if divisor else np.nan
        if gradient is not None:
            gradient *= 1 / divisor if divisor else np.nan
