"""How a trainer takes steps: it replays a plan, or records one, or runs layer by layer.

A step is a whole update, or one piece of a mini-batch that is computed in pieces.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from fastnn._validation import Array
from fastnn.kernels.plan import CheckFailedError
from fastnn.recording.recorder import Recorder, input_buffer
from fastnn.training.finite import NonFiniteError, loss_message
from fastnn.training.options import piece_size
from fastnn.training.pieces import batch_divisor, piece_sizes, summed_gradients
from fastnn.training.plans import RUN_SECONDS, Plans, RecordedStep, Refused, plans_can_run
from fastnn.training.samples import CHANGED_MEANWHILE, Samples
from fastnn.training.update import Updates

T = TypeVar("T")


class Step(Protocol):
    """`Updates._update`, `Updates._piece` or `StepsTogether._share`."""

    __name__: str

    def __call__(self, samples: Samples, index: Array | None = None, *, count: bool = False) -> Array: ...


class Steps(Updates):
    """The base class of `Trainer` that takes the steps."""

    plan_key: tuple[object, ...]
    _plans: Plans

    def _uses_plans(self) -> bool:
        return self.plan and plans_can_run()

    def _replay(
        self,
        recorded: RecordedStep,
        run: Callable[..., T | Refused],
        *arguments: Any,
        target: Callable[[], Array],
    ) -> T | Refused:
        """Run a method of the recorded step: returns its result, or why the step was rejected.

        `target` returns the targets of the first step.

        Raises `NonFiniteError` for a loss or a norm of the gradients that is not finite. Nothing has changed
        when a step is rejected or raises: the plan restores what its kernels changed, this method what Python
        callbacks changed.
        """
        try:
            if not recorded.has_callbacks:
                return run(*arguments)
            with self._restored_on_failure():
                return run(*arguments)
        except CheckFailedError as error:
            if error.args == ("check_finite",):
                self._check_finite(recorded.loss, "loss", target())
                raise NonFiniteError(
                    loss_message("norm of the gradients", math.inf, self.updates + 1)
                ) from error
            return Refused(error)

    def _update_from_all(self, samples: Samples, *, count: bool = False) -> float:
        """Make one update from all samples; returns its loss. `count` is as in `_update`."""
        if (size := piece_size(self, len(samples))) is not None:
            return self._update_in_pieces(samples, None, size, count)
        return self._planned_step(samples, count, self._update)

    def _update_in_pieces(self, samples: Samples, index: Array | None, size: int, count: bool) -> float:
        """Make one update from the samples `index` (None: all of them) in pieces; returns its loss.

        `count` and errors are as in `_update`.
        """
        total = len(samples) if index is None else len(index)
        sizes = piece_sizes(self.model, self.loss, samples.x.shape[1:], total, size)
        with self._restored_on_failure():
            divisor = batch_divisor(self.loss, samples, index)
            self._piece_factor[0] = 1 / divisor
            with summed_gradients(self.model.parameters()):
                losses = self._losses_of_pieces(samples, index, 0, sizes, count, self._piece)
            # In order: how `sum` and np.sum round depends on their versions.
            loss = np.cumsum(losses)[-1:] / divisor
            if math.isnan(divisor):  # the class weights say why
                target = samples.target if index is None else samples.target[index]
                self._reject_nonfinite(loss, target=target)
            self._change_weights()
        return float(loss[0])

    def _losses_of_pieces(
        self, samples: Samples, index: Array | None, start: int, sizes: Array, count: bool, step: Step
    ) -> Array:
        """Take a `step` on each of the successive pieces of the samples `index` that begin with `start`.

        Returns the summed losses of each piece. `step` is `_piece` or `_share`, `count` is as in `_update`.
        """
        losses, done = np.empty(len(sizes)), 0
        while done < len(sizes):
            size = int(sizes[done])
            if index is None:
                losses[done] = self._planned_step(samples.part(start, start + size), count, step)
                taken = 1
            else:
                alike = losses[done : done + np.count_nonzero(sizes[done:] == size)]
                taken = self._steps(samples, index[start:], alike, None, size, count, step)
            done, start = done + taken, start + taken * size
        return losses

    def _planned_step(self, samples: Samples, count: bool, step: Step) -> float:
        """Replay the recorded `step` for batches of this kind, or record it, or run it layer by layer.

        `step` is `_update`, `_piece` or `_share`.
        """
        if not self._uses_plans():
            return float(step(samples, count=count)[0])
        kind = (
            *(step.__name__, samples.x.shape, samples.x.dtype, samples.scale, count),
            *(samples.target.shape, samples.target.dtype, samples.weight is None),
        )
        recorded = self._plans.find(self, kind)
        loss: float | Refused
        if recorded is None:
            loss = self._record_step(kind, samples, count, step)
        else:
            loss = self._replay(recorded, recorded.step, *samples.arrays(), target=lambda: samples.target)
        if isinstance(loss, Refused):
            # A check of the plan failed: layer by layer, the step raises the error.
            return float(step(samples, count=count)[0])
        return loss

    def _record_step(self, kind: Hashable, samples: Samples, count: bool, step: Step) -> float:
        inputs = [input_buffer(array) for array in samples.arrays()]
        batch = replace(samples, x=inputs[0], target=inputs[1], weight=inputs[2] if inputs[2:] else None)

        def checked(recorder: Recorder) -> Array:
            if self.on_nonfinite != "ignore":
                for array in inputs:
                    if array.dtype.kind == "f":
                        recorder.check_all_finite(array)
            if self.loss.target_range is not None and batch.target.dtype.kind == "f":
                recorder.check_all_within(batch.target, *self.loss.target_range)
            return step(batch, count=count)

        return self._plans.record(self, kind, inputs, checked, makes_update=step == self._update)

    def _steps(
        self,
        samples: Samples,
        order: Array,
        losses: Array,
        rates: Array | None,
        batch_size: int,
        count: bool,
        step: Step,
    ) -> int:
        """Take one or more steps, as `updates_from` does; `step` is `_update`, `_piece` or `_share`."""
        if not samples.readable:
            return self._steps_from_source(samples, order, losses, rates, batch_size, count, step)
        index = order[:batch_size]
        if not self._uses_plans():
            losses[0] = step(samples, index, count=count)[0]
            return 1
        kind = (step.__name__, id(samples), len(index), count)
        recorded = self._plans.find(self, kind)
        if recorded is None:
            losses[0] = self._record_gathered(kind, samples, index, count, step)
            return 1
        run = recorded.run
        done = self._replay(recorded, run, order, losses, rates, target=lambda: samples.target[index])
        if isinstance(done, Refused):
            samples.check_again(self.model, self.loss)
            raise ValueError(CHANGED_MEANWHILE) from done.reason
        return done

    def _steps_from_source(
        self,
        samples: Samples,
        order: Array,
        losses: Array,
        rates: Array | None,
        batch_size: int,
        count: bool,
        step: Step,
    ) -> int:
        """Do what `_steps` does for features that kernels cannot read, for `RUN_SECONDS`.

        An error in a later step ends the run before it, so that the next run raises it.
        """
        stop = time.monotonic() + RUN_SECONDS
        for done in range(len(losses)):
            try:
                batch = samples.gathered(order[done * batch_size : (done + 1) * batch_size])
                if rates is not None:
                    self.optimizer.lr = float(rates[done])
                losses[done] = self._planned_step(batch, count, step)
            except Exception:
                if done == 0:
                    raise
                return done
            plan = self._plans.last
            if time.monotonic() >= stop or plan is None or plan.has_callbacks:
                return done + 1
        return len(losses)

    def _record_gathered(
        self, kind: Hashable, samples: Samples, index: Array, count: bool, step: Step
    ) -> float:
        buffer = input_buffer(index)

        def gathering(recorder: Recorder) -> Array:
            recorder.keep.append(samples)
            return step(samples, buffer, count=count)

        return self._plans.record(self, kind, [buffer], gathering, makes_update=step == self._update)
