"""Labels in other forms."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def one_hot(labels: ArrayLike, classes: int | None = None, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """y[..., k] = 1 where labels[...] = k, else 0.

    labels: integers of any shape (...), from 0 to classes - 1; `classes` defaults to the largest
    label plus one. Returns y (..., classes) of the given dtype.

    Raises ValueError for labels that are no integers or out of range, and for no labels without `classes`.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, not {labels.dtype}")
    if classes is None:
        if labels.size == 0:
            raise ValueError("there are no labels to tell the number of classes: pass `classes`")
        classes = int(labels.max()) + 1
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, they are from {labels.min()} to {labels.max()}"
        )
    y = np.zeros((*labels.shape, classes), dtype)
    np.put_along_axis(y, labels[..., np.newaxis], 1, axis=-1)
    return y
