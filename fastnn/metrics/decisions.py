"""What outputs and targets decide: classes of samples or of their pixels, or several labels per sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._arrays import real_array
from fastnn._validation import Array, sample_weights, warn
from fastnn.classes import numbers_of_text

FEW_LOGITS = 8  # so few may all lie in [0, 1] by chance


class Decisions(NamedTuple):
    """What was predicted and what is true: classes (N,) int64, or 0 and 1 for several labels, (N, C).

    For labels per pixel, N is the number of pixels.
    """

    predicted: Array
    true: Array
    classes: int
    """The number of classes that the shape of the outputs shows; 0 for labels."""
    binary: bool = False
    several: bool = False
    pixels: int = 1
    """The number of pixels of a sample."""

    def weights(self, sample_weight: npt.ArrayLike | None) -> Array:
        """Return the weight of the sample of each decision, as `weights_of` does."""
        weights = weights_of(sample_weight, len(self.true) // self.pixels)
        return weights if self.pixels == 1 else np.repeat(weights, self.pixels)


def are_pixel_labels(target: Array) -> bool:
    """Whether the targets of a training are several labels per sample, such as one per pixel."""
    return target.ndim > 1 and target.dtype == np.int64


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


def decisions(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> Decisions:
    """Decide which kind of problem it is, and what is predicted. Raises ValueError or TypeError."""
    text = numbers_of_text(outputs, targets)
    if text is not None:
        outputs, targets = text[:2]
    scores, truth = real_array(outputs, "outputs"), real_array(targets, "targets")
    if scores.ndim > 0 and truth.ndim > 0 and len(scores) != len(truth):
        raise ValueError(f"there are {len(scores)} outputs for {len(truth)} targets")
    if scores.ndim > 2 and truth.size:
        rows = _pixels_as_rows(scores, truth)
        if rows is not None:
            return decisions(*rows)._replace(pixels=len(rows[1]) // len(truth))
    if scores.ndim == 2 and scores.shape[1] == 1 and len(scores):
        if truth.shape not in ((len(scores),), (len(scores), 1)) or not _is_zero_or_one(truth):
            raise ValueError(
                "one output decides between 0 and 1, so targets must be 0 or 1 of shape (N,) or (N, 1), "
                f"got {truth.shape} from {truth.min()} to {truth.max()}"
            )
        return Decisions(_positive(scores[:, 0]), truth.reshape(-1).astype(np.int64), 2, binary=True)
    if truth.ndim == 2 and truth.shape[1] > 1 and not has_classes(truth) and _is_zero_or_one(truth):
        if scores.shape != truth.shape:
            raise ValueError(f"outputs must have the shape of the targets, {truth.shape}, got {scores.shape}")
        return Decisions(_positive(scores), truth.astype(np.int64), truth.shape[1], several=True)
    if scores.ndim == truth.ndim == 2 and scores.shape != truth.shape:
        raise ValueError(f"there are {scores.shape[1]} outputs per sample for targets of shape {truth.shape}")
    columns = scores.shape[1] if scores.ndim == 2 else 0
    return Decisions(labels_of(scores, "outputs"), labels_of(truth, "targets"), columns)


def _pixels_as_rows(scores: Array, truth: Array) -> tuple[Array, Array] | None:
    """Scores (N, ..., C) as (M, C) and labels (N, ...) as (M,), for M pixels; None if they do not fit.

    Logits and targets (N, ..., 1) become (M, 1), predicted and true labels (N, ...) of integers (M,).
    """
    if truth.shape == scores.shape[:-1]:
        return scores.reshape(-1, scores.shape[-1]), truth.reshape(-1)
    if truth.shape == scores.shape and scores.shape[-1] == 1:
        return scores.reshape(-1, 1), truth.reshape(-1, 1)
    if truth.shape == scores.shape and scores.dtype.kind in "biu" and truth.dtype.kind in "biu":
        return scores.reshape(-1), truth.reshape(-1)
    return None


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
