"""The plans of a trainer: which recorded step fits the next batch, and whether it still fits the model.

A plan stays valid as long as model, loss and optimizer keep the structure that was recorded: the same
parameters in the same places, the same ones frozen, the same settings. What may change from step to step
(the batch, the learning rate, counters, the weights themselves) lies in memory that the kernels read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array
from fastnn.kernels import active_backend, record_with
from fastnn.kernels.guards import Lock
from fastnn.kernels.plan import WeightChange
from fastnn.kernels.population import likeness
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.optimizers import Optimizer
from fastnn.param import Buffer, Param
from fastnn.recording import changes
from fastnn.recording.per_object import PerObject
from fastnn.recording.recorder import Arena, Recorder, declares_recordable
from fastnn.states import held_by

# Python regains control after this many seconds of steps, for Ctrl-C and the progress bar.
RUN_SECONDS = 0.05

SIMPLE = (bool, int, float, str, type(None))


class PlannedTrainer(Protocol):
    """The attributes of a `Trainer` that a plan depends on.

    `plan_key` holds model, loss, optimizer, `change` and the recorded options; the trainer replaces the tuple
    when, and only when, one of them changes.
    """

    model: Layer
    loss: Loss
    optimizer: Optimizer
    fuse: bool
    keep_gradients: bool
    change: WeightChange | None
    plan_key: tuple[object, ...]


@dataclass(frozen=True)
class Refused:
    """A recorded step was not taken, for this reason. Nothing has changed."""

    reason: Exception


DIFFERENT_BATCH = Refused(ValueError("the batch has another shape or dtype than the recorded one"))


def plans_can_run() -> bool:
    """Whether the active backend runs plans: only the compiled one does."""
    return str(active_backend()) == "aot"


class RecordedStep:
    """One training step as a plan, with the input buffers that stand for its batch.

    `makes_update` is False for a piece of a mini-batch, which only adds to the sums of the gradients.
    """

    def __init__(
        self,
        trainer: PlannedTrainer,
        recorder: Recorder,
        inputs: list[Array],
        loss: Array,
        *,
        makes_update: bool = True,
    ) -> None:
        self.recorder = recorder
        self.makes_update = makes_update
        self.plan = recorder.plan
        self.has_callbacks = recorder.has_callbacks
        self.inputs = inputs
        self.loss = loss
        stored = [p for p in trainer.model.parameters() if p.has_grad and self.plan.uses(p.grad_buffer())]
        self.plan.finish(
            loss, inputs, fuse_calls=trainer.fuse, fuse_updates=trainer.fuse and not trainer.keep_gradients
        )
        if makes_update and trainer.change is not None:
            self.plan.watch(trainer.change)
        # A gradient that the plan no longer stores must not be mistaken for the gradient of its last step.
        self.fused = [param for param in stored if not self.plan.uses(param.grad_buffer())]
        self._kept = [
            (p, p.grad_buffer()) for p in trainer.model.parameters() if p.has_grad and p not in self.fused
        ]
        # Python code must not receive data that the checks reject, and a loss in Python may convert its
        # targets while they are checked.
        self.needs_checks = recorder.has_callbacks or not declares_recordable(trainer.loss)
        self._loss = trainer.loss
        in_python = self._loss.limits_targets and self._loss.target_range is None
        self._limits_targets = in_python and len(inputs) > 1 and inputs[1].dtype.kind == "f"
        self._plan_key = trainer.plan_key
        version = changes.last
        self._structure, self._referenced = _structure(trainer, makes_update)
        self._prepare(trainer, version)

    @cached_property
    def likeness(self) -> int | None:
        """The same number for steps of the same kernels with the same sizes and settings.

        None if the step cannot be taken together with those of other models.
        """
        number: int | None = likeness(self.plan)
        return number

    def is_current(self, trainer: PlannedTrainer) -> bool:
        """Whether the trainer's next step is the recorded one; brings hyper-parameters up to date."""
        if trainer.plan_key is not self._plan_key:
            return False
        version = changes.last
        # Python code may have changed something that reports no changes, such as a list of layers.
        if version is not self._version or self.has_callbacks:
            if _structure(trainer, self.makes_update)[0] != self._structure:
                return False
            self._prepare(trainer, version)
        elif trainer.optimizer.lr != self._lr or (len(self._hyper) and self._hyper[0] != self._rate):
            self._refresh(trainer)
        elif self.fused and self.fused[0].has_grad:  # filled by a plan that stores gradients
            self._prepare(trainer, version)
        return True

    def _prepare(self, trainer: PlannedTrainer, version: object) -> None:
        """Prepare for a step; `version` is the last change before the structure was compared."""
        for param in self.fused:
            param.drop_grad()
        for param, buffer in self._kept:
            param.use_grad_buffer(buffer)
        self._version = version  # read before the comparison, since another thread may have changed something
        self._refresh(trainer)

    def _refresh(self, trainer: PlannedTrainer) -> None:
        """Write the hyper-parameters to the memory that the plan reads."""
        params = trainer.model.parameters() if self.makes_update else []
        trainer.optimizer.refresh(params)
        moving = [param for param in params if not param.frozen]
        hypers = [(trainer.optimizer.state(param).hyper, param.lr_scale) for param in moving]
        read = [(hyper, scale) for hyper, scale in hypers if len(hyper)]
        self.plan.bind_rates(read)
        self._bound = read  # keeps the arrays alive: the plan holds bare pointers to them
        self._lr = trainer.optimizer.lr
        # The memory of one parameter shows whether another trainer with this optimizer wrote another rate.
        self._hyper = read[0][0] if read else np.empty(0)
        self._rate = float(self._hyper[0]) if len(self._hyper) else 0.0

    def allows_unchanged(self, trainer: PlannedTrainer) -> bool:
        """Let the plan take the next steps by itself until something changes; whether it can.

        It does not notice changes of `plan_key`.
        """
        # `_lr`, because the property `lr` would run Python code in every step.
        self.plan.guard(((changes, "last", self._version), (trainer.optimizer, "_lr", self._lr)))
        return not (self.needs_checks or self._limits_targets)

    def takes(self, y: npt.ArrayLike) -> bool:
        """Whether the loss accepts the values of the targets, as far as the kernels do not check them."""
        if not self._limits_targets:
            return True
        try:
            self._loss.targets(y, self.inputs[1].shape[1:], self.inputs[1].dtype)
        except (TypeError, ValueError):
            return False
        return True

    def step(self, *batch: object) -> float | Refused:
        """Take one step on the batch; returns its loss. Raises `CheckFailedError` if a check fails."""
        if self.has_callbacks:
            # Python code was given the input buffers, so the batch must be copied into them.
            if len(batch) != len(self.inputs) or not all(map(_alike, self.inputs, batch)):
                return DIFFERENT_BATCH
            for buffer, array in zip(self.inputs, batch, strict=True):
                buffer[...] = array
            batch = tuple(self.inputs)
        loss: float | None = self.plan.step(*batch)
        return DIFFERENT_BATCH if loss is None else loss

    def run(self, order: Array, losses: Array, rates: Array | None = None) -> int:
        """Take steps on successive batches of `order`, for RUN_SECONDS or until `losses` is full.

        `rates` holds the learning rate of each step (None: the optimizer's for all). Returns the number of
        steps. Raises the error of the first step; an error in a later one ends the run before that step, so
        that the next run raises it.
        """
        # One step at a time with callbacks, since they may change what the next step depends on.
        seconds = 0.0 if self.has_callbacks else RUN_SECONDS
        steps: int
        error: BaseException | None
        steps, error = self.plan.run(order, len(self.inputs[0]), losses, seconds, rates)
        if error is not None and steps == 0:
            raise error
        return steps


