"""How good the outputs are, apart from the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, choose, positive_int
from fastnn.kernels import ops


def count_correct(outputs: Array, target: Array, count: Array, *, binary: bool = False) -> None:
    """count += number of rows whose largest output is at the label (N,) or at the largest target (N, C).

    `binary`: the number of logits, of which each decides for itself, that say what their targets do.
    """
    if binary:
        ops.count_correct_binary(outputs, target, count)
    elif target.ndim == 1:
        ops.count_correct_labels(outputs, target, count)
    else:
        ops.count_correct_soft(outputs, target, count)


def has_classes(target: Array) -> bool:
    """Whether targets name classes, so that an accuracy means something: labels, or rows that sum to 1."""
    if target.ndim == 1:
        return target.dtype == np.int64
    return (
        target.ndim == 2
        and target.shape[1] > 1
        and bool((target >= 0).all())
        and bool(np.allclose(target.sum(axis=1), 1, atol=1e-3))
    )


# --- for people: of outputs (N, C) or predicted labels (N,), and of labels (N,) or rows (N, C) of targets ---

AVERAGES = ("macro", "micro", "weighted", "none")


def accuracy(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The share of the samples whose class is predicted."""
    predicted, labels = _labels(outputs, "outputs"), _labels(targets, "targets")
    return float((predicted == _alike(predicted, labels)).mean())


def top_k(k: int) -> Callable[[npt.ArrayLike, npt.ArrayLike], float]:
    """A metric of outputs (N, C): the share of the samples whose class is among the `k` largest outputs.

    Of equal outputs the later ones count as larger, so that a model that says nothing has no luck by order.
    """
    positive_int(k, "k")

    def metric(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
        scores, labels = np.asarray(outputs), _labels(targets, "targets")
        if scores.ndim != 2 or scores.shape[0] != len(labels):
            raise ValueError(f"outputs (N, C) for {len(labels)} targets are wanted, not {scores.shape}")
        own = scores[np.arange(len(labels)), labels][:, None]
        later = np.arange(scores.shape[1]) > labels[:, None]
        above = (scores > own).sum(axis=1) + ((scores == own) & later).sum(axis=1)
        return float((above < k).mean())

    metric.__name__ = f"top{k}"
    return metric


def confusion(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, classes: int | None = None) -> Array:
    """How many samples of class i are predicted to be of class j: int64 (classes, classes)."""
    predicted, labels = _labels(outputs, "outputs"), _labels(targets, "targets")
    labels = _alike(predicted, labels)
    width = np.shape(outputs)[1] if np.ndim(outputs) == 2 else 0
    least = int(max(predicted.max(), labels.max())) + 1
    count = max(least, width) if classes is None else classes
    if count < least:
        raise ValueError(f"there is a class {least - 1}, but classes={classes}")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def precision(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, average: str = "macro", zero_division: float = 0.0
) -> Any:
    """TP / (TP + FP): the share of those predicted to be of a class that are.

    `average`: "macro", the mean over the classes that occur among predictions or targets; "weighted", by the
    number of their targets; "micro", of all counts together; "none", an array with each class. 0 / 0, for a
    class that nothing is predicted to be, is `zero_division`. scikit-learn's numbers.
    """
    table = confusion(outputs, targets)
    return _averaged(np.diagonal(table), table.sum(axis=0), table, average, zero_division)


def recall(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, average: str = "macro", zero_division: float = 0.0
) -> Any:
    """TP / (TP + FN): the share of those of a class that are predicted to be. Options as of `precision`."""
    table = confusion(outputs, targets)
    return _averaged(np.diagonal(table), table.sum(axis=1), table, average, zero_division)


def f1(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, *, average: str = "macro", zero_division: float = 0.0
) -> Any:
    """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall. Options as of `precision`."""
    table = confusion(outputs, targets)
    both = table.sum(axis=0) + table.sum(axis=1)
    return _averaged(2 * np.diagonal(table), both, table, average, zero_division)


def report(outputs: npt.ArrayLike, targets: npt.ArrayLike, *, names: Sequence[str] | None = None) -> str:
    """A table as text: precision, recall, F1 and the number of samples of each class, and their means."""
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


def _averaged(part: Array, whole: Array, table: Array, average: str, zero_division: float) -> Any:
    """part / whole of each class, averaged."""
    choose(average, dict.fromkeys(AVERAGES), "average")
    if average == "micro":
        part, whole = part.sum(keepdims=True), whole.sum(keepdims=True)
    shares = np.full(len(part), float(zero_division))
    np.divide(part, whole, out=shares, where=whole > 0)
    if average == "none":
        return shares
    if average == "weighted":
        return float(np.average(shares, weights=table.sum(axis=1)))
    occurs = (table.sum(axis=0) + table.sum(axis=1) > 0) if average == "macro" else slice(None)
    return float(shares[occurs].mean())


def _labels(values: npt.ArrayLike, name: str) -> Array:
    """Labels (N,) as they are, the places of the largest of rows (N, C). Raises ValueError, TypeError."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] > 1 and len(array):
        largest: Array = array.argmax(axis=1)
        return largest
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"{name} must be labels (N,) or rows (N, C) of at least two classes, not {array.shape}"
        )
    if array.dtype.kind not in "biu":
        raise TypeError(f"labels are whole numbers, but {name} are {array.dtype}")
    if array.min() < 0:
        raise ValueError(f"labels count from 0, but {name} have {array.min()}")
    return array.astype(np.int64)


def _alike(predicted: Array, labels: Array) -> Array:
    if len(predicted) != len(labels):
        raise ValueError(f"there are {len(predicted)} outputs for {len(labels)} targets")
    return labels
