"""Learning-rate schedules: factors on the optimizer's `lr` that change from update to update.

>>> fn.fit(model, data, optimizer=fn.SGD(lr=0.1), schedule=fn.schedules.Cosine(), epochs=20)

A schedule is a function of the update number, so the rates are computed in advance for the steps that run
without Python. The factors equal those of PyTorch's schedulers of similar names.
"""

from __future__ import annotations

import math
import typing as _typing
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastnn._attributes import Declared, declared_dataclass
from fastnn._foreign_names import SCHEDULE_ATTRIBUTES
from fastnn._validation import Array, counter_value, in_range, not_nan, one_of, positive_int, within
from fastnn.history import MODES, better, curve_name


@dataclass(frozen=True)
class Length:
    """The length of a training: its updates, and the updates per epoch. None if unknown."""

    updates: int | None
    per_epoch: int | None


class Schedule(Declared, ABC):
    """Base class of all schedules. A subclass defines `factor`, and declares which lengths it needs.

    The learning rate of update 0, 1, ... is `factor(update, length)` times the value of `optimizer.lr` at the
    beginning of training.
    """

    needs_updates = False  # `length.updates`
    needs_epochs = False  # `length.per_epoch`

    _hints = SCHEDULE_ATTRIBUTES

    @property
    def monitored(self) -> str | None:
        """The value of an epoch that `end_epoch` reads, which `fit` checks at its start; None for none."""
        return None

    @property
    def is_fixed(self) -> bool:
        """Whether the factors do not depend on the training, so that `fit` can check them at its start."""
        return type(self).begin is Schedule.begin and type(self).end_epoch is Schedule.end_epoch

    def begin(self) -> None:
        """Called at the beginning of every training: forget what an earlier training left."""

    @abstractmethod
    def factor(self, update: int, length: Length) -> float:
        """Return the factor on the learning rate of this update, counted from 0; at least 0."""

    def factors(self, first: int, count: int, length: Length) -> Array:
        """Return the factors of updates first, first + 1, ..., float64 (count,)."""
        factors = np.array([self._factor_or_inf(first + i, length) for i in range(count)], np.float64)
        if not (np.isfinite(factors) & (factors >= 0)).all():
            wrong = int(np.argmin(np.isfinite(factors) & (factors >= 0)))
            raise ValueError(
                f"{self!r} returned the factor {factors[wrong]} for update {first + wrong}: it must be "
                "finite and at least 0"
            )
        return factors

    def _factor_or_inf(self, update: int, length: Length) -> float:
        try:
            return self.factor(update, length)
        except OverflowError:  # of a power
            return math.inf

    def check(self, length: Length) -> None:
        """Raise ValueError if the schedule needs a length that is unknown."""
        if self.needs_updates and length.updates is None:
            raise ValueError(
                f"{self!r} needs the number of updates: pass total_updates=... to Trainer, or, for batches "
                "from an iterator, steps_per_epoch=... to fit"
            )
        if self.needs_epochs and length.per_epoch is None:
            raise ValueError(
                f"{self!r} needs the number of updates per epoch: pass updates_per_epoch=... to Trainer, or, "
                "for batches from an iterator, steps_per_epoch=... to fit"
            )

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """Called after every epoch with the values added to the history: losses and metrics by name.

        A schedule that monitors a value is called after each epoch, or validation, that has it.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return its state by name; empty if the factor is a function of the update alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises ValueError for other content; nothing changes then."""
        if state:
            raise ValueError(f"{self!r} has no state, but got {', '.join(sorted(state))}")


