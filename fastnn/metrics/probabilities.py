"""Metrics of the outputs themselves instead of the decisions: ROC AUC, average precision and log loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, choose, warn
from fastnn.metrics.decisions import has_classes, labels_of, weights_of

AVERAGES = ("macro", "micro", "weighted", "none")


def roc_auc(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str = "macro",
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return the area under the ROC curve: how probably a sample of a class scores above one of another.

    Equal scores count one half. More than two classes are ranked one against the rest by their softmax
    probabilities: scikit-learn's `roc_auc_score(labels, softmax(outputs), multi_class="ovr")`.

    Args:
        outputs: Scores (N,) or (N, 1) of one output, or logits (N, C).
        targets: 0 and 1 for one output, else labels (N,), one-hot rows (N, C), or rows of several labels.
        average: "macro", the mean over the classes; "weighted", the mean weighted by the number of targets of
            each class; "micro", over all pairs of a sample and a class; "none", an array with one value per
            class. Has no effect for one output and for two classes, where class 1 is ranked.
        sample_weight: Weights (N,), at least 0, or None for ones.

    Returns:
        A float, or a float64 array (C,) for `average="none"`.

    Raises:
        ValueError: If `average` is unknown, shapes do not fit, outputs contain NaN, or a class has no samples
            or all of them.
        TypeError: If labels are not integers.
    """
    return _averaged(_roc_auc, outputs, targets, average, sample_weight)


