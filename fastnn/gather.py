"""Mini-batches: gather rows and labels of a data set by index."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from fastnn._sources import Rows
from fastnn._validation import Array
from fastnn.kernels import empty, ops

KERNEL_DTYPES = (np.uint8, np.float32, np.float64)


def kernels_can_read(rows: Rows) -> TypeGuard[Array]:
    """Whether the compiled kernels can gather from `rows`: memory-mapped files may hold anything."""
    if not isinstance(rows, np.ndarray):
        return False
    is_plain = rows.flags.c_contiguous and rows.flags.aligned and rows.dtype.isnative
    return is_plain and rows.dtype in KERNEL_DTYPES


def gather_rows(rows: Rows, index: Array, scale: float, dtype: np.dtype[Any]) -> Array:
    """The mini-batch `rows[index]` times `scale`, as `dtype`; computed in float64 and rounded once."""
    batch: Array = empty((len(index), *rows.shape[1:]), dtype)
    if not kernels_can_read(rows):
        with np.errstate(over="ignore"):  # float64 that is too large for float32
            batch[...] = rows[index] if scale == 1 else np.multiply(rows[index], scale, dtype=np.float64)
        return batch
    ops.gather(
        rows.reshape(len(rows), -1), index.astype(np.int64, copy=False), scale, batch.reshape(len(index), -1)
    )
    return batch


def gather_targets(target: Array, index: Array, dtype: np.dtype[Any]) -> Array:
    """The targets of a mini-batch: labels (N, ...) int64, or rows (N, ...) as `dtype`."""
    if target.ndim > 1 and dtype != np.int64:
        return gather_rows(target, index, 1.0, dtype)
    batch: Array = empty((len(index), *target.shape[1:]), np.int64)
    rows = [array if array.ndim == 1 else array.reshape(len(array), -1) for array in (target, batch)]
    ops.gather_labels(rows[0], index, rows[1])
    return batch
