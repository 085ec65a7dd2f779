"""One update at a time, layer by layer or by replaying a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast

import numpy as np
import numpy.typing as npt

from fastnn import rng
from fastnn._foreign_names import TRAINER_ATTRIBUTES
from fastnn._sources import Features
from fastnn._validation import Array, positive_int, writable
from fastnn.feeding import remembered, usual_factor
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.measure.profile import Profile
from fastnn.optim.optimizers import Optimizer, optimizer_of
from fastnn.optim.schedules import Length, Rates
from fastnn.training.finite import NonFiniteError, check_finite
from fastnn.training.interrupts import ctrl_c_between_updates
from fastnn.training.options import (
    IN_MEMORY,
    OPTION_NAMES,
    TrainingKeywords,
    check_precision,
    piece_size,
    recorded_values,
    takes_options,
)
from fastnn.training.plans import Plans, RecordedStep, Refused, StepLock
from fastnn.training.processes import Communicator, Processes, processes_of
from fastnn.training.profiling import profile_step
from fastnn.training.samples import Samples, check_data, trainable_model, warn_if_not_logits
from fastnn.training.streams import augmentation_state, seed_layers
from fastnn.training.together import StepsTogether

# The attributes that a plan depends on.
PLAN_DEPENDS_ON = frozenset(("model", "loss", "optimizer", "change", *OPTION_NAMES))


class Trainer(StepsTogether):
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

    `micro_batch` computes the gradient of a larger batch in pieces of that many samples and sums them
    (accumulated gradients); the loss is the same. One piece at a time is in memory. The result is that of the
    whole batch up to rounding: each loss is divided by the divisor of the whole batch, and the clipping, the
    decay and the update come once, at the end. But batch norm takes the statistics of each piece and updates
    the running ones with each; dropout and `augment` draw anew for each; a loss of yours sees each piece
    alone. The pieces are cut from the front, the last one is smaller (or larger, if it would be too small for
    batch norm), so the bits depend on `micro_batch`, but not on the number of threads or on plans. `p.grad`
    is the sum after such a step.

    `precision="bf16"` rounds the operands of the products of dense layers to bf16 (8 bits of precision, the
    range of float32), forward and backward; sums, weights, optimizer state and everything else stay float32,
    and so do predictions and validation. It needs a float32 model and, with the backend "aot", a processor
    with AVX512_BF16, where such products are up to twice as fast (see the guide); the other backends emulate
    it. Convolutions are computed in float32.

    `communicator`, such as mpi4py's `MPI.COMM_WORLD`, lets several processes train together, all running this
    program: each computes the gradient of its share of the rows of a batch, and one call sums the gradients
    of all. All of them call `step` with the same, whole batch, and get the same loss and the same weights, to
    the last bit. The result is that of one process, up to rounding, but batch norm takes the statistics of
    each share and averages the running ones, and dropout and `augment` draw anew for each share. The
    processes compare models, settings and the first batch at the start. An error in one of them is raised in
    all: an `fn.ProcessError` names the process.

    `sync_batch_norm=True` lets batch norm take the statistics of the whole batch, as in one process, where it
    changes nothing. Each of its layers then waits twice per step for all processes, which need at least one
    sample each. It excludes `micro_batch`.

    All options may be changed between steps, in all processes: `trainer.clip_norm = 1.0`.

    Raises ValueError or TypeError for invalid options, RuntimeError when two threads step one model at once,
    or if the processor has no bf16.
    """

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
        communicator: Communicator | Processes | None = None,
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
        StepLock(model).lock.check()  # or its random layers would get other keys in the middle of a step
        warn_if_not_logits(model, self.loss)
        self._memory = {name: np.empty(1) for name in IN_MEMORY}  # from where kernels read these options
        self._plans = Plans()
        super().__init__(**options)
        self._updates = np.zeros(1, np.int64)  # counted by a kernel, which Ctrl-C cannot interrupt
        self._correct = np.zeros(1, np.int64)
        self._piece_factor, self._total_loss = np.empty(1), np.empty(1)
        self.augment_state = np.zeros(2, np.uint64)
        self._flat = None
        self.processes = processes_of(communicator)
        with self.processes.joined():
            if self.processes.size > 1:
                from fastnn.training.agreement import compare_trainers  # which imports this module

                compare_trainers(self, is_compared=self.processes is communicator)
            self.key = self.processes.gather(rng.key(seed))[0]
        self.start_random_streams()
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
        self._piece_factor, self._total_loss = np.empty(1), np.empty(1)
        self._flat = None  # the parameters of a copy have buffers of their own

    def start_random_streams(self) -> None:
        """Start the streams of dropout and augmentation of this process, as functions of `key`."""
        seed_layers(self.model, self.key, self.processes.rank)
        self.augment_state[:] = augmentation_state(self.key, self.processes.rank)

    def _apply_option(self, name: str, value: Any) -> None:
        if name in ("plan", "schedule"):  # which plans do not depend on
            self._plans.unchanged = None
        if name == "precision":
            check_precision(value, self.model)
        elif name == "schedule":
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
            self._plans.unchanged = None

    def step(self, x: Features, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Make one update from the batch x (N, ...), y; returns the loss before the update.

        `sample_weight` (N,), at least 0, multiplies the losses of the samples, and a mean is divided by its
        sum.

        Raises ValueError or TypeError for data that do not fit, `NonFiniteError` as described above; then
        nothing has changed.
        """
        unchanged, lock = self._plans.unchanged, self._step_lock.lock
        if unchanged is not None and sample_weight is None:
            loss: float | None = lock.run_if_free(unchanged.plan.unchanged_step, x, y)
            if loss is not None:
                return loss
            self._plans.unchanged = None
        try:
            return cast(float, lock.run(self._step, x, y, sample_weight))
        except NonFiniteError:
            if self.on_nonfinite == "raise":
                raise
            return math.nan

    def _step(self, x: Features, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> float:
        if self.rates is not None:
            self.optimizer.lr = float(self.rates.of(self.updates, 1)[0])
        if self.processes.size > 1:
            self.begin_sums()
            with self.processes.joined():
                return self._checked_step(x, y, sample_weight)
        if sample_weight is None and (loss := self._direct_step(x, y)) is not None:
            return loss
        return self._checked_step(x, y, sample_weight)

    def profile(self, x: Features, y: npt.ArrayLike, *, steps: int = 200) -> Profile:
        """Where the time of a step on the batch x, y goes; print it, or `.plot("step.png")`.

        A copy of model and optimizer takes the steps: nothing changes here. Raises RuntimeError if steps are
        not planned (`plan=False`, or a backend other than "aot") or computed in pieces (`micro_batch`), and
        the errors of `step`.
        """
        return profile_step(self, x, y, positive_int(steps, "steps"))

    @property
    def last_plan(self) -> RecordedStep | None:
        """The recorded step that the last step replayed or recorded; None if it was not planned.

        Of a step in pieces, it is the last piece, and `makes_update` is False.
        """
        return self._plans.last

    def _direct_step(self, x: Features, y: npt.ArrayLike) -> float | None:
        """Replay a plan on the arrays of a user as they are; None if they must be checked."""
        plan = self._plans.direct if self._uses_plans() else None
        if plan is None or plan.needs_checks or not plan.is_current(self) or not plan.takes(y):
            return None
        loss = self._replay(plan, plan.step, x, y, target=lambda: np.asarray(y))
        if isinstance(loss, Refused):
            return None
        if self.rates is None and self.processes.size == 1:  # nothing to do before the next step
            self._plans.unchanged = plan if plan.allows_unchanged(self) else None
        return loss

    def _checked_step(self, x: Features, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> float:
        samples = check_data(self.model, self.loss, (x, y, sample_weight), self.scale)
        check_finite([samples], self.on_nonfinite)
        self.check_images(samples)
        self._compare_first(samples)
        is_cut = self.processes.size > 1 or piece_size(self, len(samples)) is not None
        whole = ctrl_c_between_updates() if is_cut else nullcontext()  # a plan cannot be interrupted anyway
        with whole, remembered(self.model, samples.feeding, samples.classes, self.loss, self._updates):
            loss = self._update_from_all(samples)
        rescaled = self.scale is None and samples.scale != usual_factor(self.model, samples.x.dtype)
        # A plan would take x with the wrong factor, or labels as numbers of outputs, or a piece as a batch.
        self._plans.direct = None if rescaled or samples.has_encoded_labels or is_cut else self._plans.last
        return loss

    def update_from(self, batch: Samples, count: bool) -> float:
        """Make one update from all samples of a checked batch; returns its loss.

        `count` and errors are as in `updates_from`.
        """
        loss: float = self._step_lock.lock.run(self._update_from, batch, count)
        return loss

    def _update_from(self, batch: Samples, count: bool) -> float:
        with self.prepared(batch, 1):
            return self._update_from_all(batch, count=count)

    def updates_from(
        self, samples: Samples, order: Array, losses: Array, batch_size: int, count: bool
    ) -> int:
        """Make one or more updates from successive mini-batches of the samples `order`; returns how many.

        Writes their losses to the front of `losses`, which has room for all that may be made. With `count`,
        adds the number of correct outputs to `self.correct`. Raises the errors of `step`, after the updates
        before the one that failed: their losses are in `losses`, their number in `self.updates`.
        """
        run = self._step_lock.lock.run
        done: int = run(self._updates_from, samples, order, losses, batch_size, count)
        return done

    def _updates_from(
        self, samples: Samples, order: Array, losses: Array, batch_size: int, count: bool
    ) -> int:
        with self.prepared(samples, len(losses)) as rates:
            if self.processes.size > 1:
                return self._updates_together(samples, order, losses, rates, batch_size, count)
            if (size := piece_size(self, batch_size)) is not None:
                losses[0] = self._update_in_pieces(samples, order[:batch_size], size, count)
                return 1
            done = self._steps(samples, order, losses, rates, batch_size, count, self._update)
            self.end_updates(rates, done)
            return done

    @contextmanager
    def prepared(self, samples: Samples, updates: int) -> Iterator[Array | None]:
        """Prepare for at most that many updates from the samples; the caller holds the lock of the model.

        Yields the learning rate of each update; None without a schedule.
        """
        rates: Array | None = None
        remember = remembered(self.model, samples.feeding, samples.classes, self.loss, self._updates)
        with remember:
            self._follow_weights()
            if self.rates is not None:
                rates = self.rates.of(self.updates, updates)
                self.optimizer.lr = float(rates[0])
            yield rates

    def end_updates(self, rates: Array | None, done: int) -> None:
        """Leave the learning rate of the last of `done` updates in the optimizer."""
        if rates is not None:
            self.optimizer.lr = float(rates[done - 1])