def _alike(buffer: Array, array: object) -> bool:
    """Whether `array` has the shape and the dtype of the input buffer."""
    return isinstance(array, np.ndarray) and (array.shape, array.dtype) == (buffer.shape, buffer.dtype)


class Plans:
    """The recorded steps of one trainer, by the kind of their batch (its shapes and dtypes)."""

    MOST = 8  # the oldest is dropped beyond this

    def __init__(self) -> None:
        self._arena = Arena()
        self._recorded: dict[Hashable, RecordedStep] = {}
        self.last: RecordedStep | None = None
        self.direct: RecordedStep | None = None
        """The last one, if it takes the arrays of a user as they are."""
        self.unchanged: RecordedStep | None = None
        """The last one, if it takes them by itself."""

    def find(self, trainer: PlannedTrainer, kind: Hashable) -> RecordedStep | None:
        """The recorded step for batches of this kind; None if there is none or it is out of date."""
        # A change that makes one of them out of date does so for all.
        if any(not recorded.is_current(trainer) for recorded in list(self._recorded.values())[:1]):
            self._recorded.clear()
        recorded = self._recorded.get(kind)
        if recorded is not None and not recorded.is_current(trainer):
            self._recorded.clear()
            recorded = None
        self.last, self.direct, self.unchanged = recorded, None, None
        return recorded

    def record(
        self,
        trainer: PlannedTrainer,
        kind: Hashable,
        inputs: list[Array],
        step: Callable[[Recorder], Array],
        *,
        makes_update: bool = True,
    ) -> float:
        """Run `step(recorder)`, which returns the loss array, and keep its calls for batches of this kind.

        `makes_update` is whether the step changes the weights. Returns the loss.
        """
        for held in held_by(trainer.model).values():
            held.writable_master()  # before the recorder sees the address
        recorder = Recorder(self._arena)
        key, settings = trainer.plan_key, _settings_of_all(trainer, [])
        with record_with(recorder):
            loss = step(recorder)
        if len(self._recorded) >= self.MOST:
            self._recorded.pop(next(iter(self._recorded)))
        value = float(loss[0])
        if trainer.plan_key is not key or _settings_of_all(trainer, []) != settings:
            self.last = None  # Python code changed something during the step: the recording is out of date
            return value
        self.last = self._recorded[kind] = RecordedStep(
            trainer, recorder, inputs, loss, makes_update=makes_update
        )
        return value

    # A copy of a trainer records its own.
    def __reduce__(self) -> tuple[type[Plans], tuple[()]]:
        return Plans, ()