def average_precision(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str = "macro",
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return the average precision, sum_n (R_n - R_{n-1}) P_n over the distinct scores, in descending order.

    P_n and R_n are precision and recall of the samples that score at least the n-th of them. Takes the same
    arguments as `roc_auc`. Raises ValueError if a class has no samples.
    """
    return _averaged(_average_precision, outputs, targets, average, sample_weight)


def log_loss(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Return the mean of -log p of the true class, with p = softmax(logits), or the sigmoid of one output.

    The same as scikit-learn's `log_loss(labels, softmax(outputs))`, but not clipped.

    Args:
        outputs: Logits (N, C), or (N,) or (N, 1) of one output.
        targets: Labels (N,), one-hot or soft rows (N, C), or 0 and 1 for one output.
        sample_weight: Weights (N,), at least 0, or None for ones.

    Raises:
        ValueError: If shapes do not fit, outputs contain NaN, or samples have several labels.
        TypeError: If labels are not integers.
    """
    scores, truth = _checked(outputs, targets)
    weight = weights_of(sample_weight, len(scores))
    if scores.shape[1] == 1:  # the logits (0, z) of two classes
        scores, truth = np.concatenate((np.zeros_like(scores), scores), axis=1), truth.reshape(-1)
    elif truth.ndim == 2 and not has_classes(truth):
        raise ValueError(
            "the log loss of several labels per sample is ambiguous: "
            'fn.evaluate(..., loss="binary_cross_entropy") gives the mean over all outputs'
        )
    else:
        _warn_of_probabilities(scores)
    rows = truth if truth.ndim == 2 else _one_hot(labels_of(truth, "targets"), scores.shape[1])
    log_p = _log_softmax(scores)
    losses = -np.multiply(rows, log_p, out=np.zeros_like(log_p), where=rows != 0).sum(axis=1)  # not 0 * -inf
    return float(np.average(losses, weights=weight))


def _averaged(
    metric: Callable[[Array, Array, Array, str], float],
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    average: str,
    sample_weight: npt.ArrayLike | None,
) -> Any:
    """The average over the classes of metric(scores (N,), truth (N,) bool, weight (N,), class)."""
    choose(average, dict.fromkeys(AVERAGES), "average")
    scores, truth = _ranked(*_checked(outputs, targets))
    weight = weights_of(sample_weight, len(scores))
    if scores.shape[1] == 1:
        return metric(scores[:, 0], truth[:, 0], weight, "class 1")
    if average == "micro":
        return metric(scores.ravel(), truth.ravel(), weight.repeat(scores.shape[1]), "any class")
    values = np.array(
        [metric(scores[:, k], truth[:, k], weight, f"class {k}") for k in range(scores.shape[1])]
    )
    if average == "none":
        return values
    return float(np.average(values, weights=weight @ truth if average == "weighted" else None))


def _roc_auc(scores: Array, truth: Array, weight: Array, name: str) -> float:
    hits, misses = _counts_above(scores, truth, weight)
    if not hits[-1] or not misses[-1]:
        missing = "of" if not hits[-1] else "outside"
        raise ValueError(f"ROC AUC is undefined: there is no sample {missing} {name} with a weight above 0")
    area = (np.diff(misses, prepend=0) * (hits + np.concatenate(([0], hits[:-1]))) / 2).sum()
    return float(area / (hits[-1] * misses[-1]))


def _average_precision(scores: Array, truth: Array, weight: Array, name: str) -> float:
    hits, misses = _counts_above(scores, truth, weight)
    if not hits[-1]:
        raise ValueError(
            f"average precision is undefined: there is no sample of {name} with a weight above 0"
        )
    precision = np.zeros_like(hits)
    np.divide(hits, hits + misses, out=precision, where=hits > 0)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def _counts_above(scores: Array, truth: Array, weight: Array) -> tuple[Array, Array]:
    """For each distinct score, descending: the weight of the true and of the other samples at or above it."""
    order = np.argsort(-scores, kind="stable")
    scores, truth, weight = scores[order], truth[order], weight[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    return np.cumsum(weight * truth, dtype=float)[last], np.cumsum(weight * ~truth, dtype=float)[last]


def _ranked(scores: Array, truth: Array) -> tuple[Array, Array]:
    """What to rank: scores (N, K), and whether each sample is of each class, (N, K) bool.

    K is 1 for one output and for two classes, whose softmax probability of class 1 ranks as the difference of
    their logits does.
    """
    if scores.shape[1] == 1:
        return scores, truth.reshape(-1, 1) == 1
    if truth.ndim == 2 and not has_classes(truth):
        return scores, truth == 1
    label = labels_of(truth, "targets")
    if scores.shape[1] == 2:
        _one_hot(label, 2)
        return scores[:, 1:] - scores[:, :1], label[:, None] == 1
    _warn_of_probabilities(scores)
    exponentials = np.exp(_shifted(scores))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities, _one_hot(label, scores.shape[1]) == 1


def _checked(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Array, Array]:
    """Return outputs (N, K) as float64 without NaN, and targets that fit them."""
    scores, truth = real_array(outputs, "outputs"), real_array(targets, "targets")
    if scores.ndim not in (1, 2) or not scores.size or truth.ndim == 0 or len(scores) != len(truth):
        raise ValueError(
            "outputs must be scores of shape (N,), (N, 1) or (N, C), one row per target, got shape "
            f"{scores.shape} for targets of shape {truth.shape}"
        )
    scores = scores.reshape(len(scores), -1).astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"outputs must not be NaN, but {int(np.isnan(scores).sum())} are")
    if scores.shape[1] == 1:
        if truth.shape not in ((len(scores),), (len(scores), 1)) or not np.isin(truth, (0, 1)).all():
            raise ValueError(
                "one output ranks 1 above 0, so targets must be 0 or 1 of shape (N,) or (N, 1), got "
                f"{truth.shape} from {truth.min()} to {truth.max()}"
            )
    elif truth.ndim == 2 and truth.shape != scores.shape:
        raise ValueError(f"targets must have the shape of the outputs, {scores.shape}, got {truth.shape}")
    elif truth.ndim == 2 and not has_classes(truth) and not np.isin(truth, (0, 1)).all():
        raise ValueError("the rows of targets must be one-hot, probabilities that sum to 1, or 0 and 1")
    return scores, truth


def _one_hot(label: Array, classes: int) -> Array:
    if label.max() >= classes:
        raise ValueError(f"there is a class {label.max()}, but only {classes} outputs per sample")
    return np.eye(classes)[label]


def _shifted(logits: Array) -> Array:
    """Subtract the largest logit of each row, so that exponentials cannot overflow."""
    return np.asarray(logits - logits.max(axis=1, keepdims=True))


def _log_softmax(logits: Array) -> Array:
    shifted = _shifted(logits)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _warn_of_probabilities(scores: Array) -> None:
    """Warn of rows that are probabilities: the softmax of them would be another ranking."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1):
        warn("outputs look like probabilities, but must be logits: pass np.log(outputs)")
