"""One update, layer by layer."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

from fastnn import metrics
from fastnn._validation import Array
from fastnn.augment import Together
from fastnn.kernels import active_recorder, ops, products_in
from fastnn.kernels.plan import WeightChange
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.clipping import clip_norm, clip_value
from fastnn.optim.ema import EMA
from fastnn.optim.optimizers import Optimizer
from fastnn.optim.schedules import Rates
from fastnn.recording.recorder import Recorder, run_layer, run_loss
from fastnn.states import restored_on_failure
from fastnn.training.finite import NonFiniteError, loss_message
from fastnn.training.options import TrainingOptions
from fastnn.training.pieces import add_gradients
from fastnn.training.samples import Samples


class Updates(TrainingOptions):
    """The base class of `Trainer`: what an update changes, and how it is made."""

    model: Layer
    loss: Loss
    optimizer: Optimizer
    ema: EMA | None  # a decay has become an EMA
    rates: Rates | None
    change: WeightChange | None = None  # in the class because older pickles do not have it
    key: int
    augment_state: Array
    _augmentation: Together | None
    _memory: dict[str, Array]
    _updates: Array
    _correct: Array
    _piece_factor: Array  # (1,) float64: 1 / the divisor of the loss of the mini-batch

    @property
    def updates(self) -> int:
        """The number of updates."""
        return int(self._updates[0])

    def states(self) -> dict[str, Array]:
        """The counters that an update changes beside model and optimizer, by name; not copies."""
        return {
            "trainer/updates": self._updates,
            "trainer/correct": self._correct,
            "trainer/augment": self.augment_state,
        }

    @property
    def correct(self) -> int:
        """The number of correct outputs counted since it was last set."""
        return int(self._correct[0])

    @correct.setter
    def correct(self, count: int) -> None:
        self._correct[0] = count

    def watch_change(self, bound: float) -> None:
        """Note in `change` whether an update changes the weights by at most `bound`, from the next one on.

        The change is the Euclidean norm of the difference over all parameters. Of several bounds, the largest
        one counts.
        """
        self.change = WeightChange([], max(bound, 0.0 if self.change is None else self.change.bound))

    def _follow_weights(self) -> None:
        """Let `change` watch the arrays that hold the weights now."""
        if self.change is not None:
            arrays = [param.writable_master() for param in self.model.parameters()]
            watched = self.change.arrays
            if len(arrays) != len(watched) or any(a is not b for a, b in zip(arrays, watched, strict=True)):
                self.change = WeightChange(arrays, self.change.bound)

    def check_images(self, samples: Samples) -> None:
        """Raise ValueError if `augment` is set and does not fit the samples."""
        if self._augmentation is not None:
            samples.check_augmented(self._augmentation)

    def _update(self, samples: Samples, index: Array | None = None, *, count: bool = False) -> Array:
        """Make one update from the samples `index` (None: all of them); returns its loss (1,).

        With `count`, correct outputs are counted. Raises `NonFiniteError` if the loss is not finite, unless
        that is to be ignored. Whatever it raises, nothing has changed, except by an optimizer written in
        Python that raises after its first parameter.
        """
        with self._restored_on_failure():
            loss = self._backpropagate(samples, index, count)
            self._change_weights()
        return loss

    def _piece(self, samples: Samples, index: Array | None = None, *, count: bool = False) -> Array:
        """Add the gradients of one piece of a mini-batch to their sums; returns the sum of its losses (1,).

        Arguments and errors are as in `_update`.
        """
        loss = self._backpropagate(samples, index, count, is_piece=True)
        add_gradients(self.model.parameters())
        return loss

    def _backpropagate(
        self, samples: Samples, index: Array | None, count: bool, *, is_piece: bool = False
    ) -> Array:
        """Compute the gradients on the samples `index` (None: all of them); returns the loss (1,).

        A piece divides its gradient by the divisor of the whole mini-batch, and returns the sum of its
        losses.
        """
        x, target = samples.mini_batch(index, self._augmentation, self.augment_state)
        with products_in(self.precision):
            outputs, backward = run_layer(self.model, x, True)
        reduction = "sum" if is_piece else None
        loss, dy = run_loss(self.loss, outputs, target, samples.weights(index), reduction)
        self._reject_nonfinite(loss, target=target)
        if count:
            metrics.count_correct(outputs, target, self._correct, binary=self.loss.binary)
        if is_piece:
            ops.multiply(self._piece_factor, dy)
        with products_in(self.precision):
            backward(dy, need_dx=False)
        return loss

    def _change_weights(self) -> None:
        """Clip the gradients, change the weights, and count the update."""
        if self.change is not None:
            self.change.remember()
        self._clip()
        recorder = active_recorder()
        if isinstance(recorder, Recorder) and self.optimizer.step_is_overridden():
            recorder.callback(lambda: self.optimizer.step(self.model.parameters()))
        else:
            self.optimizer.step(self.model.parameters())
        if self.change is not None:
            self.change.look()
        if self.ema is not None:
            self.ema.update(self.model)
        ops.advance(self._updates)

    def _clip(self) -> None:
        """Clip the gradients if `clip_value` or `clip_norm` is set."""
        if self.clip_value is not None:
            clip_value(self.model.parameters(), self._memory["clip_value"])
        if self.clip_norm is not None:
            norm = clip_norm(self.model.parameters(), self._memory["clip_norm"])
            self._reject_nonfinite(norm, "norm of the gradients")

    def _reject_nonfinite(self, number: Array, what: str = "loss", target: Array | None = None) -> None:
        """Raise `NonFiniteError` if the number (1,) is not finite, now and in every replay."""
        if self.on_nonfinite == "ignore":
            return
        self._check_finite(number, what, target)
        recorder = active_recorder()
        if isinstance(recorder, Recorder):
            recorder.plan.check_finite(number)

    def _check_finite(self, number: Array, what: str, target: Array | None) -> None:
        if not math.isfinite(number[0]):
            cause = None if target is None else self.loss.cause_of_nan(target)
            raise NonFiniteError(loss_message(what, number[0], self.updates + 1, cause))

    def _restored_on_failure(self) -> AbstractContextManager[None]:
        return restored_on_failure(self.model, self._updates, self.augment_state, self._correct)
