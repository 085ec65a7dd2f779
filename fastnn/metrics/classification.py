"""Metrics of decisions: accuracy, top-k accuracy, confusion matrix, kappa; and the counts of each class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, choose, positive_int, sample_weights, warn
from fastnn.classes import check_count, class_count, numbers_of_text
from fastnn.kernels import ops


def count_correct(outputs: Array, target: Array, count: Array, *, binary: bool = False) -> None:
    """Add the number of correct predictions to `count` (1,) int64.

    A row of `outputs` (N, C) is correct if its largest value is at the label, `target` (N,), or where its row
    of `target` (N, C) is largest. With `binary`, each logit is a prediction of its own.
    """
    if binary:
        ops.count_correct_binary(outputs, target, count)
    elif target.ndim == 1:
        ops.count_correct_labels(outputs, target, count)
    else:
        ops.count_correct_soft(outputs, target, count)


def has_classes(target: Array) -> bool:
    """Whether `target` holds classes, so that accuracy is defined: integer labels, or rows that sum to 1."""
    if target.ndim == 1:
        return target.dtype == np.int64
    return (
        target.ndim == 2
        and target.shape[1] > 1
        and len(target) > 0
        and bool(target.min() >= 0)
        and bool(np.allclose(target.sum(axis=1), 1, atol=1e-3))
    )


# The largest confusion matrix has 2 GiB.
MOST_ROWS = 2**14


def accuracy(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Return the fraction of samples, or of their weights, that are classified correctly.

    Raises ValueError if shapes or lengths do not fit or samples have several labels, and TypeError if labels
    are not integers.
    """
    found = _decisions(outputs, targets)
    if found.several:
        raise ValueError(
            "the accuracy of several labels per sample is ambiguous: use fn.metrics.f1, precision or recall; "
            'fn.evaluate(..., loss="binary_cross_entropy") gives the fraction of outputs that are right'
        )
    weight = weights_of(sample_weight, len(found.true))
    return float(np.average(found.predicted == found.true, weights=weight))


