"""The training loop of `fit`: epochs of mini-batches, validation, callbacks and checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._sources import block_numbers, reading_ahead
from fastnn._validation import Array
from fastnn.training.batches import Batches
from fastnn.training.callbacks import Training
from fastnn.training.evaluation import (
    Metric,
    batch_weights,
    decisions_among,
    epoch_loss,
    evaluate_parts,
    mean_divisor,
    parts_of_data,
    summary,
)
from fastnn.training.finite import NonFiniteError
from fastnn.training.interrupts import ctrl_c_between_updates
from fastnn.training.orders import indices
from fastnn.training.processes import StoppedElsewhere
from fastnn.training.progress import Progress
from fastnn.training.resume import CheckpointWriter
from fastnn.training.samples import Samples
from fastnn.training.validation_sets import prefixed


@dataclass(frozen=True)
class Loop(ABC):
    """A training with everything that its loop needs; `writer` is None without checkpoints."""

    training: Training
    validation: Mapping[str, Samples | Batches]
    metrics: Mapping[str, Metric]
    writer: CheckpointWriter | None
    progress: Progress

    def run(self) -> None:
        """Train for the remaining epochs."""
        training = self.training
        try:
            training.tell("on_train_begin")
            self._epochs()
            training.reason = training.trainer.processes.end(training.reason)
            training.history.stopped = training.reason
            self._save()
            self._validate_last()
        except BaseException as error:
            try:
                if isinstance(error, KeyboardInterrupt):
                    self._save()
            finally:
                training.tell_exception(error)
            raise
        training.tell_end()

    def _save(self) -> None:
        """Write a checkpoint, unless an update or the end of an epoch was interrupted.

        Then the checkpoint before it stays, and the training resumes from there.
        """
        if self.writer is not None and self.training.resumable:
            self.writer.save()

    def _epochs(self) -> None:
        """Train until the last epoch, until a callback stops, or until the loss is not finite."""
        training = self.training
        try:
            while training.epoch < training.epochs and training.reason is None:
                values = self._epoch()
                if values is None:  # a callback stopped the training in the middle of the epoch
                    return
                self._end_epoch(values | (self._validate() if self._validation_is_due() else {}))
        except StoppedElsewhere as stop:
            training.stop(str(stop))
        except NonFiniteError as error:
            if training.trainer.on_nonfinite == "raise":  # a callback may have changed it
                raise
            training.stop(str(error))

    @abstractmethod
    def _epoch(self) -> dict[str, float] | None:
        """Make the remaining updates of this epoch; returns loss and accuracy over the whole epoch.

        Returns None if a callback stopped the training before the last update.
        """

    def _record(self, losses: Array) -> None:
        """Add the losses of the latest updates, and their learning rates, to the history."""
        training, rates = self.training, self.training.trainer.rates
        count = len(losses)
        curves = {"loss": losses.tolist()}
        if rates is not None:
            curves["lr"] = rates.of(training.updates - count, count).tolist()
        training.history.add_updates(curves)
        training.done += count
        change = training.trainer.change
        if change is not None and change.is_still:
            training.stop(f"an update changed the weights by only {change.norm:.3g} (StopWhenStill)")

    def _validate(self) -> dict[str, float]:
        """Loss, accuracy and metrics on the validation sets, with the averaged weights if there are any."""
        trainer, values = self.training.trainer, dict[str, float]()
        with nullcontext() if trainer.ema is None else trainer.ema.applied(trainer.model):
            for name, data in self.validation.items():
                parts = parts_of_data(data, self.training.epoch)
                found = evaluate_parts(
                    *(trainer.model, trainer.loss, parts), metrics=self.metrics, processes=trainer.processes
                )
                values |= prefixed(name, found)
        return values

    def _validation_is_due(self) -> bool:
        """Whether to validate now, at the end of an epoch or, with `validate_every`, after any update."""
        training, every = self.training, self.training.validate_every
        return every is None or training.updates // every > training.validated // every

    def _validate_within_epoch(self, bar: Any, decisions: Callable[[int], int]) -> None:
        """Validate if that is due, and this is not the last update of the epoch.

        `decisions` returns the number of decisions that the epoch's updates from a given one on have made.
        """
        training = self.training
        if training.validate_every is None or self._fraction() == 1 or not self._validation_is_due():
            return
        values = self._running(decisions) | self._validate()
        training.resumable = False
        self._record_validation(values)
        training.resumable = True
        self.progress.show(bar, values)

    def _validate_last(self) -> None:
        """With `validate_every`, validate at the end of the training, unless the last update was validated.

        This comes after the last checkpoint, because a training that resumes from there with more epochs
        must not have this validation.
        """
        training = self.training
        if training.validate_every is not None and training.updates > training.validated:
            self._record_validation(self._validate())

    def _record_validation(self, values: dict[str, float]) -> None:
        """Add the results of a validation within an epoch to the history, and tell who waits for them."""
        training, trainer = self.training, self.training.trainer
        training.history.record(values, training.history.epochs + self._fraction())
        training.validated, training.counted = training.updates, trainer.correct
        if trainer.rates is not None and trainer.rates.schedule.monitored in values:
            trainer.rates.end_epoch(values)
        training.tell("on_validation", values)

    def _running(self, decisions: Callable[[int], int]) -> dict[str, float]:
        """The accuracy of the updates since the last validation, or since the epoch began."""
        training = self.training
        if training.validate_every is None or not self._validation_is_due():
            return {}
        count = decisions(max(training.validated - (training.updates - training.done), 0))
        correct = training.trainer.correct - training.counted
        return {"running_accuracy": correct / count} if count else {}

    def _add_epoch(self, values: dict[str, float]) -> None:
        """Add the values of an epoch that has ended to the history."""
        self.training.history.add_epoch(values)

    @abstractmethod
    def _fraction(self) -> float:
        """The fraction of this epoch's updates that have been made; 0 if their number is unknown."""

    def _end_epoch(self, values: dict[str, float]) -> None:
        """Add the values of the epoch to the history and call the callbacks."""
        training, trainer = self.training, self.training.trainer
        if trainer.rates is not None:
            values["lr"] = trainer.optimizer.lr
        with ctrl_c_between_updates():
            training.resumable = False
            if trainer.rates is not None and trainer.rates.schedule.monitored in (None, *values):
                trainer.rates.end_epoch(values)
            if self._validation_is_due():
                training.validated = training.updates
            self._add_epoch(values)
            self.progress.report(training.epoch, values)
            training.tell("on_epoch_end", values)
            training.epoch, training.done = training.epoch + 1, 0
            training.resumable = True
        if self.writer is not None:
            self.writer.save_if_due()


