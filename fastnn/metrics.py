"""How good the outputs are, apart from the loss."""

from __future__ import annotations

import numpy as np

from fastnn._door import Array
from fastnn.kernels import ops


def count_correct(outputs: Array, target: Array, count: Array) -> None:
    """count += number of rows whose largest output is at the label (N,) or at the largest target (N, C)."""
    kernel = ops.count_correct_labels if target.ndim == 1 else ops.count_correct_soft
    kernel(outputs, target, count)


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
