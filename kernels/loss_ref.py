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


def focal_labels(z, label, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -w_c (1 - p_c)^gamma log p_c  with  p = softmax(z_m), c = label_m: Lin et al. 2017.

    As `cross_entropy_labels`, which it is with gamma = 0; gamma at least 0.
    """
    rows, classes = z.shape
    if rows and (label.min() < 0 or label.max() >= classes):
        raise ValueError("label out of range")
    target = np.zeros_like(z)
    target[np.arange(rows), label] = 1 if weight is None else weight[label]
    divisor = float(rows) if weight is None else float(weight[label].sum(dtype=np.float64))
    _focal(z, target, gamma, divisor, reduction, losses, loss, dz)


def focal_soft(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses_m = -sum_c w_c t_mc (1 - p_c)^gamma log p_c  with  p = softmax(z_m).

    As `focal_labels`, with target (M, C) of z's type; the mean divides by M. A class whose target is 0 may
    have the logit -inf.
    """
    weighted = target if weight is None else target * weight
    _focal(z, weighted, gamma, float(len(z)), reduction, losses, loss, dz)


def binary_cross_entropy(z, target, weight, gamma, reduction, losses, loss, dz):
    """losses = -w1 t (1 - p)^gamma log p - w0 (1 - t) p^gamma log(1 - p)  with  p = sigmoid(z), elementwise.

    z, target (..., C) of any one shape, weight (2, C), w1 of the ones and w0 of the zeros, or None for ones,
    gamma at least 0: 0 is cross-entropy, else the focal loss of Lin et al. 2017
    -> losses and dz (or None) of that shape, loss (1,) float64. The mean divides by the number of elements.
    """
    one = z.dtype.type(1)
    if_one, if_zero = (one, one) if weight is None else weight
    e = np.exp(-np.abs(z))
    # -log p and -log(1 - p), which cannot overflow.
    hit, miss = np.maximum(0, -z) + np.log1p(e), np.maximum(0, z) + np.log1p(e)
    p, q = np.where(z < 0, e, one) / (1 + e), np.where(z < 0, one, e) / (1 + e)
    ones, zeros = if_one * target, if_zero * (1 - target)
    if gamma == 0:
        losses[...] = ones * hit + zeros * miss
        if dz is not None:
            dz[...] = zeros * p - ones * q
    else:
        ones, zeros, gamma = ones * np.exp(-gamma * miss), zeros * np.exp(-gamma * hit), z.dtype.type(gamma)
        losses[...] = ones * hit + zeros * miss
        if dz is not None:
            dz[...] = zeros * (gamma * q * miss + p) - ones * (gamma * p * hit + q)
    _reduce(losses, float(z.size), reduction, loss, dz)


def dice(z, target, weight, smooth, reduction, losses, loss, dz):
    """losses_mc = w_c (1 - (2 sum_s p t + smooth) / (sum_s (p + t) + smooth)),  p = sigmoid(z), 0 / 0 = 1.

    z, target (M, S, C), weight (C,) or None for ones, smooth at least 0 -> losses (M, C), loss (1,) float64,
    dz (M, S, C) or None. The mean divides by M C. (Milletari et al. 2016, but with the sums not squared.)
    """
    weight = z.dtype.type(1) if weight is None else weight
    e = np.exp(-np.abs(z))
    p = np.where(z < 0, e, 1) / (1 + e)
    both = 2 * (p * target).sum(axis=1, dtype=np.float64) + smooth
    total = (p + target).sum(axis=1, dtype=np.float64) + smooth
    empty = total == 0
    total = np.where(empty, 1, total)
    ratio = np.where(empty, 1, both / total)
    losses[...] = weight * (1 - ratio)
    if dz is not None:
        slopes = (ratio / total)[:, None] - np.where(empty, 0, 2 / total)[:, None] * target
        dz[...] = np.where(empty[:, None], 0, weight * (p * (1 - p)) * slopes)
    _reduce(losses, float(losses.size), reduction, loss, dz)


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


def count_correct_binary(y, target, count):
    """count += number of elements where y > 0 says what target > 1/2 does.

    y logits, target of one shape, count (1,) int64, changed.
    """
    count[0] += np.count_nonzero((y > 0) == (target > 0.5))


def _log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True) if z.size else z
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _cross_entropy(terms, weighted, log_p, divisor, reduction, losses, loss, dz):
    """losses = -sum of the terms of a row;  dz = (sum_c w_c t_c) p - w t."""
    losses[...] = -terms.sum(axis=1)
    if dz is not None:
        dz[...] = weighted.sum(axis=1, keepdims=True) * np.exp(log_p) - weighted
    _reduce(losses, divisor, reduction, loss, dz)


def _focal(z, target, gamma, divisor, reduction, losses, loss, dz):
    """losses = sum_c t (1 - p)^gamma s,  s = -log p;  dz_k = g_k - p_k sum_c g_c.

    g = -t (1 - p)^gamma (gamma p s / (1 - p) + 1) is the derivative after log p. Written with s / (1 - p),
    which is 1 where p is 1, it is finite for every gamma.
    """
    surprise = -_log_softmax(z)
    p, q = np.exp(-surprise), -np.expm1(-surprise)
    gamma = z.dtype.type(gamma)
    factor = np.where(q == 0, 0, q) ** gamma
    weighted = target * factor
    losses[...] = np.where(weighted == 0, 0, weighted * surprise).sum(axis=1)
    if dz is not None:
        ratio = np.where(q == 0, 1, surprise / np.where(q == 0, 1, q))
        g = -weighted * (np.where(p == 0, 0, gamma * p * ratio) + 1)
        dz[...] = g - p * g.sum(axis=1, keepdims=True)
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
