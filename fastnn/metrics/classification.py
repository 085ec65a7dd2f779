"""Metrics of decisions: accuracy, top-k accuracy, confusion matrix, precision, recall, F1, kappa."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, choose, positive_int, sample_weights, warn
from fastnn.classes import check_count, class_count, numbers_of_text
from fastnn.kernels import ops

FIRST_ROWS = 100


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
    if target.ndim != 2 or target.shape[1] < 2 or len(target) == 0:
        return False
    # The first rows tell nearly always that real targets are no classes.
    return all(
        bool(rows.min() >= 0) and bool(np.allclose(rows.sum(axis=1), 1, atol=1e-3))
        for rows in (target[:FIRST_ROWS], target)
    )


# The largest confusion matrix has 2 GiB.
MOST_ROWS = 2**14

AVERAGES = ("macro", "micro", "weighted", "binary", "none")


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


def precision(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str | None = None,
    zero_division: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return the precision TP / (TP + FP), with the same values as scikit-learn.

    Args:
        outputs: Scores (N, C), logits (N, 1) or (N, C), or predicted labels (N,): see `fastnn.metrics`.
        targets: Labels (N,), or one-hot or soft rows (N, C), or rows (N, C) of several labels.
        average: "macro", the mean over the classes that occur in predictions or targets (over all classes if
            samples have several labels); "weighted", the mean weighted by the number of targets of each
            class; "micro", computed from the total counts; "binary", the value of class 1 of two; "none", an
            array with one value per class. None: "binary" for one output, else "macro".
        zero_division: The value for 0 / 0: a class that is never predicted.
        sample_weight: Weights (N,), at least 0, or None for ones.

    Returns:
        A float, or a float64 array (C,) for `average="none"`.

    Raises:
        ValueError: If `average` is unknown, or shapes or lengths do not fit.
        TypeError: If labels are not integers.
    """
    counts = _counts(outputs, targets, sample_weight)
    return _averaged(counts.correct, counts.predicted, counts, average, zero_division)


def recall(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str | None = None,
    zero_division: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return the recall TP / (TP + FN). Takes the same arguments as `precision`."""
    counts = _counts(outputs, targets, sample_weight)
    return _averaged(counts.correct, counts.true, counts, average, zero_division)


def f1(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str | None = None,
    zero_division: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall.

    Takes the same arguments as `precision`.
    """
    counts = _counts(outputs, targets, sample_weight)
    return _averaged(2 * counts.correct, counts.predicted + counts.true, counts, average, zero_division)


def report(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, names: Sequence[str] | None = None) -> str:
    """Return a text table: precision, recall, F1 and number of samples per class, their means, the accuracy.

    `names` are the names of the classes, by default 0, 1, ..., or the labels if they are text. Raises
    ValueError unless there is one name per class.
    """
    text = numbers_of_text(outputs, targets)
    if text is not None:
        outputs, targets, names = text[0], text[1], names or text[2]
    table = confusion(outputs, targets)
    count = len(table)
    if names is not None and len(names) != count:
        raise ValueError(f"there are {len(names)} names for {count} classes")
    rows = list(names) if names is not None else list(map(str, range(count)))
    columns = [metric(outputs, targets, average="none") for metric in (precision, recall, f1)]
    means = [metric(outputs, targets, average="macro") for metric in (precision, recall, f1)]
    width = max(map(len, (*rows, "accuracy")))
    lines = [f"{'':{width}}  precision  recall      F1  samples"]
    for row, *values, samples in zip(rows, *columns, table.sum(axis=1), strict=True):
        lines.append(f"{row:{width}}  {values[0]:9.4f}  {values[1]:6.4f}  {values[2]:6.4f}  {samples:7,}")
    lines.append(f"{'mean':{width}}  {means[0]:9.4f}  {means[1]:6.4f}  {means[2]:6.4f}  {table.sum():7,}")
    lines.append(f"{'accuracy':{width}}  {np.trace(table) / table.sum():9.4f}")
    return "\n".join(lines)


FEW_LOGITS = 8  # so few may all lie in [0, 1] by chance


class _Decisions(NamedTuple):
    """What was predicted and what is true: classes (N,) int64, or 0 and 1 for several labels, (N, C)."""

    predicted: Array
    true: Array
    classes: int
    """The number of classes that the shape of the outputs shows; 0 for labels."""
    binary: bool = False
    several: bool = False


class _Counts(NamedTuple):
    """For each class: the number of samples for which it is predicted rightly, is predicted, and is true."""

    correct: Array
    predicted: Array
    true: Array
    binary: bool
    several: bool


def _counts(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> _Counts:
    found = _decisions(outputs, targets)
    if found.several:
        weight = weights_of(sample_weight, len(found.true))
        correct = weight @ (found.predicted * found.true)
        return _Counts(correct, weight @ found.predicted, weight @ found.true, False, True)
    table = _table(found, sample_weight)
    return _Counts(np.diagonal(table), table.sum(axis=0), table.sum(axis=1), found.binary, False)


def _averaged(
    numerator: Array, denominator: Array, counts: _Counts, average: str | None, zero_division: float
) -> Any:
    """Average numerator / denominator over the classes."""
    if average is None:
        average = "binary" if counts.binary else "macro"
    choose(average, dict.fromkeys(AVERAGES), "average")
    if average == "micro":
        numerator, denominator = numerator.sum(keepdims=True), denominator.sum(keepdims=True)
    ratios = np.full(len(numerator), float(zero_division))
    np.divide(numerator, denominator, out=ratios, where=denominator > 0)
    if average == "none":
        return ratios
    if average == "binary":
        if counts.several or len(ratios) > 2:
            raise ValueError(
                f'average="binary" needs the classes 0 and 1, but there are {len(ratios)} classes'
            )
        return float(ratios[1]) if len(ratios) == 2 else float(zero_division)
    if average == "weighted" and counts.true.any():
        return float(np.average(ratios, weights=counts.true))
    if average == "macro" and not counts.several:
        ratios = ratios[counts.predicted + counts.true > 0]
    return float(ratios.mean())


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
