"""Updates that several processes make together: each computes the gradient of its rows of the mini-batch.

The gradient of a mini-batch is a sum over its rows, divided by one divisor, as for pieces (`pieces`). All
processes get the whole mini-batch, so each knows the divisor, and the shares may be uneven. One call sums the
gradients of all processes; then each makes the same update, with the same bits.

The sum does not overlap with the backward pass. On one machine, it would take the same CPUs; on several, MPI
may need a thread of its own for that. docs/guide/mpi.md has the figures.
"""

from __future__ import annotations

import math
import time

import numpy as np

from fastnn._validation import Array
from fastnn.layers.shared_batch import batches_shared
from fastnn.states import arrays_restored_on_failure
from fastnn.training.flat import FlatGradients
from fastnn.training.options import piece_size
from fastnn.training.pieces import batch_divisor, check_summable, piece_sizes, summed_gradients
from fastnn.training.plans import RUN_SECONDS, Plans, Refused
from fastnn.training.processes import ALONE, Processes
from fastnn.training.samples import Samples
from fastnn.training.steps import Steps

# How many batches of random numbers an update may draw: its counters start at a multiple of this, so that
# they agree in all processes, however many pieces each has computed.
DRAWS = 1 << 20


class StepsTogether(Steps):
    """The base class of `Trainer` that takes steps together with other processes."""

    processes: Processes = ALONE  # in the class because older pickles do not have it
    _flat: FlatGradients | None = None
    _total_loss: Array  # (1,) float64: the loss of the mini-batch
    _has_compared_data = False
    _held_back: BaseException | None = None  # the error of an update, to be raised by the next one

    def begin_sums(self) -> FlatGradients:
        """The array in which the processes sum, for the parameters that are trained now."""
        if self._flat is None or not self._flat.is_of(self.model, self.sync_batch_norm):
            self._flat = FlatGradients(self.model, self.sync_batch_norm)
            self._plans = Plans()  # the recorded steps write to the array before it
        self.processes.begin(self._flat)
        return self._flat

    def _update_from_all(self, samples: Samples, *, count: bool = False) -> float:
        if self.processes.size > 1:
            return self._update_together(samples, None, count)
        return super()._update_from_all(samples, count=count)

    def _update_together(self, samples: Samples, index: Array | None, count: bool) -> float:
        """Make one update from the samples `index` (None: all of them); returns the loss of all of them.

        `count` and errors are as in `_update`; errors of other processes are raised here, too.
        """
        total = len(samples) if index is None else len(index)
        start, stop = self.processes.share(total)
        flat, before = self.begin_sums(), self.correct
        changed = [*flat.states, self._updates, self.augment_state, self._correct]
        with self.processes.joined(), arrays_restored_on_failure(changed, self._updates):
            check_summable(self.loss, "communicator")
            if self.sync_batch_norm:
                check_synchronised_shares(self.processes.size, total)
            else:
                check_shares(flat.smallest_share(samples.x.shape[1:]), self.processes.size, total)
            flat.begin_update(self.updates * DRAWS, self.augment_state)
            divisor = batch_divisor(self.loss, samples, index)
            self._piece_factor[0] = 1 / divisor
            with batches_shared(self.processes.add_up_moments if self.sync_batch_norm else None):
                loss = self._gradient_of_share(flat, samples, index, start, stop, count)
            flat.put_changes((stop - start) / total)
            loss, correct = self.processes.add_up(loss, self.correct - before, total)
            self.correct = before + correct
            flat.take_changes()
            self._total_loss[0] = loss / divisor
            target = None
            if math.isnan(divisor):  # the class weights say why
                target = samples.target if index is None else samples.target[index]
            self._reject_nonfinite(self._total_loss, target=target)
            self._change_weights_as_planned(flat)
        return float(self._total_loss[0])

    def _gradient_of_share(
        self, flat: FlatGradients, samples: Samples, index: Array | None, start: int, stop: int, count: bool
    ) -> float:
        """Compute the gradient of the rows from `start` to `stop` of a mini-batch; returns their summed loss.

        The gradients are then in `flat`.
        """
        if start == stop:
            flat.clear_gradients()
            flat.use_gradients()
            return 0.0
        if (size := piece_size(self, stop - start)) is None:
            flat.clear_gradients(if_python=True)
            sizes = np.array([stop - start])
            return float(self._losses_of_pieces(samples, index, start, sizes, count, self._share)[0])
        sizes = piece_sizes(self.model, self.loss, samples.x.shape[1:], stop - start, size)
        with summed_gradients(self.model.parameters()):
            losses = self._losses_of_pieces(samples, index, start, sizes, count, self._piece)
        return float(np.cumsum(losses)[-1])

    def _updates_together(
        self, samples: Samples, order: Array, losses: Array, rates: Array | None, size: int, count: bool
    ) -> int:
        """Do what `updates_from` does together with other processes, for `RUN_SECONDS`.

        Another process may make fewer updates in one call, as long as all make the same ones.
        """
        if self._held_back is not None:
            error, self._held_back = self._held_back, None
            raise error
        stop = time.monotonic() + RUN_SECONDS
        for done in range(len(losses)):
            if rates is not None:
                self.optimizer.lr = float(rates[done])
            try:
                losses[done] = self._update_together(samples, order[done * size : (done + 1) * size], count)
            except BaseException as error:
                if done == 0:
                    raise
                # The losses before it must be recorded first, and it cannot be raised again by another try.
                self._held_back = error
                return done
            is_still = self.change is not None and self.change.is_still
            if time.monotonic() >= stop or is_still:
                return done + 1
        return len(losses)

    def _compare_first(self, batch: Samples) -> None:
        """Raise `ProcessError` if this is the first mini-batch, and not the same in all processes."""
        if self.processes.size > 1 and not self._has_compared_data:
            from fastnn.training.agreement import compare_batches  # which imports this module

            compare_batches(self.processes, batch)
            self._has_compared_data = True

    def _share(self, samples: Samples, index: Array | None = None, *, count: bool = False) -> Array:
        """Compute the gradients of a share that is a single piece; returns the sum of its losses (1,).

        Arguments and errors are as in `_update`.
        """
        assert self._flat is not None
        self._flat.use_gradients()  # here, since the search for a plan may have set those of another one
        return self._backpropagate(samples, index, count, is_piece=True)

    def _change_weights_as_planned(self, flat: FlatGradients) -> None:
        """Replay the recorded update of the weights, or record it, or make it layer by layer."""
        if not self._uses_plans():
            flat.use_gradients()
            self._change_weights()
            return
        kind, last = (self._change_weights.__name__,), self._plans.last
        recorded = self._plans.find(self, kind)
        flat.use_gradients()  # as in `_share`
        if recorded is None:
            self._plans.record(self, kind, [], lambda recorder: self._change_weights_for_plan())
        else:
            outcome = self._replay(recorded, recorded.step, target=lambda: self._total_loss)
            assert not isinstance(outcome, Refused), "an update has no batch that could be refused"
        self._plans.last = last

    def _change_weights_for_plan(self) -> Array:
        self._change_weights()
        return self._total_loss


def check_shares(smallest: int, processes: int, total: int) -> None:
    """Raise ValueError if a mini-batch of `total` samples leaves a process fewer than `smallest`."""
    if smallest > 1 and total // processes < smallest:
        raise ValueError(
            f"{processes} processes share a mini-batch of {total} samples, but layers of the model, such as "
            f"batch norm, need at least {smallest} samples in each. Use larger batches, fewer processes, "
            "sync_batch_norm=True, or LayerNorm instead of batch norm"
        )


def check_synchronised_shares(processes: int, total: int) -> None:
    """Raise ValueError if a mini-batch of `total` samples leaves a process none, with `sync_batch_norm`."""
    if total < processes:
        raise ValueError(
            f"{processes} processes share a mini-batch of {total} samples, but sync_batch_norm=True needs at "
            "least one sample in each. Use larger batches or fewer processes"
        )
