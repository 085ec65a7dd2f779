"""Callbacks: code that runs during a training, after updates and epochs, at its beginning and its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from fastnn._attributes import Declared
from fastnn._foreign_names import TRAINING_ATTRIBUTES
from fastnn._validation import Array, counter_value, flag, not_nan, one_of, within
from fastnn.history import MODES, History, better, curve_name
from fastnn.layers import Layer
from fastnn.optim.optimizers import Optimizer
from fastnn.optim.schedules import Schedule
from fastnn.states import held_by
from fastnn.training.samples import Samples
from fastnn.training.trainer import Trainer


class Training(Declared):
    """A running training, as callbacks see it.

    `epoch` counts from 0, `updates` counts over all epochs. Callbacks are called between updates, so they may
    evaluate and save the model, make predictions, and change `optimizer.lr`.
    """

    trainer: Trainer
    samples: Samples
    validation: Samples | None
    validation_sets: dict[str, Samples]
    validate_every: int | None
    total_updates: int | None
    history: History
    callbacks: list[Callback]
    epochs: int
    epoch: int
    done: int
    validated: int
    counted: int
    reason: str | None
    resumable: bool
    is_stream: bool
    _hints = TRAINING_ATTRIBUTES

    def __init__(
        self,
        trainer: Trainer,
        history: History,
        callbacks: list[Callback],
        epochs: int,
        samples: Samples,
        *,
        validation_sets: Mapping[str, Samples] = MappingProxyType({}),
        validate_every: int | None = None,
        total_updates: int | None = None,
        is_stream: bool = False,
    ) -> None:
        self.trainer = trainer
        self.samples = samples  # the training set, or the first batch of a stream
        self.validation_sets = dict(validation_sets)  # by name; of a stream, its first batch
        self.validation = next(iter(self.validation_sets.values()), None)  # the first one
        self.validate_every = validate_every  # updates; None: after every epoch
        self.total_updates = total_updates  # of all epochs; None if it is not known in advance
        self.is_stream = is_stream
        self.history = history
        self.callbacks = callbacks
        self.epochs = epochs
        self.epoch = 0
        self.done = 0  # updates made in this epoch
        # At the last validation within or after an epoch: the updates made, and the correct outputs counted
        # in this epoch.
        self.validated = self.counted = 0
        self.reason = None
        # Whether a checkpoint may be written now: not in the middle of an update or of the end of an epoch.
        self.resumable = True

    @property
    def model(self) -> Layer:
        return self.trainer.model

    @property
    def optimizer(self) -> Optimizer:
        return self.trainer.optimizer

    @property
    def updates(self) -> int:
        """The number of updates so far."""
        return self.trainer.updates

    def stop(self, reason: str = "a callback stopped it") -> None:
        """End the training after this update or epoch; `history.stopped` holds the reason."""
        self.reason = reason

    @property
    def watches_updates(self) -> bool:
        """Whether a callback overrides `on_update`."""
        return any(type(callback).on_update is not Callback.on_update for callback in self.callbacks)

    @property
    def _called(self) -> list[Callback]:
        """The callbacks that this process calls."""
        return [each for each in self.callbacks if self.is_first or not type(each).in_first_process_only]

    @property
    def is_first(self) -> bool:
        """Whether this process is the only one, or the first of several (`communicator`): it writes files."""
        return self.trainer.processes.is_first

    def tell(self, event: str, *details: object) -> None:
        """Call the method `event` of all callbacks, in order."""
        for callback in self._called:
            getattr(callback, event)(self, *details)

    def tell_end(self) -> None:
        """Call `on_train_end` of all callbacks, in order, also of those after one that raises."""
        with ExitStack() as calls:
            for callback in reversed(self._called):
                calls.callback(callback.on_train_end, self)

    def tell_exception(self, error: BaseException) -> None:
        """Call `on_exception` of all callbacks, in order; what they raise becomes a note of `error`."""
        for callback in self._called:
            try:
                callback.on_exception(self, error)
            except Exception as another:
                error.add_note(f"then {callback!r} raised {type(another).__name__}: {another}")


class Callback(Declared):
    """Base class of callbacks: a subclass overrides the methods it needs.

    Every training ends with either `on_train_end` or `on_exception`, which is called even if `on_train_begin`
    of this or another callback has raised. A callback with a state of its own
    resets it in `on_train_begin` if `training.updates == 0`, so that each training starts afresh unless it is
    resumed. Unless a callback overrides `on_update`, many updates run at once without Python.
    """

    monitor: str | None = None
    """The value of an epoch that the callback needs, such as "val_loss"; `fit` checks that it will exist."""

    in_first_process_only: ClassVar[bool] = False
    """Whether, of several processes (`communicator`), only the first calls it, because it writes files."""

    def on_train_begin(self, training: Training) -> None:
        """Called before the first update, and again when a training is resumed."""

    def on_epoch_begin(self, training: Training) -> None:
        """Called before the first update of an epoch."""

    def on_update(self, training: Training, loss: float) -> None:
        """Called after every update, with the loss before the update."""

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        """Called after every epoch, with the values that were added to the history.

        The validation results are among them, unless `fit` validates after other updates (`validate_every`).
        """

    def on_validation(self, training: Training, values: Mapping[str, float]) -> None:
        """Called after a validation within an epoch, with the values that were added to the history.

        Those of a validation at the end of an epoch are passed to `on_epoch_end`.
        """

    def on_train_end(self, training: Training) -> None:
        """Called after the last update, also if `on_nonfinite="stop"` ended the training."""

    def on_exception(self, training: Training, error: BaseException) -> None:
        """Called instead of `on_train_end` if an error or Ctrl-C ends the training; then it is raised."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint must keep: arrays, numbers and strings by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class _AfterEpoch(Callback):
    """Calls a plain function after every epoch."""

    function: Callable[[Training], object]

    def __init__(self, function: Callable[[Training], object]) -> None:
        self.function = function

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        self.function(training)