def top_k(k: int) -> Callable[..., float]:
    """Return a metric: the fraction of samples whose class is among the `k` largest outputs of (N, C).

    The metric takes `outputs`, `targets` and `sample_weight=`.
    Of equal outputs, the later one ranks higher, so a model with constant outputs gains nothing from ties.
    Raises ValueError if `k` is not a positive integer.
    """
    positive_int(k, "k")

    def metric(
        outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        scores, labels = real_array(outputs, "outputs"), labels_of(targets, "targets")
        if scores.ndim != 2 or scores.shape[0] != len(labels):
            raise ValueError(
                f"outputs must have shape ({len(labels)}, C), one row per target, got {scores.shape}"
            )
        class_count(labels, scores.shape[1])
        true_score = scores[np.arange(len(labels)), labels][:, None]
        later = np.arange(scores.shape[1]) > labels[:, None]
        rank = (scores > true_score).sum(axis=1) + ((scores == true_score) & later).sum(axis=1)
        return float(np.average(rank < k, weights=weights_of(sample_weight, len(labels))))

    metric.__name__ = f"top{k}"
    return metric


def confusion(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    classes: int | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> Array:
    """Return the confusion matrix: entry [i, j] is the number of samples of class i predicted as class j.

    The matrix has shape (classes, classes). It is int64, or with `sample_weight` float64: the sums of the
    weights. `classes` defaults to the smallest number that covers all labels and the columns of `outputs`.
    One output has the classes 0 and 1. Raises ValueError if a label is not below `classes`, or samples have
    several labels.
    """
    found = _decisions(outputs, targets)
    if found.several:
        raise ValueError(
            "samples with several labels have no confusion matrix: use fn.metrics.precision or recall, or "
            "pass one column, confusion(outputs[:, [k]], targets[:, k])"
        )
    return _table(found, sample_weight, classes)


def cohen_kappa(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    weights: str | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Return Cohen's kappa: the agreement of predictions and targets beyond chance, 1 if all agree.

    kappa = 1 - sum_ij w_ij n_ij / sum_ij w_ij e_ij, where n is the confusion matrix, e the one of independent
    predictions with the same totals, and w_ij = 1 for i != j, |i - j| or (i - j)^2 (Cohen 1960 and 1968).
    It is NaN if all predictions and targets are of one class.

    Args:
        outputs: Scores (N, C), logits (N, 1), or predicted labels (N,): see `fastnn.metrics`.
        targets: Labels (N,), or one-hot or soft rows (N, C).
        weights: None, "linear" or "quadratic": how a disagreement between the classes i and j counts.
        sample_weight: Weights (N,), at least 0, or None for ones.

    Raises:
        ValueError: If `weights` is unknown or shapes do not fit.
        TypeError: If labels are not integers.
    """
    if weights is not None:
        choose(weights, dict.fromkeys(("linear", "quadratic")), "weights")
    table = confusion(outputs, targets, sample_weight=sample_weight).astype(np.float64)
    distance = np.abs(np.subtract.outer(np.arange(len(table)), np.arange(len(table))))
    penalty = distance > 0 if weights is None else distance if weights == "linear" else distance**2
    chance = (penalty * np.outer(table.sum(axis=1), table.sum(axis=0))).sum() / table.sum()
    return float(1 - (penalty * table).sum() / chance) if chance else math.nan


def _table(
    found: _Decisions, sample_weight: npt.ArrayLike | None = None, classes: int | None = None
) -> Array:
    """The confusion matrix of decisions between classes."""
    predicted, labels, columns = found.predicted, found.true, found.classes
    needed = int(max(predicted.max(), labels.max())) + 1
    count = max(needed, columns) if classes is None else positive_int(classes, "classes")
    if count < needed:
        raise ValueError(f"there is a class {needed - 1}, but classes={classes}")
    cause = f"the label {needed - 1}" if classes is None else f"classes={classes}"
    check_count(count, cause, MOST_ROWS)
    # An array of our own, within its range: NumPy reads an index twice, and another thread may change labels.
    cell = np.clip(labels.astype(np.int64) * count + predicted, 0, count * count - 1)
    weight = weights_of(sample_weight, len(labels))
    counts = np.bincount(cell, None if sample_weight is None else weight, minlength=count * count)
    table: Array = counts.reshape(count, count)
    return table


FEW_LOGITS = 8  # so few may all lie in [0, 1] by chance


class _Decisions(NamedTuple):
    """What was predicted and what is true: classes (N,) int64, or 0 and 1 for several labels, (N, C)."""

    predicted: Array
    true: Array
    classes: int
    """The number of classes that the shape of the outputs shows; 0 for labels."""
    binary: bool = False
    several: bool = False


class ClassCounts(NamedTuple):
    """For each class: the number of samples for which it is predicted rightly, is predicted, and is true."""

    correct: Array
    predicted: Array
    true: Array
    total: Any
    """The number of samples, or their weight."""
    binary: bool
    several: bool


def class_counts(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> ClassCounts:
    """Count the decisions of each class. Raises ValueError or TypeError for unsuitable arrays."""
    found = _decisions(outputs, targets)
    if found.several:
        weight = weights_of(sample_weight, len(found.true))
        correct = weight @ (found.predicted * found.true)
        return ClassCounts(correct, weight @ found.predicted, weight @ found.true, weight.sum(), False, True)
    table = _table(found, sample_weight)
    correct, predicted, true = np.diagonal(table), table.sum(axis=0), table.sum(axis=1)
    return ClassCounts(correct, predicted, true, table.sum(), found.binary, False)


def _decisions(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> _Decisions:
    """Decide which kind of problem it is, and what is predicted. Raises ValueError or TypeError."""
    text = numbers_of_text(outputs, targets)
    if text is not None:
        outputs, targets = text[:2]
    scores, truth = real_array(outputs, "outputs"), real_array(targets, "targets")
    if scores.ndim > 0 and truth.ndim > 0 and len(scores) != len(truth):
        raise ValueError(f"there are {len(scores)} outputs for {len(truth)} targets")
    if scores.ndim == 2 and scores.shape[1] == 1 and len(scores):
        if truth.shape not in ((len(scores),), (len(scores), 1)) or not _is_zero_or_one(truth):
            raise ValueError(
                "one output decides between 0 and 1, so targets must be 0 or 1 of shape (N,) or (N, 1), "
                f"got {truth.shape} from {truth.min()} to {truth.max()}"
            )
        return _Decisions(_positive(scores[:, 0]), truth.reshape(-1).astype(np.int64), 2, binary=True)
    if truth.ndim == 2 and truth.shape[1] > 1 and not has_classes(truth) and _is_zero_or_one(truth):
        if scores.shape != truth.shape:
            raise ValueError(f"outputs must have the shape of the targets, {truth.shape}, got {scores.shape}")
        return _Decisions(_positive(scores), truth.astype(np.int64), truth.shape[1], several=True)
    if scores.ndim == truth.ndim == 2 and scores.shape != truth.shape:
        raise ValueError(f"there are {scores.shape[1]} outputs per sample for targets of shape {truth.shape}")
    columns = scores.shape[1] if scores.ndim == 2 else 0
    return _Decisions(labels_of(scores, "outputs"), labels_of(truth, "targets"), columns)


def _is_zero_or_one(array: Array) -> bool:
    return bool(((array == 0) | (array == 1)).all())


def _positive(logits: Array) -> Array:
    """1 where a logit is positive, else 0. Warns of probabilities, which are always positive."""
    in_unit_interval = logits.size > FEW_LOGITS and logits.min() >= 0 and logits.max() <= 1
    if in_unit_interval and not _is_zero_or_one(logits):
        warn("outputs look like probabilities, but must be logits: pass (outputs > 0.5).astype(int)")
    return (logits > 0).astype(np.int64)


def weights_of(sample_weight: npt.ArrayLike | None, count: int) -> Array:
    """Return the weights (N,) of `count` samples as float64, or int64 ones for None."""
    if sample_weight is None:
        return np.ones(count, np.int64)
    return sample_weights(sample_weight, count, np.dtype(np.float64))


def labels_of(values: npt.ArrayLike, name: str) -> Array:
    """Return labels (N,) int64: `values` itself, or the index of the largest value in each row of (N, C).

    Raises ValueError if the shape is another, a label is negative, or targets (N, C) are no probabilities;
    TypeError if labels are not integers.
    """
    array = real_array(values, name)
    if array.ndim == 2 and array.shape[1] > 1 and len(array):
        if name == "targets" and not has_classes(array):
            raise ValueError(
                f"the rows of {name} must be one-hot, or probabilities that sum to 1; rows of several labels "
                "consist of 0 and 1, and have only precision, recall and F1"
            )
        largest: Array = array.argmax(axis=1)
        return largest
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"{name} must have shape (N,) (labels) or (N, C) with at least 2 classes, got {array.shape}"
        )
    if array.dtype.kind not in "biu":
        hint = ": pass logits with shape (N, 1)" if name == "outputs" else ""
        raise TypeError(f"labels must be integers, but {name} are {array.dtype}{hint}")
    if array.min() < 0:
        raise ValueError(f"labels must be at least 0, but {name} contain {array.min()}")
    if array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"labels must be below 2^63, but {name} contain {array.max()}")
    return array.astype(np.int64)
