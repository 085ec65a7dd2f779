"""Convert labels to one-hot vectors."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn._arrays import as_array


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
    labels = as_array(labels, "labels")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, not {labels.dtype}")
    if classes is None:
        if labels.size == 0:
            raise ValueError("the number of classes cannot be inferred without labels: pass `classes`")
        classes = int(labels.max()) + 1
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"labels must be from 0 to {classes - 1}, not from {labels.min()} to {labels.max()}")
    y = np.zeros((*labels.shape, classes), dtype)
    np.put_along_axis(y, labels[..., np.newaxis], 1, axis=-1)
    return y
