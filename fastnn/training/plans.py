"""Plans of a trainer: which recorded step fits the next batch, and whether it still fits the model.

A plan stays valid as long as model, loss and optimizer have the structure that was recorded: the same
parameters in the same places, the same of them frozen, the same settings. What may change from step to step
(batch, learning rate, counters, the weights themselves) lies in memory that the kernels read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

import numpy as np

from fastnn._validation import Array
from fastnn.augment import Augmentation
from fastnn.kernels import active_backend, record_with
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.ema import EMA
from fastnn.optim.optimizers import Optimizer
from fastnn.param import Buffer, Param
from fastnn.recording import changes
from fastnn.recording.per_object import PerObject
from fastnn.recording.recorder import Arena, Recorder, declares_recordable

# Python gets control back after so many seconds of steps: for Ctrl-C and the progress bar.
RUN_SECONDS = 0.05

SIMPLE = (bool, int, float, str, type(None))


class Training(Protocol):
    """What is recorded: a `Trainer`."""

    model: Layer
    loss: Loss
    optimizer: Optimizer
    scale: float | None
    on_nonfinite: str
    fuse: bool
    keep_gradients: bool
    augment: Augmentation | None
    ema: EMA | None
    clip_norm: float | None
    clip_value: float | None


def plans_can_run() -> bool:
    """Whether the backend of this context runs plans: the compiled one does."""
    return str(active_backend()) == "aot"


class RecordedStep:
    """One training step as a plan, with the arrays that stand for its batch."""

    def __init__(self, trainer: Training, recorder: Recorder, slots: list[Array], loss: Array) -> None:
        self.recorder = recorder
        self.plan = recorder.plan
        self.has_call_backs = recorder.has_call_backs
        self.slots = slots
        self.loss = loss
        stored = [p for p in trainer.model.parameters() if p.has_grad and self.plan.uses(p.grad_buffer())]
        self.plan.finish(
            loss, slots, fuse_calls=trainer.fuse, fuse_updates=trainer.fuse and not trainer.keep_gradients
        )
        # Gradients that the plan no longer stores must not be taken for those of its last step.
        self.fused = [param for param in stored if not self.plan.uses(param.grad_buffer())]
        self._kept = [
            (p, p.grad_buffer()) for p in trainer.model.parameters() if p.has_grad and p not in self.fused
        ]
        # Python code must not be given what the door refuses, and a loss in Python may make other targets of
        # those it is given.
        self.needs_the_door = recorder.has_call_backs or not declares_recordable(trainer.loss)
        self._settings = _trainer_settings(trainer)
        seen = changes.count
        self._structure, self._referenced = _structure(trainer)
        self._settle(trainer, seen)

    def is_current(self, trainer: Training) -> bool:
        """Whether the next step of the trainer is the recorded one; brings hyper-parameters up to date."""
        model, loss, optimizer, scale, on_nonfinite, fuse, keep_gradients, *more = self._settings
        if (  # written out, since this is done before every step
            trainer.loss is not loss
            or trainer.optimizer is not optimizer
            or trainer.model is not model
            or trainer.scale != scale
            or trainer.on_nonfinite != on_nonfinite
            or trainer.fuse is not fuse
            or trainer.keep_gradients is not keep_gradients
            or trainer.augment is not more[0]
            or trainer.ema is not more[1]
            or (trainer.clip_norm is None) is not more[2]
            or (trainer.clip_value is None) is not more[3]
        ):
            return False
        # Python code may have changed what reports no change, such as a list of layers.
        seen = changes.count
        if seen != self._version or self.has_call_backs:
            if _structure(trainer)[0] != self._structure:
                return False
            self._settle(trainer, seen)
        elif trainer.optimizer.lr != self._lr or (len(self._hyper) and self._hyper[0] != self._rate):
            self._refresh(trainer)
        elif self.fused and self.fused[0].has_grad:  # a plan that stores them has filled them
            self._settle(trainer, seen)
        return True

    def _settle(self, trainer: Training, seen: int) -> None:
        """Make ready for a step; the structure was compared at the count of changes `seen`."""
        for param in self.fused:
            param.drop_grad()
        for param, buffer in self._kept:
            param.use_grad_buffer(buffer)
        self._refresh(trainer)
        self._version = seen  # read before the comparison: another thread may have changed something since

    def _refresh(self, trainer: Training) -> None:
        params = trainer.model.parameters()
        trainer.optimizer.refresh(params)
        moving = [param for param in params if not param.frozen]
        hypers = [(trainer.optimizer.state(param).hyper, param.lr_scale) for param in moving]
        read = [(hyper, scale) for hyper, scale in hypers if len(hyper)]
        self.plan.bind_rates(read)
        self._bound = read  # the plan holds bare pointers to these arrays
        self._lr = trainer.optimizer.lr
        # Of one parameter, to see whether another trainer with this optimizer has written another rate.
        self._hyper = read[0][0] if read else np.empty(0)
        self._rate = float(self._hyper[0]) if len(self._hyper) else 0.0

    def step(self, x: object, y: object) -> float | None:
        """One step on the batch; its loss, or None if the batch is not like the recorded one."""
        if not self.has_call_backs:
            loss: float | None = self.plan.step(x, y)
            return loss
        # Python code was given the recorded arrays, so the batch must come to them.
        for slot, array in zip(self.slots, (x, y), strict=True):
            if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (slot.shape, slot.dtype):
                return None
        for slot, array in zip(self.slots, (x, y), strict=True):
            slot[...] = array
        return float(self.plan.step(*self.slots))

    def run(
        self, order: Array, losses: Array, rates: Array | None = None
    ) -> tuple[int, BaseException | None]:
        """Steps on successive batches of `order`, for RUN_SECONDS or until `losses` is full.

        `rates` holds the learning rate of each, unless it is the optimizer's for all.
        """
        # With call-backs one by one, since they may change what the next step depends on.
        seconds = 0.0 if self.has_call_backs else RUN_SECONDS
        ended: tuple[int, BaseException | None] = self.plan.run(
            order, len(self.slots[0]), losses, seconds, rates
        )
        return ended


class Plans:
    """The recorded steps of one trainer, by the kind of their batch."""

    MOST = 8  # older ones are forgotten

    def __init__(self) -> None:
        self._arena = Arena()
        self._recorded: dict[Hashable, RecordedStep] = {}
        self.last: RecordedStep | None = None

    def find(self, trainer: Training, kind: Hashable) -> RecordedStep | None:
        """The recorded step for batches of this kind, if it is current."""
        # What has changed for one of them has changed for all.
        if any(not recorded.is_current(trainer) for recorded in list(self._recorded.values())[:1]):
            self._recorded.clear()
        recorded = self._recorded.get(kind)
        if recorded is not None and not recorded.is_current(trainer):
            self._recorded.clear()
            recorded = None
        self.last = recorded
        return recorded

    def record(
        self, trainer: Training, kind: Hashable, slots: list[Array], step: Callable[[Recorder], Array]
    ) -> float:
        """Run `step(recorder)`, which returns the loss array, and keep its calls for batches of this kind.

        Returns the loss.
        """
        recorder = Recorder(self._arena)
        before = _trainer_settings(trainer), _settings_of_all(trainer, [])
        with record_with(recorder):
            loss = step(recorder)
        if len(self._recorded) >= self.MOST:
            self._recorded.pop(next(iter(self._recorded)))
        value = float(loss[0])
        if before != (_trainer_settings(trainer), _settings_of_all(trainer, [])):
            self.last = None  # Python code has changed something meanwhile: the recording is out of date
            return value
        self.last = self._recorded[kind] = RecordedStep(trainer, recorder, slots, loss)
        return value

    # A copy of a trainer records its own.
    def __reduce__(self) -> tuple[type[Plans], tuple[()]]:
        return Plans, ()


_locks: PerObject[threading.Lock] = PerObject()
_making_locks = threading.Lock()


class Turn:
    """Held while a model takes a step, so that no other thread and no call-back steps it, too."""

    def __init__(self, model: Layer) -> None:
        with _making_locks:
            self._lock = _locks.get(model) or threading.Lock()
            _locks.set(model, self._lock)
        self.model = model

    def lock(self) -> threading.Lock:
        """What to hold; RuntimeError if somebody does (of two that ask at the very same moment one waits).

        The lock itself is the context manager, because Ctrl-C cannot come between its taking and its release:
        in a Python `__enter__` or `__exit__` it can, and the model would stay locked for ever.
        """
        if self._lock.locked():
            raise RuntimeError(
                "this model is in the middle of a training step, in another thread or in the code that "
                "called this: train a copy.deepcopy() of it, or wait"
            )
        return self._lock

    def __reduce__(self) -> tuple[type[Turn], tuple[Layer]]:
        return Turn, (self.model,)


def _trainer_settings(trainer: Training) -> tuple[object, ...]:
    """What can be set on the trainer itself, which does not report it."""
    return (
        *(trainer.model, trainer.loss, trainer.optimizer, trainer.scale, trainer.on_nonfinite),
        *(trainer.fuse, trainer.keep_gradients, trainer.augment, trainer.ema),
        *(trainer.clip_norm is None, trainer.clip_value is None),
    )


def _structure(trainer: Training) -> tuple[list[Hashable], list[object]]:
    """All that recorded calls depend on, but for what they read from memory; and the objects it names."""
    named: list[object] = []
    settings = _settings_of_all(trainer, named)
    for param in trainer.model.parameters():
        for array in trainer.optimizer.state(param).values():
            named.append(array)
            settings.append(id(array))
    return settings, named


def _settings_of_all(trainer: Training, named: list[object]) -> list[Hashable]:
    """The same without the optimizer's memory, which the first step makes."""
    settings: list[Hashable] = list(_layer_structure(trainer.model, named))
    for owner in (trainer.loss, trainer.optimizer):
        if declares_recordable(owner):
            settings += _settings(owner, named)
        else:  # its code is called anyway
            named.append(owner)
            settings.append(id(owner))
    return settings