_locks: PerObject[Lock] = PerObject()


class StepLock:
    """The lock that is held while a model takes a step, so that no other thread or callback steps it, too."""

    def __init__(self, model: Layer) -> None:
        self.model = model
        self.lock = _locks.setdefault(
            model,
            Lock(
                "this model is in the middle of a training step, in another thread or in the code that "
                "called this: train a copy.deepcopy() of it, or wait"
            ),
        )

    def __reduce__(self) -> tuple[type[StepLock], tuple[Layer]]:
        return StepLock, (self.model,)


def _structure(trainer: PlannedTrainer, with_optimizer_state: bool) -> tuple[list[Hashable], list[object]]:
    """Everything that recorded calls depend on and do not read from memory; and the objects it refers to.

    The caller keeps the objects alive, because they are compared by `id`.
    """
    referenced: list[object] = []
    settings = _settings_of_all(trainer, referenced)
    for param in trainer.model.parameters() if with_optimizer_state else ():
        for array in trainer.optimizer.state(param).values():
            referenced.append(array)
            settings.append(id(array))
    return settings, referenced


def _settings_of_all(trainer: PlannedTrainer, referenced: list[object]) -> list[Hashable]:
    """The structure without the optimizer's state, which the first step creates."""
    settings: list[Hashable] = list(_layer_structure(trainer.model, referenced))
    for owner in (trainer.loss, trainer.optimizer):
        if declares_recordable(owner):
            settings += _settings(owner, referenced)
        else:  # its code is called in every step
            referenced.append(owner)
            settings.append(id(owner))
    return settings


def _layer_structure(layer: Layer, referenced: list[object]) -> Iterator[Any]:
    if not declares_recordable(layer):  # its code is called in every step; only its parameters matter
        yield id(layer)
        referenced.append(layer)
        for param in layer.parameters():
            yield from _param_structure(param, referenced)
        return
    yield type(layer)
    for name, value in vars(layer).items():
        if isinstance(value, Param):
            yield from _param_structure(value, referenced)
        elif isinstance(value, Buffer):
            referenced.append(value.master)
            yield id(value.master)
        elif isinstance(value, Layer):
            yield from _layer_structure(value, referenced)
        elif isinstance(value, (tuple, list)) and all(isinstance(item, Layer) for item in value):
            for item in value:
                yield from _layer_structure(item, referenced)
        else:
            yield from _setting(name, value, referenced)


def _param_structure(param: Param, referenced: list[object]) -> Iterator[Hashable]:
    referenced += [param.master, param.mask_master]
    yield from (id(param.master), param.trainable, param.lr_scale, param.decay_scale)
    yield from (param.clip_value, id(param.mask_master))
    yield from (param.feeding, param.classes)


def _settings(owner: object, referenced: list[object]) -> Iterator[Any]:
    yield type(owner)
    for name, value in vars(owner).items():
        if name != "_lr":
            yield from _setting(name, value, referenced)


def _setting(name: str, value: Any, referenced: list[object]) -> Iterator[Hashable]:
    if isinstance(value, SIMPLE) or (isinstance(value, tuple) and all(isinstance(v, SIMPLE) for v in value)):
        yield name, value
    else:
        referenced.append(value)
        yield name, id(value)
