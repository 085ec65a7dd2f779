"""Mini-batches: gather rows and labels of a data set by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.kernels import empty, ops


def gather_rows(rows: Array, index: Array, scale: float | None, dtype: np.dtype[Any]) -> Array:
    """The mini-batch `rows[index]` times `scale`, as `dtype`; by default 1/255 for uint8 rows, else 1."""
    if scale is None:
        scale = 1 / 255 if rows.dtype == np.uint8 else 1.0
    batch: Array = empty((len(index), *rows.shape[1:]), dtype)
    ops.gather(
        rows.reshape(len(rows), -1), index.astype(np.int64, copy=False), scale, batch.reshape(len(index), -1)
    )
    return batch


def gather_targets(target: Array, index: Array) -> Array:
    """The targets of a mini-batch: labels (N,) int64, or rows (N, ...) of floats."""
    if target.ndim > 1:
        return gather_rows(target, index, 1.0, target.dtype)
    batch: Array = empty(index.shape, np.int64)
    ops.gather_labels(target, index, batch)
    return batch