@declared_dataclass
class Step(Schedule):
    """gamma^floor(epoch / every): PyTorch's StepLR."""

    every: int
    gamma: float = 0.1
    needs_epochs = True

    def __post_init__(self) -> None:
        positive_int(self.every, "every")
        in_range(self.gamma, "gamma", 0)

    def factor(self, update: int, length: Length) -> float:
        return self.gamma ** (_epoch(update, length) // self.every)


@declared_dataclass
class MultiStep(Schedule):
    """gamma^(number of milestones, in epochs, that have passed): PyTorch's MultiStepLR."""

    milestones: Iterable[int]
    gamma: float = 0.1
    needs_epochs = True

    def __post_init__(self) -> None:
        if isinstance(self.milestones, str) or not isinstance(self.milestones, Iterable):
            raise TypeError(f"milestones must be several epochs, such as [10, 15], not {self.milestones!r}")
        epochs = tuple(positive_int(milestone, "each milestone") for milestone in self.milestones)
        object.__setattr__(self, "milestones", epochs)  # a copy that nobody else can change
        in_range(self.gamma, "gamma", 0)

    def factor(self, update: int, length: Length) -> float:
        epoch = _epoch(update, length)
        return self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


@declared_dataclass
class Exponential(Schedule):
    """gamma^epoch: PyTorch's ExponentialLR."""

    gamma: float
    needs_epochs = True

    def __post_init__(self) -> None:
        in_range(self.gamma, "gamma", 0)

    def factor(self, update: int, length: Length) -> float:
        return self.gamma ** _epoch(update, length)


@declared_dataclass
class Cosine(Schedule):
    """From 1 down to `end` along half a cosine, over all updates of the training.

    Loshchilov & Hutter 2017, without restarts; PyTorch's CosineAnnealingLR, stepped at every update.
    """

    end: float = 0.0
    needs_updates = True

    def __post_init__(self) -> None:
        in_range(self.end, "end", 0, 1)

    def factor(self, update: int, length: Length) -> float:
        assert length.updates is not None
        return _cosine(1, self.end, min(update / length.updates, 1))


@declared_dataclass
class OneCycle(Schedule):
    """Up from `start` to 1 in the fraction `up` of the updates, then down to `end`, both along half a cosine.

    Smith & Topin 2018; PyTorch's OneCycleLR with max_lr = lr, div_factor = 1 / start and final_div_factor =
    start / end. The momentum does not change.
    """

    start: float = 1 / 25
    up: float = 0.3
    end: float = 1 / 25e4
    needs_updates = True

    def __post_init__(self) -> None:
        in_range(self.start, "start", 0, 1)
        in_range(self.up, "up", 0, 1)
        in_range(self.end, "end", 0, 1)

    def factor(self, update: int, length: Length) -> float:
        assert length.updates is not None
        last = length.updates - 1
        top = self.up * length.updates - 1
        if update <= top:
            return _cosine(self.start, 1, update / top if top else 1)
        return _cosine(1, self.end, min((update - top) / (last - top), 1) if last > top else 1)


@declared_dataclass
class Warmup(Schedule):
    """(update + 1) / (updates + 1) for the first `updates` updates, then the schedule `then`, from its start.

    PyTorch's LinearLR with start_factor 1 / (updates + 1), followed by another scheduler in a SequentialLR.
    """

    updates: int
    then: Schedule | None = None

    def __post_init__(self) -> None:
        positive_int(self.updates, "updates")

    def factor(self, update: int, length: Length) -> float:
        if update < self.updates:
            return (update + 1) / (self.updates + 1)
        return 1.0 if self.then is None else self.then.factor(update - self.updates, self._rest(length))

    def _rest(self, length: Length) -> Length:
        rest = None if length.updates is None else max(length.updates - self.updates, 1)
        return Length(rest, length.per_epoch)

    def check(self, length: Length) -> None:
        if length.updates is not None and self.updates >= length.updates:
            raise ValueError(
                f"{self!r} is longer than the training, which has {length.updates} updates: warm up for fewer"
            )
        if self.then is not None:
            self.then.check(self._rest(length))

    @property
    def monitored(self) -> str | None:
        return None if self.then is None else self.then.monitored

    @property
    def is_fixed(self) -> bool:
        return self.then is None or self.then.is_fixed

    def begin(self) -> None:
        if self.then is not None:
            self.then.begin()

    def end_epoch(self, values: Mapping[str, float]) -> None:
        if self.then is not None:
            self.then.end_epoch(values)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.then is None else self.then.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state) if self.then is None else self.then.load_state_dict(state)


