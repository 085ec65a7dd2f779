"""Learning rates that change from update to update: each schedule is a factor on the optimizer's `lr`.

>>> fn.fit(model, data, optimizer=fn.SGD(lr=0.1), schedule=fn.schedules.Cosine(), epochs=20)

A schedule is a function of the number of the update, so it is written down beforehand for the steps that run
without Python. Factors equal those of PyTorch's schedulers of similar names.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._validation import Array, in_range, positive_int
from fastnn.history import better


@dataclass(frozen=True)
class Length:
    """How long a training is: its updates, and those of an epoch. None where nobody knows."""

    updates: int | None
    per_epoch: int | None


class Schedule(ABC):
    """Base class of all schedules. A subclass defines `factor`, and says what it must know.

    The learning rate of update 0, 1, ... is `optimizer.lr`, as it was when training began, times
    `factor(update, length)`.
    """

    needs_updates = False  # `length.updates`
    needs_epochs = False  # `length.per_epoch`

    @abstractmethod
    def factor(self, update: int, length: Length) -> float:
        """What the learning rate of this update, counted from 0, is multiplied with; at least 0."""

    def factors(self, first: int, count: int, length: Length) -> Array:
        """The factors of updates first, first + 1, ..., as float64 (count,)."""
        found = np.array([self.factor(first + i, length) for i in range(count)], np.float64)
        if not (np.isfinite(found) & (found >= 0)).all():
            wrong = int(np.argmin(np.isfinite(found) & (found >= 0)))
            raise ValueError(
                f"{self!r} gave the factor {found[wrong]} for update {first + wrong}: a finite number of at "
                "least 0 is wanted"
            )
        return found

    def check(self, length: Length) -> None:
        """Raise ValueError if it needs a length that nobody knows."""
        if self.needs_updates and length.updates is None:
            raise ValueError(f"{self!r} must know the number of updates: pass total_updates=... to Trainer")
        if self.needs_epochs and length.per_epoch is None:
            raise ValueError(f"{self!r} counts epochs: pass updates_per_epoch=... to Trainer")

    def end_epoch(self, values: Mapping[str, float]) -> None:  # noqa: B027 (most do not care)
        """Told after every epoch what the history got: losses and metrics by name."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, by name; nothing where the factor is a function of the update alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave. Raises ValueError for something else, and changes nothing then."""
        if state:
            raise ValueError(f"{self!r} remembers nothing, but was given {', '.join(sorted(state))}")


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class MultiStep(Schedule):
    """gamma^(number of milestones, in epochs, that are behind): PyTorch's MultiStepLR."""

    milestones: Iterable[int]
    gamma: float = 0.1
    needs_epochs = True

    def __post_init__(self) -> None:
        if isinstance(self.milestones, str) or not isinstance(self.milestones, Iterable):
            raise TypeError(f"milestones must be several epochs, such as [10, 15], not {self.milestones!r}")
        epochs = tuple(positive_int(milestone, "each milestone") for milestone in self.milestones)
        object.__setattr__(self, "milestones", epochs)  # nobody else's list
        in_range(self.gamma, "gamma", 0)

    def factor(self, update: int, length: Length) -> float:
        epoch = _epoch(update, length)
        return self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


@dataclass(frozen=True)
class Exponential(Schedule):
    """gamma^epoch: PyTorch's ExponentialLR."""

    gamma: float
    needs_epochs = True

    def __post_init__(self) -> None:
        in_range(self.gamma, "gamma", 0)

    def factor(self, update: int, length: Length) -> float:
        return self.gamma ** _epoch(update, length)


@dataclass(frozen=True)
class Cosine(Schedule):
    """From 1 down to `end` along half a cosine, update by update, over the whole training.

    Loshchilov & Hutter 2017, without restarts; PyTorch's CosineAnnealingLR, stepped with every update.
    """

    end: float = 0.0
    needs_updates = True

    def __post_init__(self) -> None:
        in_range(self.end, "end", 0, 1)

    def factor(self, update: int, length: Length) -> float:
        assert length.updates is not None
        return _cosine(1, self.end, min(update / length.updates, 1))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from `start` to 1 for the share `up` of the updates, then down to `end`, each along half a cosine.

    Smith & Topin 2018; PyTorch's OneCycleLR with max_lr = lr, div_factor = 1 / start and final_div_factor =
    start / end. The momentum stays as it is.
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


@dataclass(frozen=True)
class Warmup(Schedule):
    """(update + 1) / (updates + 1) for so many updates, then the schedule `then`, which begins there.

    PyTorch's LinearLR, start_factor 1 / (updates + 1), in front of another by SequentialLR.
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
        if self.then is not None:
            self.then.check(length)

    def end_epoch(self, values: Mapping[str, float]) -> None:
        if self.then is not None:
            self.then.end_epoch(values)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.then is None else self.then.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state) if self.then is None else self.then.load_state_dict(state)


class Plateau(Schedule):
    """Multiplied by `gamma` when `monitor` has not become better for `patience` epochs: ReduceLROnPlateau.

    `mode` "min" or "max" says what is better, by more than the share `threshold`; "auto": by the name, as
    `fn.EarlyStopping` does.
    """

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
        self.gamma = in_range(gamma, "gamma", 0, 1)
        self.patience = int(in_range(patience, "patience", 0))
        self.threshold = in_range(threshold, "threshold", 0)
        self.mode = better(mode, monitor)
        self._best = math.inf if self.mode == "min" else -math.inf
        self._waited = 0
        self._current = 1.0

    def factor(self, update: int, length: Length) -> float:
        return self._current

    def end_epoch(self, values: Mapping[str, float]) -> None:
        if self.monitor not in values:
            raise ValueError(
                f"{self!r} waits for {self.monitor!r}, but an epoch only gave {', '.join(values)}: is "
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
            raise ValueError(f"{self!r} remembers best, waited and current, not {', '.join(sorted(state))}")
        best, waited, current = float(state["best"]), int(state["waited"]), float(state["current"])
        self._best, self._waited, self._current = best, waited, current

    def __repr__(self) -> str:
        return f"Plateau({self.monitor!r}, gamma={self.gamma:g}, patience={self.patience})"


def _epoch(update: int, length: Length) -> int:
    assert length.per_epoch is not None
    return update // length.per_epoch


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def schedule_of(schedule: object) -> Schedule:
    """The schedule itself; TypeError for anything else."""
    if not isinstance(schedule, Schedule):
        hint = " (add parentheses to make an instance)" if isinstance(schedule, type) else ""
        raise TypeError(f"schedule must be a schedule such as fn.schedules.Cosine(), not {schedule!r}{hint}")
    return schedule


class Rates:
    """The learning rates of one training: a schedule times `lr`.

    Raises ValueError if the schedule needs a length that is unknown.
    """

    def __init__(self, schedule: Schedule, lr: float, length: Length) -> None:
        schedule.check(length)
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
