"""One update at a time: layer by layer, or by a plan."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fastnn import metrics, rng
from fastnn._validation import Array, choose, positive_int, warn
from fastnn.augment import Augmentation, Together
from fastnn.config import get_num_threads
from fastnn.kernels import active_recorder, ops
from fastnn.kernels.plan import CheckFailedError
from fastnn.layers import Layer, Sequential, Sigmoid, Softmax
from fastnn.losses import Loss, reducing_loss
from fastnn.measure.profile import Profile, profile_plan
from fastnn.optim.clipping import Bound, clip_norm, clip_value
from fastnn.optim.ema import EMA, ema_of
from fastnn.optim.optimizers import Optimizer, optimizer_of
from fastnn.optim.schedules import Length, Rates, Schedule
from fastnn.recording.recorder import Recorder, run_layer, run_loss, slot_for
from fastnn.states import kept_on_failure
from fastnn.training.plans import Plans, RecordedStep, Turn, plans_can_run
from fastnn.training.samples import Samples, check_data, check_model

# What is drawn from a training key, apart from each other and from orders.ORDER_OF_SAMPLES: paths of
# `rng.counter_generator`.
RANDOM_LAYER, AUGMENTATION = 1, 2

# What to do with a nan or an infinity in the data or in the loss.
NONFINITE = {
    "raise": "raise NonFiniteError; the model stays as it was before the step",
    "stop": "end the training there, with the reason in history.stopped",
    "ignore": "go on, as PyTorch would",
}


class NonFiniteError(FloatingPointError):
    """The data or the loss hold a nan or an infinity; no weight was changed by it."""


class Trainer:
    """A model with its loss and its optimizer, stepped by hand.

    `seed` keys all random layers (dropout); without it the key comes from the default generator.
    `on_nonfinite` says what to do with a nan or an infinity in data or loss: "raise" a `NonFiniteError`
    before any weight changes, "stop" (`step` returns nan and changes nothing), or "ignore" it.

    The first step on a batch of some shape is recorded; later ones are replayed by compiled code, with the
    same results to the last bit (`training.plans`; backend "aot" only). `plan=False` runs every step layer by
    layer, `fuse=False` replays the recorded kernels one by one. Fused updates do not store the gradients
    of the parameters: `p.grad` is None after a step unless `keep_gradients` asks for them.

    With `augment`, such as `fn.augment.Rotate(15)`, each step changes the images it is given at random.
    `schedule` (`fn.schedules`) sets the learning rate of each update, from `optimizer.lr` as it is now;
    `total_updates` and `updates_per_epoch` tell it how long training will be, where it must know.
    `clip_norm` bounds the norm of all gradients together, `clip_value` each of their numbers. `ema` averages
    the weights (`fn.EMA`, or a decay such as 0.999); the averages are in `trainer.ema`.

    Raises RuntimeError when one model is stepped by two threads at once.
    """

    def __init__(
        self,
        model: Layer,
        *,
        loss: str | Loss = "cross_entropy",
        optimizer: str | Optimizer = "sgd",
        seed: int | None = None,
        scale: float | None = None,
        on_nonfinite: str = "raise",
        plan: bool = True,
        fuse: bool = True,
        keep_gradients: bool = False,
        augment: Augmentation | None = None,
        schedule: Schedule | None = None,
        total_updates: int | None = None,
        updates_per_epoch: int | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | EMA | None = None,
    ) -> None:
        check_model(model)
        choose(on_nonfinite, NONFINITE, "on_nonfinite")
        self.model = model
        self.loss = reducing_loss(loss)
        self.optimizer = optimizer_of(optimizer)
        self.scale = scale
        self.on_nonfinite = on_nonfinite
        self.plan = plan
        self.fuse = fuse
        self.keep_gradients = keep_gradients
        self.augment = augment
        length = Length(total_updates, updates_per_epoch)
        self.rates = None if schedule is None else Rates(schedule, self.optimizer.lr, length)
        self._clip_norm, self._clip_value = Bound(clip_norm, "clip_norm"), Bound(clip_value, "clip_value")
        self.ema = ema_of(ema)
        if self.ema is not None:
            self.ema.begin(model)
        self._updates = np.zeros(1, np.int64)  # counted by a kernel, so that no Ctrl-C comes in between
        self.key = rng.key(seed)
        for index, state in enumerate(model.random_states()):
            state[:] = rng.counter_generator(self.key, RANDOM_LAYER, index).integers(2**63), 0
        # (key, count of batches), advanced with every batch that is augmented.
        self.augment_state = np.array(
            [rng.counter_generator(self.key, AUGMENTATION).integers(2**63), 0], np.uint64
        )
        _warn_of_no_logits(model, self.loss)
        self._correct = np.zeros(1, np.int64)
        self._plans = Plans()
        self._turn = Turn(model)

    def step(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """One update from the batch x (N, ...), y; returns the loss before the update.

        Raises ValueError or TypeError for data that do not fit, `NonFiniteError` as described above; then
        nothing has changed.
        """
        try:
            with self._take_turn():
                if self.rates is not None:
                    self.optimizer.lr = float(self.rates.of(self.updates, 1)[0])
                last = self._plans.last
                usable = last is not None and self._plans_steps() and not last.needs_the_door
                if usable and last is not None and last.is_current(self):
                    loss = self._replay(last, x, y)
                    if loss is not None:
                        return loss
                return self._checked_step(x, y)
        except NonFiniteError:
            if self.on_nonfinite == "raise":
                raise
            return math.nan

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of all gradients together, or None."""
        return self._clip_norm.value

    @clip_norm.setter
    def clip_norm(self, bound: float | None) -> None:
        self._clip_norm.set(bound)

    @property
    def clip_value(self) -> float | None:
        """The largest absolute value of a number of the gradients, or None."""
        return self._clip_value.value

    @clip_value.setter
    def clip_value(self, bound: float | None) -> None:
        self._clip_value.set(bound)

    @property
    def augment(self) -> Augmentation | None:
        """What is done to the images of each batch, or None."""
        return self._augment

    @augment.setter
    def augment(self, augment: Augmentation | None) -> None:
        self._augment = None if augment is None else Together(augment)

    @property
    def updates(self) -> int:
        """The number of updates."""
        return int(self._updates[0])

    def _take_turn(self) -> threading.Lock:
        if self._turn.model is not self.model:
            self._turn = Turn(self.model)
        return self._turn.lock()

    def _plans_steps(self) -> bool:
        return self.plan and plans_can_run()

    def profile(self, x: npt.ArrayLike, y: npt.ArrayLike, *, steps: int = 200) -> Profile:
        """Where the time of a step on the batch x, y goes; print it, or `.plot("step.png")`.

        The steps are taken by a copy of model and optimizer: nothing here changes. Raises RuntimeError if
        steps are not planned (`plan=False`, another backend than "aot"), and as `step`.
        """
        positive_int(steps, "steps")
        twin = copy.deepcopy(self)
        samples = check_data(twin.model, twin.loss, (x, y), twin.scale)
        batch = samples.x, samples.target  # kept alive: the plan goes on reading these very arrays
        twin.step(*batch)
        twin.step(*batch)
        recorded = twin._plans.last
        if recorded is None:
            raise RuntimeError('only planned steps can be profiled: plan=True and the backend "aot"')
        return profile_plan(recorded.plan, lambda: twin.step(*batch), get_num_threads(), steps)

    def _replay(self, recorded: RecordedStep, x: object, y: object) -> float | None:
        """The recorded step on this batch; None if the door must explain an error."""
        try:
            with self._whole_step(recorded):
                loss = recorded.step(x, y)
        except CheckFailedError as error:
            self._explain(error, recorded)
            return None
        return loss

    def _explain(self, error: CheckFailedError, recorded: RecordedStep) -> None:
        """Raise `NonFiniteError` if it was the loss; the door explains the others."""
        if error.args == ("check_finite",):
            self._check_finite(recorded.loss, "loss")
            raise NonFiniteError(_nonfinite("norm of the gradients", math.inf, self.updates + 1))

    def _whole_step(self, recorded: RecordedStep) -> AbstractContextManager[None]:
        """Takes back what call-backs changed when their step fails; the plan takes back the rest."""
        return self._kept_on_failure() if recorded.has_call_backs else nullcontext()

    def _kept_on_failure(self) -> AbstractContextManager[None]:
        return kept_on_failure(self.model, self._updates, self.augment_state)

    def _checked_step(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        samples = check_data(self.model, self.loss, (x, y), self.scale)
        check_finite([samples], self.on_nonfinite)
        self.check_images(samples)
        if not self._plans_steps():
            return float(self._update(samples)[0])
        kind = (samples.x.shape, samples.x.dtype, samples.target.shape, samples.target.dtype)
        recorded = self._plans.find(self, kind)
        if recorded is None:
            return self._record_step(kind, samples)
        loss = self._replay(recorded, samples.x, samples.target)
        # A check that failed fails again, with its reason.
        return float(self._update(samples)[0]) if loss is None else loss

    def _record_step(self, kind: Hashable, samples: Samples) -> float:
        slots = [slot_for(samples.x), slot_for(samples.target)]
        batch = replace(samples, x=slots[0], target=slots[1])

        def step(recorder: Recorder) -> Array:
            if self.on_nonfinite != "ignore":
                for array in slots:
                    if array.dtype.kind == "f":
                        recorder.check_finite_numbers(array)
            return self._update(batch)

        return self._plans.record(self, kind, slots, step)

    def updates_from(
        self, samples: Samples, order: Array, losses: Array, batch_size: int, count: bool
    ) -> int:
        """One or more updates from successive mini-batches of the samples `order`; returns how many.

        Their losses are written to the front of `losses`, which has room for as many as there may be. With
        `count` the correct outputs are added up in `self.correct`. Raises as `update`, after the updates
        before the one that failed, which are in `losses`, too; `self.updates` tells how many they were.
        """
        index = order[:batch_size]
        rates: Array | None = None
        with self._take_turn():
            if self.rates is not None:
                rates = self.rates.of(self.updates, len(losses))
                self.optimizer.lr = float(rates[0])
            if not self._plans_steps():
                losses[0] = self._update(samples, index, count=count)[0]
                return 1
            kind = (id(samples), len(index), count)
            recorded = self._plans.find(self, kind)
            if recorded is None:
                slot = slot_for(index)

                def step(recorder: Recorder) -> Array:
                    recorder.keep.append(samples)
                    return self._update(samples, slot, count=count)

                losses[0] = self._plans.record(self, kind, [slot], step)
                return 1
            with self._whole_step(recorded):
                done, error = recorded.run(order, losses, rates)
                if rates is not None and done:
                    self.optimizer.lr = float(rates[done - 1])
                if error is not None and done == 0:
                    if isinstance(error, CheckFailedError):
                        self._explain(error, recorded)
                        # The data were changed since they passed the door: it says what is wrong with them.
                        check_data(self.model, self.loss, (samples.x, samples.target), self.scale)
                    raise error
            return done

    def states(self) -> dict[str, Array]:
        """The counters that an update changes, beside model and optimizer: the arrays themselves, by name."""
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

    def check_images(self, samples: Samples) -> None:
        """Raise ValueError if the samples are no images that `augment` can change."""
        if self._augment is not None:
            self._augment.check_images(samples.x.shape[1:])

    def _update(self, samples: Samples, index: Array | None = None, *, count: bool = False) -> Array:
        """One update from the samples `index` (None: all of them); returns its loss (1,).

        With `count` correct outputs are counted. Raises `NonFiniteError` unless the loss is finite or that is
        to be ignored. Whatever it raises, nothing has changed, except by an optimizer written in Python that
        raises after its first parameter.
        """
        with self._kept_on_failure():
            x, target = self._batch(samples, index)
            outputs, backward = run_layer(self.model, x, True)
            loss, dy = run_loss(self.loss, outputs, target)
            self._refuse_nonfinite(loss)
            if count:
                metrics.count_correct(outputs, target, self._correct, binary=self.loss.binary)
            backward(dy, need_dx=False)
            self._clip()
            recorder = active_recorder()
            if isinstance(recorder, Recorder) and self.optimizer.step_is_overridden():
                recorder.call_back(lambda: self.optimizer.step(self.model.parameters()))
            else:
                self.optimizer.step(self.model.parameters())
            if self.ema is not None:
                self.ema.update(self.model)
            ops.advance(self._updates)
        return loss

    def _batch(self, samples: Samples, index: Array | None) -> tuple[Array, Array]:
        """Features and targets of the samples `index` (None: all of them), augmented if that is asked for."""
        if self._augment is None:
            return samples.all() if index is None else samples.batch(index)
        index = np.arange(len(samples)) if index is None else index
        return samples.augmented(index, self._augment, self.augment_state)

    def _clip(self) -> None:
        """Bring the gradients within the bounds, if there are any."""
        if self.clip_value is not None:
            clip_value(self.model.parameters(), self._clip_value.memory)
        if self.clip_norm is not None:
            self._refuse_nonfinite(
                clip_norm(self.model.parameters(), self._clip_norm.memory), "norm of the gradients"
            )

    def _refuse_nonfinite(self, loss: Array, what: str = "loss") -> None:
        """Raise `NonFiniteError` for a loss that is not finite, here and in all replays."""
        if self.on_nonfinite == "ignore":
            return
        self._check_finite(loss, what)
        recorder = active_recorder()
        if isinstance(recorder, Recorder):
            recorder.plan.check_finite(loss)

    def _check_finite(self, number: Array, what: str) -> None:
        if not math.isfinite(number[0]):
            raise NonFiniteError(_nonfinite(what, number[0], self.updates + 1))


def _nonfinite(what: str, number: float, update: int) -> str:
    return (
        f"the {what} is {number:g} at update {update}: lower the learning rate or look at the data; this "
        "step changed nothing"
    )


def check_finite(data: list[Samples], on_nonfinite: str) -> None:
    """Raise `NonFiniteError` for a nan or an infinity in the data, unless that is to be ignored."""
    if on_nonfinite != "ignore":
        for samples in data:
            if complaint := samples.nonfinite():
                raise NonFiniteError(complaint)


def _warn_of_no_logits(model: Layer, loss: Loss) -> None:
    last = model
    while isinstance(last, Sequential) and last.layers:
        last = last.layers[-1]
    if loss.expects_logits and isinstance(last, (Softmax, Sigmoid)):
        own = "sigmoid" if loss.binary else "softmax"
        warn(
            f"the model ends with {last!r}, but {loss!r} takes logits and applies {own} itself: "
            "training will be slow and worse; remove that layer"
        )