@dataclass(frozen=True)
class ArrayLoop(Loop):
    """A training on samples that can be read in any order.

    `sizes` are the sizes of the mini-batches of an epoch.
    """

    sizes: Array
    order: str

    def _epoch(self) -> dict[str, float] | None:
        training, trainer, samples = self.training, self.training.trainer, self.training.samples
        numbers = block_numbers(samples.x) if self.order == "blocks" else None
        order = indices(self.order, samples.target, trainer.key, training.epoch, numbers)
        if training.done == 0:
            training.tell("on_epoch_begin")
            trainer.correct = training.counted = 0
        sizes = self.sizes

        def decisions(first: int, stop: int | None = None) -> int:
            ends = (int(sizes[:number].sum()) for number in (first, training.done if stop is None else stop))
            return decisions_among(trainer.model, trainer.loss, samples, order[slice(*ends)])

        total = decisions(0, len(sizes))
        rest = order[training.done * int(sizes[0]) :]
        with ctrl_c_between_updates() as raise_if_interrupted, reading_ahead(samples.x, rest):
            self._updates(order, decisions, total > 0, raise_if_interrupted)
        if training.done < len(sizes):
            return None
        losses = np.array(training.history.updates["loss"][-len(sizes) :])
        weights = batch_weights(trainer.loss, samples, order, sizes)
        divisor = mean_divisor(trainer.loss, samples, order[: int(sizes.sum())])
        values = summary(epoch_loss(trainer.loss, losses, weights), trainer.correct, total, divisor)
        return values | self._running(decisions)

    def _fraction(self) -> float:
        return self.training.done / len(self.sizes)

    def _updates(
        self,
        order: Array,
        decisions: Callable[[int], int],
        count: bool,
        raise_if_interrupted: Callable[[], None],
    ) -> None:
        """Make updates from successive mini-batches until the epoch ends or is stopped.

        With `count`, correct outputs are counted; `decisions` is as in `_validate_within_epoch`.

        The progress bar must be created and destroyed inside this function, where Ctrl-C is held back: an
        interruption in the middle of its `__del__` would be lost.
        """
        training, sizes = self.training, self.sizes
        one_by_one, every = training.watches_updates, training.validate_every
        with self.progress.bar(training.epoch, len(sizes), training.done) as bar:
            self._validate_within_epoch(bar, decisions)  # a training that resumes may have to
            while training.done < len(sizes) and training.reason is None:
                done = training.done
                # The last mini-batch may have another size: it has a plan of its own.
                alike = 1 if one_by_one else np.count_nonzero(sizes[done:] == sizes[done])
                if every is not None:
                    alike = min(alike, every - training.updates % every)
                rest = order[done * int(sizes[0]) :]
                losses = np.empty(alike)
                training.resumable = False
                steps = training.trainer.updates_from(training.samples, rest, losses, int(sizes[done]), count)
                self._record(losses[:steps])
                bar.update(steps)
                if one_by_one:
                    training.tell("on_update", float(losses[0]))
                training.resumable = True
                if self.writer is not None:
                    self.writer.save_if_due()
                raise_if_interrupted()
                self._validate_within_epoch(bar, decisions)
