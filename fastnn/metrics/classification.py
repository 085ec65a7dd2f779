"""Metrics of decisions: accuracy, top-k accuracy, confusion matrix, precision, recall, F1, IoU, kappa."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, choose, positive_int
from fastnn.classes import check_count, class_count, numbers_of_text
from fastnn.kernels import ops
from fastnn.metrics.decisions import Decisions, decisions, labels_of, weights_of


def count_correct(outputs: Array, target: Array, count: Array, *, binary: bool = False) -> None:
    """Add the number of correct predictions to `count` (1,) int64.

    A row of `outputs` (N, ..., C) is correct if its largest value is at the label, `target` (N, ...), or
    where its row of `target` (N, C) is largest. With `binary`, each logit is a prediction of its own.
    """
    if binary:
        ops.count_correct_binary(outputs, target, count)
    elif target.ndim == outputs.ndim - 1:
        ops.count_correct_labels(outputs.reshape(-1, outputs.shape[-1]), target.reshape(-1), count)
    else:
        ops.count_correct_soft(outputs, target, count)


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
    found = decisions(outputs, targets)
    if found.several:
        raise ValueError(
            "the accuracy of several labels per sample is ambiguous: use fn.metrics.f1, precision or recall; "
            'fn.evaluate(..., loss="binary_cross_entropy") gives the fraction of outputs that are right'
        )
    return float(np.average(found.predicted == found.true, weights=found.weights(sample_weight)))


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
    found = decisions(outputs, targets)
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


def _table(found: Decisions, sample_weight: npt.ArrayLike | None = None, classes: int | None = None) -> Array:
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
    weight = found.weights(sample_weight)
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

    For masks it is called the Dice coefficient. Takes the same arguments as `precision`.
    """
    counts = _counts(outputs, targets, sample_weight)
    return _averaged(2 * counts.correct, counts.predicted + counts.true, counts, average, zero_division)


def iou(
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    average: str | None = None,
    zero_division: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return the intersection over union TP / (TP + FP + FN), the Jaccard index.

    The mean IoU of segmentation is the default for several classes: the mean over the classes that occur in
    predictions or targets. Takes the same arguments as `precision`::

        fn.metrics.iou(model.predict(images), masks)  # outputs (N, H, W, C), labels (N, H, W)
    """
    counts = _counts(outputs, targets, sample_weight)
    union = counts.predicted + counts.true - counts.correct
    return _averaged(counts.correct, union, counts, average, zero_division)


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


class _Counts(NamedTuple):
    """For each class: the number of samples for which it is predicted rightly, is predicted, and is true."""

    correct: Array
    predicted: Array
    true: Array
    binary: bool
    several: bool


def _counts(outputs: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> _Counts:
    found = decisions(outputs, targets)
    if found.several:
        weight = found.weights(sample_weight)
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
