"""Metrics of the counts of right and wrong decisions: precision, recall, F1, and a report of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, choose
from fastnn.classes import numbers_of_text
from fastnn.metrics.classification import ClassCounts, class_counts, confusion

AVERAGES = ("macro", "micro", "weighted", "binary", "none")


class Counts(NamedTuple):
    """Numbers of right and wrong decisions: int64, or float64 with weights; arrays (C,) for C classes."""

    true_positive: Any
    false_positive: Any
    false_negative: Any
    true_negative: Any


def counts(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> Counts:
    """Return the numbers of true positives, false positives, false negatives and true negatives.

    For one output they are those of class 1, else arrays with one value per class, each class against the
    others.

    >>> fn.metrics.counts([[2.0], [-1.0], [0.5]], [1, 1, 0])
    Counts(true_positive=1, false_positive=1, false_negative=1, true_negative=0)

    Args:
        outputs: Scores (N, C), logits (N, 1) or (N, C), or predicted labels (N,): see `fastnn.metrics`.
        targets: Labels (N,), or one-hot or soft rows (N, C), or rows (N, C) of several labels.
        sample_weight: Weights (N,), at least 0, or None for ones.

    Raises:
        ValueError: If shapes or lengths do not fit.
        TypeError: If labels are not integers.
    """
    found = class_counts(outputs, targets, sample_weight)
    rest = found.total - found.predicted - found.true + found.correct
    each = (found.correct, found.predicted - found.correct, found.true - found.correct, rest)
    return Counts(*(array[1].item() for array in each)) if found.binary else Counts(*each)


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
    counts = class_counts(outputs, targets, sample_weight)
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
    counts = class_counts(outputs, targets, sample_weight)
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
    counts = class_counts(outputs, targets, sample_weight)
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


def _averaged(
    numerator: Array, denominator: Array, counts: ClassCounts, average: str | None, zero_division: float
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