class Plateau(Schedule):
    """Multiplied by `gamma` when `monitor` has not improved for `patience` epochs, as ReduceLROnPlateau.

    `mode` is the direction of improvement, "min" or "max"; "auto" decides by the name, as in
    `fn.EarlyStopping`. An improvement must exceed the fraction `threshold` of the best value. Every training
    starts at the factor 1, unless it resumes from a checkpoint. If `monitor` is a result of validations and
    `validate_every` is a number, `patience` counts validations instead of epochs.
    """

    monitor: str
    gamma: float
    patience: int
    threshold: float
    mode: str
    _checks: ClassVar = {
        "monitor": curve_name,
        "gamma": within(0, 1),
        "patience": counter_value,
        "threshold": within(0),
        "mode": one_of(*MODES),
    }

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        gamma: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        mode: str = "auto",
    ) -> None:
        self.monitor = monitor
        self.gamma = gamma
        self.patience = patience
        self.threshold = threshold
        self.mode = mode
        self.begin()

    def _checked_attribute(self, name: str, value: Any) -> Any:
        value = super()._checked_attribute(name, value)
        return better(value, self.monitor) if name == "mode" else value

    def begin(self) -> None:
        self._best = math.inf if self.mode == "min" else -math.inf
        self._waited = 0
        self._current = 1.0

    @property
    def monitored(self) -> str | None:
        return self.monitor

    def factor(self, update: int, length: Length) -> float:
        return self._current

    def end_epoch(self, values: Mapping[str, float]) -> None:
        if self.monitor not in values:
            raise ValueError(
                f"{self!r} monitors {self.monitor!r}, but an epoch has only {', '.join(values)}: is "
                "validation=... missing?"
            )
        value = values[self.monitor]
        if self.mode == "min":
            better = value < self._best * (1 - self.threshold)
        else:
            better = value > self._best * (1 + self.threshold)
        if better:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited > self.patience:
            self._current *= self.gamma
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited, "current": self._current}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.keys() != self.state_dict().keys():
            raise ValueError(
                f"the state of {self!r} is best, waited and current, not {', '.join(sorted(state))}"
            )
        best, waited = not_nan(state["best"], "best"), counter_value(state["waited"], "waited")
        self._current = in_range(state["current"], "current", 0, 1)
        self._best, self._waited = best, waited

    def __repr__(self) -> str:
        return f"Plateau({self.monitor!r}, gamma={self.gamma:g}, patience={self.patience})"


def _epoch(update: int, length: Length) -> int:
    assert length.per_epoch is not None
    return update // length.per_epoch


def _cosine(start: float, end: float, fraction: float) -> float:
    """The value at `fraction` of the way from start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def schedule_of(schedule: object) -> Schedule:
    """The schedule itself; TypeError for anything else."""
    if not isinstance(schedule, Schedule):
        hint = " (add parentheses to make an instance)" if isinstance(schedule, type) else ""
        raise TypeError(f"schedule must be a schedule such as fn.schedules.Cosine(), not {schedule!r}{hint}")
    return schedule


class Rates:
    """The learning rates of one training: a schedule times `lr`. The schedule starts afresh.

    Raises ValueError if the schedule needs a length that is unknown.
    """

    def __init__(self, schedule: Schedule, lr: float, length: Length) -> None:
        schedule.check(length)
        schedule.begin()
        self.schedule = schedule
        self.lr = lr
        self.length = length
        self._first, self._kept = 0, np.empty(0)

    def of(self, first: int, count: int) -> Array:
        """The learning rates of updates first, first + 1, ..., float64 (count,); cached: they take time."""
        skipped = first - self._first
        if not (skipped >= 0 and skipped + count <= len(self._kept)):
            self._first, self._kept = first, self.lr * self.schedule.factors(first, count, self.length)
            return self._kept
        return self._kept[skipped : skipped + count]

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """Pass the losses and metrics of an epoch to the schedule."""
        self.schedule.end_epoch(values)
        self._kept = np.empty(0)


if not _typing.TYPE_CHECKING:  # a type checker would accept any name
    from fastnn._attributes import names_of_module as _names_of_module

    __getattr__ = _names_of_module(__name__)
