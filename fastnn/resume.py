"""Checkpoints of a training, from which it goes on with the same bits as if it had never stopped.

A checkpoint is one safetensors file: all arrays that a training changes, and as metadata one JSON text with
its counters, the history, and a description of the training (data, model, settings), by which a checkpoint of
something else is told.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._door import Array, in_range, warn
from fastnn.callbacks import Training
from fastnn.checkpoint import CheckpointError
from fastnn.files import write_atomic
from fastnn.samples import Samples
from fastnn.states import held_by

FORMAT = "fastnn checkpoint 1"


class Checkpoint:
    """Where, and how often, `fit` writes down all it needs to go on: `fit(checkpoint=Checkpoint(path))`.

    A checkpoint is written when `seconds` have passed since the last one, between two updates or after an
    epoch, at the end, and when Ctrl-C ends the training. It replaces the one before atomically.
    """

    def __init__(self, path: str | os.PathLike[str], *, seconds: float = 60.0) -> None:
        self.path = Path(path)
        self.seconds = in_range(seconds, "seconds", 0)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, seconds={self.seconds:g})"


class Keeper:
    """Writes the checkpoints of one training, and takes it up from one.

    `description` tells what the training is: name -> anything that JSON holds.
    """

    def __init__(
        self, checkpoint: Checkpoint, training: Training, description: dict[str, Any], resume: bool | str
    ) -> None:
        if resume not in (True, False, "auto"):
            raise ValueError(f'resume must be True, False or "auto", not {resume!r}')
        self.checkpoint = checkpoint
        self.training = training
        self.description: dict[str, Any] = json.loads(json.dumps(description))  # lists for tuples
        there = checkpoint.path.exists()
        if resume is True and not there:
            raise FileNotFoundError(f"there is no checkpoint {checkpoint.path} to go on from")
        if resume is False and there:
            raise FileExistsError(
                f'{checkpoint.path} holds a checkpoint: go on from it by resume="auto", or remove it'
            )
        if there:
            self._restore()
        else:
            checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        self._last = time.monotonic()

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self._last >= self.checkpoint.seconds:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        from safetensors.numpy import save as serialize

        arrays, numbers = _state(self.training)
        content = {
            "format": FORMAT,
            "description": self.description,
            "instruction set": _instruction_set(),
            "state": numbers,
        }
        write_atomic(self.checkpoint.path, serialize(arrays, {"fastnn": json.dumps(content)}))
        self._last = time.monotonic()

    def _restore(self) -> None:
        path = self.checkpoint.path
        arrays, content = _read(path)
        if (theirs := content["description"]) != self.description:
            names = dict.fromkeys([*theirs, *self.description])
            different = [
                f"{name}: {theirs.get(name)!r} there, {self.description.get(name)!r} here"
                for name in names
                if theirs.get(name) != self.description.get(name)
            ]
            raise CheckpointError(f"{path} is of another training: {'; '.join(different)}")
        if content["instruction set"] != _instruction_set():
            warn(
                f"{path} was written by kernels for {content['instruction set']}, those here are for "
                f"{_instruction_set()}: the last bits will differ"
            )
        try:
            _take_up(self.training, arrays, content["state"])
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} does not fit this training: {error}") from error


def describe(samples: Samples) -> dict[str, Any]:
    """What tells one data set from another: shapes, types and check sums."""
    return {
        name: [list(array.shape), str(array.dtype), zlib.crc32(array.data.cast("B"))]
        for name, array in (("x", samples.x), ("y", samples.target))
    }


def _instruction_set() -> str:
    """That of the compiled kernels: the last bits of sums depend on it."""
    from fastnn.kernels import core

    return str(core.isa())


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            content = json.loads((file.metadata() or {})["fastnn"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint: {error}") from error
    return arrays, content


def _parts(training: Training) -> dict[str, Any]:
    """What has a `state_dict` and a `load_state_dict` of its own, by name."""
    trainer = training.trainer
    parts: dict[str, Any] = {"optimizer": _OptimizerState(training)}
    if trainer.rates is not None:
        parts["schedule"] = trainer.rates.schedule
    if trainer.ema is not None:
        parts["ema"] = trainer.ema
    return parts | {f"callback {n}": callback for n, callback in enumerate(training.callbacks)}


class _OptimizerState:
    """The optimizer with the parameters of the model that is trained."""

    def __init__(self, training: Training) -> None:
        self.optimizer = training.optimizer
        self.params = training.model.parameters()

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict(self.params)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state_dict(state, self.params)


def _own_arrays(training: Training) -> dict[str, Array]:
    """The arrays that a training changes, but for those of its parts."""
    trainer, model = training.trainer, training.model
    found = {f"model/{name}": held.master for name, held in held_by(model).items()}
    found |= {f"random/{number}": state for number, state in enumerate(model.random_states())}
    return {**found, **trainer.states()}


def _state(training: Training) -> tuple[dict[str, Array], dict[str, Any]]:
    """All that a training has become: arrays by name, and the rest, as JSON holds it."""
    history = training.history
    arrays = dict(_own_arrays(training))
    parts: dict[str, dict[str, Any]] = {}
    for part, owner in _parts(training).items():
        parts[part] = {}
        for name, value in owner.state_dict().items():
            if isinstance(value, np.ndarray):
                arrays[f"{part}/{name}"] = value
            else:
                parts[part][name] = value
    for name, values in history.updates.items():
        arrays[f"history/{name}"] = np.array(values, np.float64)
    numbers = {
        "epoch": training.epoch,
        "done": training.done,
        "key": training.trainer.key,
        "epochs": dict(history),
        "stopped": training.reason,
        "parts": parts,
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, numbers


def _take_up(training: Training, arrays: dict[str, Array], numbers: dict[str, Any]) -> None:
    """Make the training what `_state` told. Arrays are filled in place, so that nothing else need know."""
    own = _own_arrays(training)
    for name, array in own.items():
        if name not in arrays:
            raise KeyError(f"it lacks {name!r}")
        if (arrays[name].shape, arrays[name].dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"{name!r} is {arrays[name].dtype} {arrays[name].shape}, not {array.dtype} {array.shape}"
            )
    for part, owner in _parts(training).items():
        prefix = f"{part}/"
        state = {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}
        owner.load_state_dict({**numbers["parts"][part], **state})
    for name, array in own.items():
        array[...] = arrays[name]
    training.epoch, training.done, training.reason = numbers["epoch"], numbers["done"], numbers["stopped"]
    training.trainer.key = numbers["key"]
    history = training.history
    history.clear()
    history.update(numbers["epochs"])
    history.updates.clear()
    for name, array in arrays.items():
        if name.startswith("history/"):
            history.updates[name.removeprefix("history/")] = array.tolist()
