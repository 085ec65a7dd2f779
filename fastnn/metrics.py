"""How good the outputs are, apart from the loss."""

from __future__ import annotations

import numpy as np

from fastnn._door import Array


def count_correct(outputs: Array, target: Array) -> int:
    """The number of rows whose largest output is at the label (N,) or at the largest target (N, C)."""
    wanted = target if target.ndim == 1 else target.argmax(axis=1)
    return int(np.count_nonzero(outputs.argmax(axis=1) == wanted))


def has_classes(target: Array) -> bool:
    """Whether targets name classes, so that an accuracy means something: labels, or rows that sum to 1."""
    if target.ndim == 1:
        return True
    return (
        target.ndim == 2
        and target.shape[1] > 1
        and bool((target >= 0).all())
        and bool(np.allclose(target.sum(axis=1), 1, atol=1e-3))
    )
