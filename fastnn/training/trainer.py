"""One update at a time, layer by layer or by replaying a plan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Unpack

import numpy as np
import numpy.typing as npt

from fastnn import rng
from fastnn._foreign_names import TRAINER_ATTRIBUTES
from fastnn._sources import Features
from fastnn._validation import Array, positive_int, writable
from fastnn.feeding import remembered, usual_factor
from fastnn.kernels.plan import CheckFailedError
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.measure.profile import Profile
from fastnn.optim.optimizers import Optimizer, optimizer_of
from fastnn.optim.schedules import Length, Rates
from fastnn.recording.recorder import Recorder, input_buffer
from fastnn.training.finite import NonFiniteError, check_finite, loss_message
from fastnn.training.options import (
    IN_MEMORY,
    OPTION_NAMES,
    TrainingKeywords,
    recorded_values,
    takes_options,
)
from fastnn.training.plans import RUN_SECONDS, Plans, RecordedStep, Refused, StepLock, plans_can_run
from fastnn.training.profiling import profile_step
from fastnn.training.samples import (
    CHANGED_MEANWHILE,
    Samples,
    check_data,
    trainable_model,
    warn_if_not_logits,
)
from fastnn.training.streams import augmentation_state, seed_layers
from fastnn.training.update import Updates

T = TypeVar("T")

# The attributes that a plan depends on.
PLAN_DEPENDS_ON = frozenset(("model", "loss", "optimizer", "change", *OPTION_NAMES))


class Trainer(Updates):
    """A model with its loss and its optimizer, trained step by step.

    `optimizer` is a name or an object; None is `fn.Adam(lr=0.003)`. `seed` keys all random layers (dropout);
    without it the key comes from the default generator. `on_nonfinite` says what to do about NaN or inf in
    data or loss: "raise" a `NonFiniteError` before any weight changes, "stop" (`step` returns NaN and changes
    nothing), or "ignore" it.

    The first step on each batch shape is recorded; later steps are replayed by compiled code, with the same
    results to the last bit (`training.plans`; backend "aot" only). `plan=False` runs every step layer by
    layer, `fuse=False` replays the recorded kernels one by one. Fused updates do not store the gradients
    of the parameters: `p.grad` is None after a step unless `keep_gradients=True`.

    `augment`, such as `fn.augment.Rotate(15)`, changes the images of each batch at random. `scale` multiplies
    the features (by default as in the first training of the model: see `fit`). `schedule` (`fn.schedules`)
    sets the learning rate of each update, starting from the current `optimizer.lr`; `total_updates` and
    `updates_per_epoch` give it the length of the training, where it needs that. `clip_norm` bounds the norm
    of all gradients together, `clip_value` the absolute value of each gradient element. `ema` averages the
    weights (an `fn.EMA`, or a decay such as 0.999); the averages are in `trainer.ema`. A schedule and
    averages start afresh with every trainer; an optimizer object keeps its state.

    All options may be changed between steps: `trainer.clip_norm = 1.0`.

    Raises ValueError or TypeError for invalid options, RuntimeError when two threads step one model at once.
    """

    plan_key: tuple[object, ...]
    _step_lock: StepLock
    _checks: ClassVar = {
        "model": trainable_model,
        "loss": lambda loss, name: reducing_loss(loss),
        "optimizer": lambda optimizer, name: optimizer_of(optimizer),
    }
    _hints = TRAINER_ATTRIBUTES

    @takes_options
    def __init__(
        self,
        model: Layer,
        *,
        loss: str | Loss = "cross_entropy",
        optimizer: str | Optimizer | None = None,
        seed: int | None = None,
        total_updates: int | None = None,
        updates_per_epoch: int | None = None,
        **options: Unpack[TrainingKeywords],
    ) -> None:
        self.model = model
        self.loss = reducing_loss(loss)
        self.optimizer = optimizer_of(optimizer)
        self.rates = None
        self._length = Length(
            None if total_updates is None else positive_int(total_updates, "total_updates"),
            None if updates_per_epoch is None else positive_int(updates_per_epoch, "updates_per_epoch"),
        )
        seed = None if seed is None else rng.check_seed(seed)
        StepLock(model).exclusive()  # or its random layers would get other keys in the middle of a step
        warn_if_not_logits(model, self.loss)
        self._memory = {name: np.empty(1) for name in IN_MEMORY}  # from where kernels read these options
        super().__init__(**options)
        self._updates = np.zeros(1, np.int64)  # counted by a kernel, which Ctrl-C cannot interrupt
        self.key = rng.key(seed)
        seed_layers(model, self.key)
        self.augment_state = augmentation_state(self.key)
        self._correct = np.zeros(1, np.int64)
        self._plans = Plans()
        self.plan_key = ()
        self._update_plan_key()

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "model":
                self._step_lock = StepLock(value)
            if name in PLAN_DEPENDS_ON and "plan_key" in vars(self):
                self._update_plan_key()

    # Counters are read-only after joblib has mapped them from a file.
    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._memory = {name: writable(array) for name, array in self._memory.items()}
        self._updates, self._correct = writable(self._updates), writable(self._correct)
        self.augment_state = writable(self.augment_state)

    def _apply_option(self, name: str, value: Any) -> None:
        if name == "schedule":
            if self.rates is not None:  # the rate before this schedule, not the last one that it set
                self.optimizer.lr = self.rates.lr
            self.rates = None if value is None else Rates(value, self.optimizer.lr, self._length)
        elif name == "augment":
            self._augmentation = value
        elif name == "ema" and value is not None:
            value.begin(self.model)
        elif name in self._memory and value is not None:
            self._memory[name][0] = value

    def _update_plan_key(self) -> None:
        """Replace `plan_key` if anything in it has changed: plans compare the tuple by identity."""
        key = (self.model, self.loss, self.optimizer, self.change, *recorded_values(self))
        if len(key) != len(self.plan_key) or any(a is not b for a, b in zip(key, self.plan_key, strict=True)):
            self.plan_key = key

    def step(self, x: Features, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Make one update from the batch x (N, ...), y; returns the loss before the update.

        `sample_weight` (N,), at least 0, multiplies the losses of the samples, and a mean is divided by its
        sum.

        Raises ValueError or TypeError for data that do not fit, `NonFiniteError` as described above; then
        nothing has changed.
        """
        try:
            with self._step_lock.exclusive():
                if self.rates is not None:
                    self.optimizer.lr = float(self.rates.of(self.updates, 1)[0])
                plan = self._plans.direct if self._uses_plans() and sample_weight is None else None
                if plan is not None and not plan.needs_checks and plan.is_current(self) and plan.takes(y):
                    loss = self._replay(plan, plan.step, x, y, target=lambda: np.asarray(y))
                    if not isinstance(loss, Refused):
                        return loss
                return self._checked_step(x, y, sample_weight)
        except NonFiniteError:
            if self.on_nonfinite == "raise":
                raise
            return math.nan

    def _uses_plans(self) -> bool:
        return self.plan and plans_can_run()

    def profile(self, x: Features, y: npt.ArrayLike, *, steps: int = 200) -> Profile:
        """Where the time of a step on the batch x, y goes; print it, or `.plot("step.png")`.

        A copy of model and optimizer takes the steps: nothing changes here. Raises RuntimeError if steps are
        not planned (`plan=False`, or a backend other than "aot"), and the errors of `step`.
        """
        return profile_step(self, x, y, positive_int(steps, "steps"))

    @property
    def last_plan(self) -> RecordedStep | None:
        """The recorded step that the last step replayed or recorded; None if it was not planned."""
        return self._plans.last

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

    def _checked_step(self, x: Features, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> float:
        samples = check_data(self.model, self.loss, (x, y, sample_weight), self.scale)
        check_finite([samples], self.on_nonfinite)
        self.check_images(samples)
        with remembered(self.model, samples.feeding, samples.classes, self.loss, self._updates):
            loss = self._planned_step(samples)
        rescaled = self.scale is None and samples.scale != usual_factor(self.model, samples.x.dtype)
        # A plan would take x with the wrong factor, or labels as numbers of outputs.
        self._plans.direct = None if rescaled or samples.has_encoded_labels else self._plans.last
        return loss

    def _planned_step(self, samples: Samples, *, count: bool = False) -> float:
        """Replay the recorded step for batches of this kind, or record it, or run it layer by layer.

        `count` is as in `_update`.
        """
        if not self._uses_plans():
            return float(self._update(samples, count=count)[0])
        kind = (
            *(samples.x.shape, samples.x.dtype, samples.scale, count),
            *(samples.target.shape, samples.target.dtype, samples.weight is None),
        )
        recorded = self._plans.find(self, kind)
        loss: float | Refused
        if recorded is None:
            loss = self._record_step(kind, samples, count)
        else:
            loss = self._replay(recorded, recorded.step, *samples.arrays(), target=lambda: samples.target)
        if isinstance(loss, Refused):
            # A check of the plan failed: layer by layer, the step raises the error.
            return float(self._update(samples, count=count)[0])
        return loss

    def _record_step(self, kind: Hashable, samples: Samples, count: bool) -> float:
        inputs = [input_buffer(array) for array in samples.arrays()]
        batch = replace(samples, x=inputs[0], target=inputs[1], weight=inputs[2] if inputs[2:] else None)

        def step(recorder: Recorder) -> Array:
            if self.on_nonfinite != "ignore":
                for array in inputs:
                    if array.dtype.kind == "f":
                        recorder.check_all_finite(array)
            return self._update(batch, count=count)

        return self._plans.record(self, kind, inputs, step)

    def update_from(self, batch: Samples, count: bool) -> float:
        """Make one update from all samples of a checked batch; returns its loss.

        `count` and errors are as in `updates_from`.
        """
        remember = remembered(self.model, batch.feeding, batch.classes, self.loss, self._updates)
        with self._step_lock.exclusive(), remember:
            self._follow_weights()
            if self.rates is not None:
                self.optimizer.lr = float(self.rates.of(self.updates, 1)[0])
            return self._planned_step(batch, count=count)

    def updates_from(
        self, samples: Samples, order: Array, losses: Array, batch_size: int, count: bool
    ) -> int:
        """Make one or more updates from successive mini-batches of the samples `order`; returns how many.

        Writes their losses to the front of `losses`, which has room for all that may be made. With `count`,
        adds the number of correct outputs to `self.correct`. Raises the errors of `step`, after the updates
        before the one that failed: their losses are in `losses`, their number in `self.updates`.
        """
        index = order[:batch_size]
        rates: Array | None = None
        remember = remembered(self.model, samples.feeding, samples.classes, self.loss, self._updates)
        with self._step_lock.exclusive(), remember:
            self._follow_weights()
            if self.rates is not None:
                rates = self.rates.of(self.updates, len(losses))
                self.optimizer.lr = float(rates[0])
            if not samples.readable:
                return self._updates_from_source(samples, order, losses, rates, batch_size, count)
            if not self._uses_plans():
                losses[0] = self._update(samples, index, count=count)[0]
                return 1
            kind = (id(samples), len(index), count)
            recorded = self._plans.find(self, kind)
            if recorded is None:
                losses[0] = self._record_gathered(kind, samples, index, count)
                return 1
            run = recorded.run
            done = self._replay(recorded, run, order, losses, rates, target=lambda: samples.target[index])
            if isinstance(done, Refused):
                samples.check_again(self.model, self.loss)
                raise ValueError(CHANGED_MEANWHILE) from done.reason
            if rates is not None:
                self.optimizer.lr = float(rates[done - 1])
            return done

    def _updates_from_source(
        self, samples: Samples, order: Array, losses: Array, rates: Array | None, batch_size: int, count: bool
    ) -> int:
        """Do what `updates_from` does for features that kernels cannot read, for `RUN_SECONDS`.

        An error in a later update ends the run before it, so that the next run raises it.
        """
        stop = time.monotonic() + RUN_SECONDS
        for done in range(len(losses)):
            try:
                batch = samples.gathered(order[done * batch_size : (done + 1) * batch_size])
                if rates is not None:
                    self.optimizer.lr = float(rates[done])
                losses[done] = self._planned_step(batch, count=count)
            except Exception:
                if done == 0:
                    raise
                return done
            plan = self._plans.last
            if time.monotonic() >= stop or plan is None or plan.has_callbacks:
                return done + 1
        return len(losses)

    def _record_gathered(self, kind: Hashable, samples: Samples, index: Array, count: bool) -> float:
        buffer = input_buffer(index)

        def step(recorder: Recorder) -> Array:
            recorder.keep.append(samples)
            return self._update(samples, buffer, count=count)

        return self._plans.record(self, kind, [buffer], step)
