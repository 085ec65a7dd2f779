"""Checkpoints of a training, from which it resumes with the same bits as if it had never stopped.

A checkpoint is one safetensors file: all arrays that a training changes, and as metadata one JSON text with
its counters, the history, and a description of the training (data, model, settings), which identifies a
checkpoint of another training.
"""

from __future__ import annotations

import json
import os
import reprlib
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fastnn._attributes import Declared
from fastnn._schema import check_fields, count
from fastnn._validation import Array, clipping_bound, in_range, warn, within
from fastnn.classes import Classes, classes_from, classes_of, classes_to_list, set_classes
from fastnn.feeding import feeding_from_dict, feeding_of, feeding_to_dict, set_feeding
from fastnn.files import check_space, remove_leftovers, user_path, write_atomic
from fastnn.masks import mask_from_text, mask_to_text
from fastnn.param import Param
from fastnn.states import held_by
from fastnn.training.callbacks import EarlyStopping, Training, with_state
from fastnn.training.checkpoint_file import FORMAT, HISTORY, SavedState, digest_of, read_checkpoint
from fastnn.training.differences import differences
from fastnn.weights import CheckpointError, quoted


class Checkpoint(Declared):
    """Where and how often `fit` writes everything it needs to resume: `fit(checkpoint=Checkpoint(path))`.

    A checkpoint is written `seconds` after the last one, between two updates or after an epoch; at the
    end; and when Ctrl-C ends the training. It replaces the previous checkpoint atomically.

    The start of the training raises OSError if the file cannot be written: a full disk, a read-only folder.
    If it cannot be written later, the training goes on: a warning names the file and the reason, and the
    previous checkpoint stays.
    """

    path: Path
    seconds: float
    _checks: ClassVar = {"path": lambda path, name: user_path(path), "seconds": within(0)}

    def __init__(self, path: str | os.PathLike[str], *, seconds: float = 60.0) -> None:
        self.path = path  # type: ignore[assignment]  # the check makes a Path
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, seconds={self.seconds:g})"


def checkpoint_of(checkpoint: str | os.PathLike[str] | Checkpoint | None) -> Checkpoint | None:
    """The `Checkpoint` itself, or one with this path; None without a checkpoint."""
    return checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def find_checkpoint(
    checkpoint: Checkpoint, description: dict[str, Any], epochs: int, resume: bool | str
) -> SavedState | None:
    """Read the checkpoint to resume from; None if training starts anew. Changes nothing.

    Raises FileNotFoundError if `resume` is True without a checkpoint; FileExistsError if it is False and
    there is one; `CheckpointError` for a file that is damaged, belongs to another training, or has gone
    beyond `epochs`. Warns if the instruction set differs.
    """
    path = checkpoint.path
    exists = path.exists()
    if resume is True and not exists:
        raise FileNotFoundError(f"there is no checkpoint {path} to resume from")
    if resume is False and exists:
        raise FileExistsError(f'{path} holds a checkpoint: pass resume="auto" to resume it, or remove it')
    if not exists:
        return None
    saved = read_checkpoint(path)
    try:
        different = differences(saved.content["description"], json.loads(json.dumps(description)))
    except RecursionError as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: its description is too deep") from error
    if different:
        more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
        raise CheckpointError(f"{path} belongs to another training: {'; '.join(different[:5])}{more}")
    state = saved.content["state"]
    started = state["epoch"] + (state["done"] > 0)
    if started > epochs:
        raise CheckpointError(f"{path} is in epoch {started} already, but epochs={epochs}")
    if saved.content["instruction set"] != _instruction_set():
        warn(
            f"{path} was written by kernels for {saved.content['instruction set']}, but this process uses "
            f"kernels for {_instruction_set()}: the last bits will differ"
        )
    return saved


