"""A mini-batch whose rows are shared among processes, and what batch norm needs of all of them.

With `sync_batch_norm=True`, a training sums over its processes in the middle of a step: the moments in the
forward pass, and the sums that the gradient needs in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from fastnn._validation import Array
from fastnn.kernels import empty
from fastnn.recording.recorder import run_between_kernels

# of the array (rows, channels) of which the forward pass needs the sums; the backward pass has one row less
ROWS_OF_MOMENTS = 3

# Returns the sums of a float64 array over all processes, each of which passes its own.
SumOfAll = Callable[[Array], Array]

_sum_of_all: ContextVar[SumOfAll | None] = ContextVar("fastnn_sum_of_all", default=None)


@contextmanager
def batches_shared(sum_of_all: SumOfAll | None) -> Iterator[None]:
    """Let batch norm layers normalise by all rows of a mini-batch inside the `with` block.

    Without `sum_of_all`, they normalise by the rows of this process.
    """
    token = _sum_of_all.set(sum_of_all)
    try:
        yield
    finally:
        _sum_of_all.reset(token)


def shared_batch(rows: int) -> SharedBatch | None:
    """The mini-batch of which this process has so many rows; None if it is not shared."""
    sum_of_all = _sum_of_all.get()
    return None if sum_of_all is None else SharedBatch(sum_of_all, rows)


class SharedBatch:
    """The sums over all rows of a mini-batch that one batch norm layer needs.

    All processes call the methods of the same layers in the same order.
    """

    def __init__(self, sum_of_all: SumOfAll, rows: int) -> None:
        self._sum_of_all = sum_of_all
        self._rows, self._all_rows = rows, rows

    def take_moments(self, mean: Array, var: Array, near: Array, then: Callable[[int], None]) -> None:
        """Replace mean and var (C,) of the own rows by those of all rows, then pass `then` their number.

        `near` (C,) is the same in all processes. The closer it is to the mean, the less the variance loses to
        cancellation.
        """

        def take() -> None:
            with np.errstate(all="ignore"):  # inf and NaN reach the loss, which is checked
                offset = mean - near.astype(np.float64)
                own = self._rows * np.stack([np.ones_like(offset), offset, var + offset**2])
                counts, offsets, squares = self._sum_of_all(own)
                self._all_rows = round(counts[0])
                shift = offsets / counts
                mean[...] = near + shift
                var[...] = np.maximum(squares / counts - shift**2, 0)
            then(self._all_rows)

        run_between_kernels(take)

    def sums_for_dx(self, dgamma: Array, dbeta: Array) -> tuple[Array, Array]:
        """The sums (C,) of dgamma and dbeta over all processes, for the kernel `batch_norm_dx`.

        The kernel divides by the number of its own rows; so they are multiplied by the fraction of the rows
        that this process has.
        """
        sums = empty(dgamma.shape, dgamma.dtype), empty(dbeta.shape, dbeta.dtype)

        def take() -> None:
            fraction = self._rows / self._all_rows
            for result, total in zip(sums, self._sum_of_all(np.stack([dgamma, dbeta])), strict=True):
                result[...] = fraction * total

        run_between_kernels(take)
        return sums