def _layer_structure(layer: Layer, named: list[object]) -> Iterator[Any]:
    if not declares_recordable(layer):  # its code is called anyway; only its parameters matter
        yield id(layer)
        named.append(layer)
        for param in layer.parameters():
            yield from _param_structure(param, named)
        return
    yield type(layer)
    for name, value in vars(layer).items():
        if isinstance(value, Param):
            yield from _param_structure(value, named)
        elif isinstance(value, Buffer):
            named.append(value.master)
            yield id(value.master)
        elif isinstance(value, Layer):
            yield from _layer_structure(value, named)
        elif isinstance(value, (tuple, list)) and all(isinstance(item, Layer) for item in value):
            for item in value:
                yield from _layer_structure(item, named)
        else:
            yield from _setting(name, value, named)


def _param_structure(param: Param, named: list[object]) -> Iterator[Hashable]:
    named.append(param.master)
    yield from (id(param.master), param.trainable, param.lr_scale)


def _settings(owner: object, named: list[object]) -> Iterator[Any]:
    yield type(owner)
    for name, value in vars(owner).items():
        if name != "_lr":
            yield from _setting(name, value, named)


def _setting(name: str, value: Any, named: list[object]) -> Iterator[Hashable]:
    if isinstance(value, SIMPLE) or (isinstance(value, tuple) and all(isinstance(v, SIMPLE) for v in value)):
        yield name, value
    else:
        named.append(value)
        yield name, id(value)
