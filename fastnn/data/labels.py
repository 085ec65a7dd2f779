"""Convert labels to one-hot vectors, and count them for balanced class weights."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn._arrays import as_array
from fastnn.classes import class_count


def one_hot(labels: ArrayLike, classes: int | None = None, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Convert labels to one-hot vectors: y[..., k] = 1 where labels[...] = k, else 0.

    Args:
        labels: Integers of any shape (...), from 0 to classes - 1.
        classes: Number of classes. Default: the largest label + 1.
        dtype: Type of the result.

    Returns:
        y, of shape (..., classes).

    Raises:
        ValueError: If the labels are not integers or out of range, or if there are no labels and `classes` is
            None.
    """
    labels, classes = _checked(labels, classes)
    y = np.zeros((*labels.shape, classes), dtype)
    np.put_along_axis(y, labels[..., np.newaxis], 1, axis=-1)
    return y


def balanced_class_weights(labels: ArrayLike, classes: int | None = None) -> NDArray[np.float64]:
    """Return weights w_c = N / (C n_c), with which all classes count the same; n_c labels are of class c.

    Pass them to a loss: `fn.CrossEntropy(weight=fn.data.balanced_class_weights(y))`. The same as
    scikit-learn's `class_weight="balanced"`; the weights of all labels sum to N.

    Args:
        labels: Integers (N,), from 0 to classes - 1.
        classes: Number of classes C. Default: the largest label + 1.

    Returns:
        The weights, (C,).

    Raises:
        ValueError: If the labels are not integers (N,) or out of range, or if a class has no samples.
    """
    labels, classes = _checked(labels, classes)
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {labels.shape}")
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        missing = ", ".join(map(str, np.flatnonzero(counts == 0)[:10]))
        raise ValueError(f"no balanced weight: there are no labels of the classes {missing}")
    return np.asarray(len(labels) / (classes * counts))


def _checked(labels: ArrayLike, classes: int | None) -> tuple[NDArray[Any], int]:
    """Return the labels and the number of classes. Raises ValueError as `one_hot` says."""
    labels = as_array(labels, "labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, not {labels.dtype}")
    if classes is None and labels.size == 0:
        raise ValueError("the number of classes cannot be inferred without labels: pass `classes`")
    return labels, class_count(labels, classes)
