"""The reduction of losses, for the Numba kernels of all losses."""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit


@jit
def divisor_of(reduction, mean, rows):
    """The divisor of a reduction: `mean` for a mean (2), `rows` for a batch mean (3), else 1.

    The mean over nothing is NaN.
    """
    if reduction < 2:
        return 1.0
    divisor = float(mean) if reduction == 2 else float(rows)
    return divisor if divisor != 0 else np.nan


@jit
def reduce_losses(losses, divisor, loss):
    """Sum the unreduced losses in float64, as the specification does, and divide by `divisor`."""
    total = 0.0
    for value in losses:
        total += value
    loss[0] = total / divisor
