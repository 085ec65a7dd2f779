"""The training loop of `fit` for mini-batches that come one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn.training.batches import Batches
from fastnn.training.evaluation import (
    batch_weights,
    decisions_of_training,
    epoch_loss,
    mean_divisor,
    summary,
)
from fastnn.training.interrupts import ctrl_c_between_updates
from fastnn.training.loop import Loop
from fastnn.training.turns import Turns


@dataclass(frozen=True)
class StreamLoop(Loop):
    """A training on mini-batches that come one after the other."""

    batches: Batches

    def _epoch(self) -> Turns[dict[str, float] | None]:
        yield from ()  # it takes no turns: the stream may not wait for other trainings
        training, trainer = self.training, self.training.trainer
        if training.done == 0:
            training.tell("on_epoch_begin")
            trainer.correct = training.counted = 0
        one_by_one = training.watches_updates
        weights: list[float] = []
        decided: list[int] = []
        divisors: list[float | None] = []

        def decisions(first: int) -> int:
            return sum(decided[first:])

        per_epoch = self.batches.per_epoch
        with (
            ctrl_c_between_updates() as raise_if_interrupted,
            self.progress.bar(training.epoch, per_epoch, training.done) as bar,
        ):
            for samples in self.batches.epoch(training.epoch, raise_if_interrupted):
                count = len(samples)
                weights += batch_weights(trainer.loss, samples, np.arange(count), np.array([count])).tolist()
                decided.append(decisions_of_training(trainer.model, trainer.loss, samples))
                divisors.append(mean_divisor(trainer.loss, samples))
                if len(weights) <= training.done:  # used before this training was resumed
                    if len(weights) == training.done:
                        self._validate_within_epoch(bar, decisions)
                    continue
                training.resumable = False
                loss = trainer.update_from(samples, decided[-1] > 0)
                self._record(np.array([loss]))
                bar.update(1)
                if one_by_one:
                    training.tell("on_update", loss)
                training.resumable = True
                if self.writer is not None:
                    self.writer.save_if_due()
                raise_if_interrupted()
                self._validate_within_epoch(bar, decisions)
                if training.reason is not None and training.done != per_epoch:
                    return None
        losses = np.array(training.history.updates["loss"][-len(weights) :])
        loss = epoch_loss(trainer.loss, losses, np.array(weights))
        divisor = sum(filter(None, divisors)) if trainer.loss.reduction == "sum" else None
        values = summary(loss, trainer.correct, sum(decided), divisor)
        return values | self._running(decisions)

    def _fraction(self) -> float:
        done, per_epoch = self.training.done, self.batches.per_epoch
        return done / per_epoch if per_epoch is not None and done <= per_epoch else 0.0

    def _add_epoch(self, values: dict[str, float]) -> None:
        super()._add_epoch(values)
        self.training.history.place_last_epoch(self.training.done)
