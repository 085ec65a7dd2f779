"""Classification metrics: accuracy, top-k accuracy, confusion matrix, precision, recall and F1.

The public functions take `outputs`, scores (N, C) or predicted labels (N,), and `targets`, labels (N,) or
one-hot or soft rows (N, C). The class of a row (N, C) is the index of its largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, choose, positive_int
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
        and bool((target >= 0).all())
        and bool(np.allclose(target.sum(axis=1), 1, atol=1e-3))
    )


AVERAGES = ("macro", "micro", "weighted", "none")


def accuracy(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the fraction of samples that are classified correctly.

    Raises ValueError if shapes or lengths do not fit, and TypeError if labels are not integers.
    """
    predicted, labels = _predicted_and_true(outputs, targets)
    return float((predicted == labels).mean())


def top_k(k: int) -> Callable[[npt.ArrayLike, npt.ArrayLike], float]:
    """Return a metric: the fraction of samples whose class is among the `k` largest outputs of (N, C).

    Of equal outputs, the later one ranks higher, so a model with constant outputs gains nothing from ties.
    Raises ValueError if `k` is not a positive integer.
    """
    positive_int(k, "k")

    def metric(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
        scores, labels = np.asarray(outputs), _labels(targets, "targets")
        if scores.ndim != 2 or scores.shape[0] != len(labels):
            raise ValueError(
                f"outputs must have shape ({len(labels)}, C), one row per target, got {scores.shape}"
            )
        true_score = scores[np.arange(len(labels)), labels][:, None]
        later = np.arange(scores.shape[1]) > labels[:, None]
        rank = (scores > true_score).sum(axis=1) + ((scores == true_score) & later).sum(axis=1)
        return float((rank < k).mean())

    metric.__name__ = f"top{k}"
    return metric


def confusion(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, classes: int | None = None) -> Array:
    """Return the confusion matrix: entry [i, j] is the number of samples of class i predicted as class j.

    The matrix is int64 of shape (classes, classes). `classes` defaults to the smallest number that covers all
    labels and the columns of `outputs`. Raises ValueError if a label is not below `classes`.
    """
    predicted, labels = _predicted_and_true(outputs, targets)
    columns = np.shape(outputs)[1] if np.ndim(outputs) == 2 else 0
    needed = int(max(predicted.max(), labels.max())) + 1
    count = max(needed, columns) if classes is None else classes
    if count < needed:
        raise ValueError(f"there is a class {needed - 1}, but classes={classes}")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def precision(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, average: str = "macro", zero_division: float = 0.0
) -> Any:
    """Return the precision TP / (TP + FP), with the same values as scikit-learn.

    Args:
        outputs: Scores (N, C) or predicted labels (N,).
        targets: Labels (N,), or one-hot or soft rows (N, C).
        average: "macro", the mean over the classes that occur in predictions or targets; "weighted", the mean
            weighted by the number of targets of each class; "micro", computed from the total counts; "none",
            an array with one value per class.
        zero_division: The value for 0 / 0: a class that is never predicted.

    Returns:
        A float, or a float64 array (C,) for `average="none"`.

    Raises:
        ValueError: If `average` is unknown, or shapes or lengths do not fit.
        TypeError: If labels are not integers.
    """
    table = confusion(outputs, targets)
    return _averaged(np.diagonal(table), table.sum(axis=0), table, average, zero_division)


def recall(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, average: str = "macro", zero_division: float = 0.0
) -> Any:
    """Return the recall TP / (TP + FN). Takes the same arguments as `precision`."""
    table = confusion(outputs, targets)
    return _averaged(np.diagonal(table), table.sum(axis=1), table, average, zero_division)


def f1(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, average: str = "macro", zero_division: float = 0.0
) -> Any:
    """Return F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall.

    Takes the same arguments as `precision`.
    """
    table = confusion(outputs, targets)
    predicted_plus_true = table.sum(axis=0) + table.sum(axis=1)
    return _averaged(2 * np.diagonal(table), predicted_plus_true, table, average, zero_division)


def report(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, names: Sequence[str] | None = None) -> str:
    """Return a text table: precision, recall, F1 and number of samples per class, their means, the accuracy.

    `names` are the names of the classes, by default 0, 1, .... Raises ValueError unless there is one name per
    class.
    """
    table = confusion(outputs, targets)
    count = len(table)
    if names is not None and len(names) != count:
        raise ValueError(f"there are {len(names)} names for {count} classes")
    rows = list(names) if names is not None else list(map(str, range(count)))
    columns = [metric(outputs, targets, average="none") for metric in (precision, recall, f1)]
    means = [metric(outputs, targets) for metric in (precision, recall, f1)]
    width = max(map(len, (*rows, "accuracy")))
    lines = [f"{'':{width}}  precision  recall      F1  samples"]
    for row, *values, samples in zip(rows, *columns, table.sum(axis=1), strict=True):
        lines.append(f"{row:{width}}  {values[0]:9.4f}  {values[1]:6.4f}  {values[2]:6.4f}  {samples:7,}")
    lines.append(f"{'mean':{width}}  {means[0]:9.4f}  {means[1]:6.4f}  {means[2]:6.4f}  {table.sum():7,}")
    lines.append(f"{'accuracy':{width}}  {np.trace(table) / table.sum():9.4f}")
    return "\n".join(lines)


def _averaged(numerator: Array, denominator: Array, table: Array, average: str, zero_division: float) -> Any:
    """Average numerator / denominator over the classes; `table` is the confusion matrix."""
    choose(average, dict.fromkeys(AVERAGES), "average")
    if average == "micro":
        numerator, denominator = numerator.sum(keepdims=True), denominator.sum(keepdims=True)
    ratios = np.full(len(numerator), float(zero_division))
    np.divide(numerator, denominator, out=ratios, where=denominator > 0)
    if average == "none":
        return ratios
    if average == "weighted":
        return float(np.average(ratios, weights=table.sum(axis=1)))
    if average == "macro":
        ratios = ratios[table.sum(axis=0) + table.sum(axis=1) > 0]
    return float(ratios.mean())


def _predicted_and_true(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Array, Array]:
    """Return predicted and true labels, both (N,) int64. Raises ValueError if their lengths differ."""
    predicted, labels = _labels(outputs, "outputs"), _labels(targets, "targets")
    if len(predicted) != len(labels):
        raise ValueError(f"there are {len(predicted)} outputs for {len(labels)} targets")
    return predicted, labels


def _labels(values: npt.ArrayLike, name: str) -> Array:
    """Return labels (N,) int64: `values` itself, or the index of the largest value in each row of (N, C).

    Raises ValueError if the shape is another or a label is negative, TypeError if labels are not integers.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] > 1 and len(array):
        largest: Array = array.argmax(axis=1)
        return largest
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"{name} must have shape (N,) (labels) or (N, C) with at least 2 classes, got {array.shape}"
        )
    if array.dtype.kind not in "biu":
        raise TypeError(f"labels must be integers, but {name} are {array.dtype}")
    if array.min() < 0:
        raise ValueError(f"labels must be at least 0, but {name} contain {array.min()}")
    return array.astype(np.int64)