Callbacks = Callback | Callable[[Training], object] | Iterable[Callback | Callable[[Training], object]] | None


def callbacks_of(callbacks: Callbacks) -> list[Callback]:
    """Callbacks unchanged, functions as callbacks after every epoch; a single one, or None, as a list.

    Raises TypeError for anything else.
    """
    if callbacks is None:
        return []
    made: list[Callback] = []
    for callback in callbacks if isinstance(callbacks, Iterable) else [callbacks]:
        if isinstance(callback, Callback):
            made.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            made.append(_AfterEpoch(callback))
        else:
            hint = _hint_for(callback)
            raise TypeError(f"callbacks must be fn.Callback objects or functions, not {callback!r}{hint}")
    return made


def _hint_for(callback: object) -> str:
    """What to do with an object that is no callback."""
    from fastnn.training.resume import Checkpoint  # which imports this module

    if isinstance(callback, type):
        return " (add parentheses to make an instance)"
    if isinstance(callback, Checkpoint):
        return " (pass it as checkpoint=...)"
    return " (pass it as schedule=...)" if isinstance(callback, Schedule) else ""


def with_state(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks that define `state_dict`, whose state a checkpoint must keep."""
    return [callback for callback in callbacks if type(callback).state_dict is not Callback.state_dict]


class EarlyStopping(Callback):
    """Stops when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    `monitor` is the name of any curve of the history. If it is a result of validations and `validate_every`
    is a number, `patience` counts validations instead of epochs.

    `mode` is the direction of improvement, "min" or "max"; "auto" is "max" for accuracies, precision, recall,
    F1, AUC, top-k and IoU, and "min" for losses and errors. Raises ValueError for a name that "auto" does not
    know, and at the start of `fit` if the epochs will not have the value `monitor`.

    With `restore_best` the model ends with the weights of its best epoch, however the training ends: after
    the last epoch, early, at a loss that is not finite (`on_nonfinite`), by Ctrl-C, or by an exception. With
    `ema` these are the averaged weights, which were evaluated. A checkpoint keeps the last weights, and a
    training resumes from these.
    """

    monitor: str
    patience: int
    min_delta: float
    mode: str
    restore_best: bool
    _checks: ClassVar = {
        "monitor": curve_name,
        "patience": counter_value,
        "min_delta": within(0),
        "mode": one_of(*MODES),
        "restore_best": flag,
    }

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best = restore_best
        self._reset()

    def _checked_attribute(self, name: str, value: Any) -> Any:
        value = super()._checked_attribute(name, value)
        return better(value, self.monitor) if name == "mode" else value

    def _reset(self) -> None:
        self._best = math.inf if self.mode == "min" else -math.inf
        self._best_epoch, self._waited = 0, 0
        self._weights: dict[str, Array] = {}

    @property
    def best(self) -> float:
        """The best value of `monitor`; infinite before the first one."""
        return self._best

    @property
    def best_epoch(self) -> int:
        """The epoch with the best value, counted from 0."""
        return self._best_epoch

    def on_train_begin(self, training: Training) -> None:
        if training.updates == 0:
            self._reset()

    def on_validation(self, training: Training, values: Mapping[str, float]) -> None:
        self.on_epoch_end(training, values)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        if self.monitor not in values:
            return
        value = values[self.monitor]
        if value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta:
            self._best, self._best_epoch, self._waited = value, training.epoch, 0
            if self.restore_best:
                self._weights = _evaluated_weights(training)
            return
        self._waited += 1
        if self._waited >= self.patience:
            of_validation = any(self.monitor.startswith(f"{name}_") for name in training.validation_sets)
            unit = "validations" if training.validate_every is not None and of_validation else "epochs"
            training.stop(
                f"{self.monitor} has not improved for {self._waited} {unit}; its best value is "
                f"{self.best:g}, of epoch {self.best_epoch + 1}"
            )

    def on_train_end(self, training: Training) -> None:
        self._restore_best(training)

    def on_exception(self, training: Training, error: BaseException) -> None:
        self._restore_best(training)

    def _restore_best(self, training: Training) -> None:
        for name, held in held_by(training.model).items():
            if name in self._weights:
                held.value = self._weights[name]

    def state_dict(self) -> dict[str, Any]:
        numbers = {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited}
        return {**numbers, **{f"weights.{name}": array for name, array in self._weights.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if missing := {"best", "best_epoch", "waited"} - state.keys():
            raise ValueError(f"{', '.join(sorted(missing))} is missing from the state of EarlyStopping")
        best, waited = not_nan(state["best"], "best"), counter_value(state["waited"], "waited")
        self._best_epoch = counter_value(state["best_epoch"], "best_epoch")
        self._best, self._waited = best, waited
        self._weights = {
            name.removeprefix("weights."): np.asarray(array)
            for name, array in state.items()
            if name.startswith("weights.")
        }


class StopWhenStill(Callback):
    """Stops when an update hardly changes the weights any more: when the norm of the change falls to `norm`.

    That is the Euclidean norm of the difference that one update makes to all parameters together,
    sqrt(sum((after - before)^2)) over all their elements, in float64. The training ends after the first
    update at or below `norm`, and `history.stopped` says so. Plans check it without Python: an update costs
    one copy of the weights more.

    The change is proportional to the learning rate, so that a schedule that lowers the rate may end the
    training, too; and the gradients of mini-batches hardly ever vanish. It suits full batches:

    >>> fn.fit(model, (x, y), batch_size=len(x), epochs=5000, callbacks=fn.StopWhenStill(1e-5))

    Raises ValueError if `norm` is negative or not finite.
    """

    norm: float
    _checks: ClassVar = {"norm": within(0)}

    def __init__(self, norm: float) -> None:
        self.norm = norm

    def on_train_begin(self, training: Training) -> None:
        training.trainer.watch_change(self.norm)


def _evaluated_weights(training: Training) -> dict[str, Array]:
    """The weights and buffers that were evaluated on the validation set, by name."""
    model, ema = training.model, training.trainer.ema
    with nullcontext() if ema is None else ema.applied(model):
        return {name: held.value for name, held in held_by(model).items()}