class CheckpointWriter:
    """Writes the checkpoints of one training, and first restores it from the checkpoint `saved`, if any.

    `description` identifies the training: name -> anything that JSON can hold. Raises OSError if a checkpoint
    cannot be written now.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        training: Training,
        description: dict[str, Any],
        saved: SavedState | None,
    ) -> None:
        self.checkpoint = checkpoint
        self.training = training
        self.description = description
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(checkpoint.path)
        check_space(checkpoint.path, self._content())
        if saved is not None:
            restore(training, saved, checkpoint.path)
        self._last = time.monotonic()
        self._written = None if saved is None else training.updates
        self._is_failing = False

    def save_if_due(self) -> None:
        """Write a checkpoint if the last attempt was `seconds` ago; warn of the first of several failures."""
        if time.monotonic() - self._last >= self.checkpoint.seconds:
            self.save(warns=not self._is_failing)

    def save(self, *, warns: bool = True) -> None:
        """Write a checkpoint. If the file system refuses it, warn and keep the previous one."""
        try:
            write_atomic(self.checkpoint.path, self._content())
        except OSError as error:
            self._is_failing = True
            if warns:
                warn(self._failure(error))
        else:
            self._is_failing, self._written = False, self.training.updates
        self._last = time.monotonic()

    def _failure(self, error: OSError) -> str:
        written = "there is no checkpoint"
        if self._written is not None:
            written = f"it still holds the state after update {self._written:,}"
        return (
            f"cannot write the checkpoint {self.checkpoint.path} after update {self.training.updates:,}: "
            f"{error.strerror or error}; {written}. The model in memory is not affected"
        )

    def _content(self) -> bytes:
        """The state of the training as the content of a checkpoint."""
        from safetensors.numpy import save as serialize

        arrays, counters = _state(self.training)
        content = json.dumps(
            {
                "format": FORMAT,
                "description": self.description,
                "instruction set": _instruction_set(),
                "state": counters,
            }
        )
        return serialize(arrays, {"fastnn": content, "digest": digest_of(content, arrays)})


def _instruction_set() -> str:
    """The instruction set of the compiled kernels, on which the last bits of sums depend."""
    from fastnn.kernels import core

    return str(core.isa())


def _stateful_parts(training: Training) -> dict[str, Any]:
    """The parts of a training that have a `state_dict` and a `load_state_dict`, by name."""
    trainer = training.trainer
    parts: dict[str, Any] = {"optimizer": _OptimizerState(training), "frozen": _Frozen(training)}
    if trainer.rates is not None:
        parts["schedule"] = trainer.rates.schedule
    if trainer.ema is not None:
        parts["ema"] = trainer.ema
    return parts | {f"callback {n}": callback for n, callback in enumerate(with_state(training.callbacks))}


class _OptimizerState:
    """The optimizer state of each parameter, by the path of the parameter in the model.

    `Optimizer.state_dict` uses `param.name`, which is unique only within one `Sequential`.
    """

    def __init__(self, training: Training) -> None:
        self.optimizer = training.optimizer
        self.model = training.model

    def state_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"lr": self.optimizer.lr}
        for path, param in self.model.named_parameters():
            state = self.optimizer.state_dict([param])
            found |= {path + key.removeprefix(param.name): state[key] for key in state if key != "lr"}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        paths = {path for path, _ in self.model.named_parameters()}
        for key in state:
            if key != "lr" and key.rpartition(".")[0] not in paths:
                raise ValueError(f"the state of the optimizer has {quoted(key)}, but the model does not")
        for path, param in self.model.named_parameters():
            own = {
                param.name + key.removeprefix(path): value
                for key, value in state.items()
                if key.rpartition(".")[0] == path
            }
            rate = {"lr": state["lr"]} if "lr" in state else {}
            self.optimizer.load_state_dict({**rate, **own}, [param])


class _Frozen:
    """The settings of the parameters, which callbacks may change."""

    def __init__(self, training: Training) -> None:
        self.model = training.model

    def state_dict(self) -> dict[str, Any]:
        return {path: self._settings(param) for path, param in self.model.named_parameters()}

    @staticmethod
    def _settings(param: Param) -> list[Any]:
        settings = [bool(param.trainable), param.lr_scale, param.decay_scale]
        limits = [param.clip_value, mask_to_text(param.mask)]
        return settings if limits == [None, None] else settings + limits

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for path, param in self.model.named_parameters():
            match state.get(path):
                case [bool(trainable), rate, decay, *limits] if len(limits) in (0, 2):
                    param.trainable, param.lr_scale = trainable, in_range(rate, f"lr_scale of {path}", 0)
                    param.decay_scale = in_range(decay, f"decay_scale of {path}", 0)
                    clip, mask = limits or (None, None)
                    param.clip_value = None if clip is None else clipping_bound(clip, f"clip_value of {path}")
                    param.mask = mask_from_text(mask, param.shape, f"the mask of {path}")
                case other:
                    raise ValueError(
                        f"{path!r} must be [trainable, lr_scale, decay_scale], perhaps with clip_value and "
                        f"mask, got {reprlib.repr(other)}"
                    )


def _own_arrays(training: Training) -> dict[str, Array]:
    """The arrays that a training changes, without the state of its stateful parts."""
    trainer, model = training.trainer, training.model
    found = {f"model/{name}": held.writable_master() for name, held in held_by(model).items()}
    found |= {f"random/{number}": state for number, state in enumerate(model.random_states())}
    return {**found, **trainer.states()}


def _state(training: Training) -> tuple[dict[str, Array], dict[str, Any]]:
    """The whole state of a training: arrays by name, and the rest as JSON can hold it."""
    history = training.history
    arrays = dict(_own_arrays(training))
    parts: dict[str, dict[str, Any]] = {}
    for part, owner in _stateful_parts(training).items():
        parts[part] = {}
        for name, value in owner.state_dict().items():
            if isinstance(value, np.ndarray):
                arrays[f"{part}/{name}"] = value
            else:
                parts[part][name] = value
    for name, values in history.updates.items():
        arrays[f"{HISTORY}{name}"] = np.array(values, np.float64)
    counters = {
        "epoch": training.epoch,
        "done": training.done,
        "validated": training.validated,
        "counted": training.counted,
        "key": training.trainer.key,
        "feeding": feeding_to_dict(training.model),
        "classes": classes_to_list(training.model),
        "epochs": dict(history),
        "recorded": history.as_dict()["recorded"],
        "stopped": training.reason,
        "parts": parts,
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, counters


def restore(training: Training, saved: SavedState, path: Path) -> None:
    """Restore a training from a checkpoint. Raises `CheckpointError` if it does not fit."""
    try:
        _restore(training, saved.arrays, saved.content["state"])
    except ValueError as error:
        raise CheckpointError(f"{path} does not fit this training: {error}") from error


def _restore(training: Training, arrays: dict[str, Array], counters: dict[str, Any]) -> None:
    """Restore what `_state` returned. Raises ValueError if it does not fit; nothing has changed then."""
    _check_arrays(training, arrays)
    _check_counters(counters, arrays, uneven_epochs=training.is_stream)
    own_arrays, own_counters = _state(training)
    before = {name: array.copy() for name, array in own_arrays.items()}
    try:
        _load(training, arrays, counters)
    except Exception as error:  # the `load_state_dict` of a user's class may raise anything
        with suppress(Exception):
            _load(training, before, own_counters)
        if isinstance(error, ValueError):
            raise
        raise ValueError(repr(error)) from error


def _check_arrays(training: Training, arrays: Mapping[str, Array]) -> None:
    """Raise ValueError unless all arrays of the training are there, and no others."""
    own, parts = _own_arrays(training), _stateful_parts(training)
    prefixes = tuple(f"{part}/" for part in parts)
    for name, array in own.items():
        if name not in arrays:
            raise ValueError(f"{name!r} is missing")
        if (arrays[name].shape, arrays[name].dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"{name!r} is {arrays[name].dtype} {arrays[name].shape}, not {array.dtype} {array.shape}"
            )
    for name in arrays:
        if name not in own and not name.startswith((HISTORY, *prefixes)):
            raise ValueError(f"{quoted(name)} belongs to no part of this training")
    held = {f"weights.{name}": held for name, held in held_by(training.model).items()}
    for part, owner in parts.items():
        best = _arrays_of(part, arrays)
        if isinstance(owner, EarlyStopping) and best and _shapes(best) != _shapes(held):
            raise ValueError(f"the best weights of {part!r} are those of another model")


def _arrays_of(part: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a part by the names in its `state_dict`."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _shapes(arrays: Mapping[str, Any]) -> dict[str, object]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _saved_classes(labels: Any) -> Classes:
    try:
        return classes_from(labels)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _check_counters(counters: Mapping[str, Any], arrays: Mapping[str, Array], *, uneven_epochs: bool) -> None:
    """Raise ValueError if the counters contradict each other."""
    updates, epoch, done = int(arrays["trainer/updates"][0]), counters["epoch"], counters["done"]
    before = updates - done  # updates of finished epochs
    odd = before < epoch if uneven_epochs else epoch and before % epoch
    if before < 0 or odd or (before and not epoch):
        raise ValueError(f"{updates} updates cannot be {epoch} epochs and {done} updates of the next one")
    # Checkpoints of earlier versions, which validate after epochs only, lack these.
    at_validation = {name: counters.get(name, 0) for name in ("validated", "counted")}
    check_fields(at_validation, {"validated": count, "counted": count})
    correct = int(arrays["trainer/correct"][0])
    if at_validation["validated"] > updates or at_validation["counted"] > correct:
        raise ValueError(
            f"it was validated after update {at_validation['validated']} with {at_validation['counted']} "
            f"correct outputs, which is more than {updates} updates and {correct}"
        )
    curve = arrays.get(f"{HISTORY}loss", ())
    if len(curve) < updates or len(counters["epochs"].get("loss", ())) < epoch:
        raise ValueError(f"its history is shorter than {epoch} epochs or {updates} updates")


def _load(training: Training, arrays: Mapping[str, Array], counters: Mapping[str, Any]) -> None:
    """Set what `_state` returned. Arrays are filled in place, so that references to them stay valid."""
    feeding, classes = feeding_of(training.model), classes_of(training.model)
    if counters.get("feeding") is not None:  # older checkpoints do not have it
        feeding = feeding_from_dict(counters["feeding"])
    if counters.get("classes") is not None:
        classes = _saved_classes(counters["classes"])
    for name, array in _own_arrays(training).items():
        array[...] = arrays[name]
    training.epoch, training.done, training.reason = counters["epoch"], counters["done"], counters["stopped"]
    training.validated, training.counted = counters.get("validated", 0), counters.get("counted", 0)
    training.trainer.key = counters["key"]
    set_feeding(training.model, feeding)
    set_classes(training.model, classes)
    updates = {
        name.removeprefix(HISTORY): array.tolist()
        for name, array in arrays.items()
        if name.startswith(HISTORY)
    }
    # Checkpoints of earlier versions lack "recorded".
    curves = {"epochs": counters["epochs"], "recorded": counters.get("recorded", {}), "updates": updates}
    training.history.load_dict({**curves, "stopped": None})
    for part, owner in _stateful_parts(training).items():
        if part not in counters["parts"]:
            raise ValueError(f"the state of {part!r} is missing")
        owner.load_state_dict({**counters["parts"][part], **_arrays_of(part, arrays)})
