"""The training loop of `fit`: epochs of mini-batches, validation, callbacks and checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from fastnn._sources import block_numbers, reading_ahead
from fastnn._validation import Array
from fastnn.training.batches import Batches
from fastnn.training.callbacks import Training
from fastnn.training.evaluation import (
    Metric,
    batch_weights,
    decisions_of_training,
    epoch_loss,
    evaluate_parts,
    parts_of_data,
    summary,
)
from fastnn.training.finite import NonFiniteError
from fastnn.training.interrupts import ctrl_c_between_updates
from fastnn.training.orders import indices
from fastnn.training.progress import Progress
from fastnn.training.resume import CheckpointWriter
from fastnn.training.samples import Samples


@dataclass(frozen=True)
class Loop(ABC):
    """A training with everything that its loop needs; `writer` is None without checkpoints."""

    training: Training
    validation: Samples | Batches | None
    metrics: Mapping[str, Metric]
    writer: CheckpointWriter | None
    progress: Progress

    def run(self) -> None:
        """Train for the remaining epochs."""
        training = self.training
        try:
            training.tell("on_train_begin")
            self._epochs()
            training.history.stopped = training.reason
            self._save()
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
                self._end_epoch(values | self._validate())
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

    def _validate(self) -> dict[str, float]:
        """Loss, accuracy and metrics on the validation set, with the averaged weights if there are any."""
        if self.validation is None:
            return {}
        trainer = self.training.trainer
        with nullcontext() if trainer.ema is None else trainer.ema.applied(trainer.model):
            parts = parts_of_data(self.validation, self.training.epoch)
            values = evaluate_parts(trainer.model, trainer.loss, parts, metrics=self.metrics)
        return {f"val_{name}": value for name, value in values.items()}

    def _end_epoch(self, values: dict[str, float]) -> None:
        """Add the values of the epoch to the history and call the callbacks."""
        training, trainer = self.training, self.training.trainer
        if trainer.rates is not None:
            values["lr"] = trainer.optimizer.lr
        with ctrl_c_between_updates():
            training.resumable = False
            if trainer.rates is not None:
                trainer.rates.end_epoch(values)
            training.history.add_epoch(values)
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
            trainer.correct = 0
        sizes = self.sizes
        used = int(sizes.sum())
        decisions = decisions_of_training(trainer.model, trainer.loss, samples) * used // len(samples)
        rest = order[training.done * int(sizes[0]) :]
        with ctrl_c_between_updates() as raise_if_interrupted, reading_ahead(samples.x, rest):
            self._updates(order, sizes, decisions > 0, raise_if_interrupted)
        if training.done < len(sizes):
            return None
        losses = np.array(training.history.updates["loss"][-len(sizes) :])
        weights = batch_weights(trainer.loss, samples, order, sizes)
        return summary(epoch_loss(trainer.loss, losses, weights), trainer.correct, decisions)

    def _updates(
        self, order: Array, sizes: Array, count: bool, raise_if_interrupted: Callable[[], None]
    ) -> None:
        """Make updates from successive mini-batches of these sizes until the epoch ends or is stopped.

        The progress bar must be created and destroyed inside this function, where Ctrl-C is held back: an
        interruption in the middle of its `__del__` would be lost.
        """
        training = self.training
        one_by_one = training.watches_updates
        with self.progress.bar(training.epoch, len(sizes), training.done) as bar:
            while training.done < len(sizes) and training.reason is None:
                done = training.done
                # The last mini-batch may have another size: it has a plan of its own.
                alike = 1 if one_by_one else np.count_nonzero(sizes[done:] == sizes[done])
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
