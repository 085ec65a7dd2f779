"""Checkpoints of a training, from which it goes on with the same bits as if it had never stopped.

A checkpoint is one safetensors file: all arrays that a training changes, and as metadata one JSON text with
its counters, the history, and a description of the training (data, model, settings), by which a checkpoint of
something else is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._validation import Array, in_range, warn
from fastnn.files import remove_leftovers, write_atomic
from fastnn.states import held_by
from fastnn.training.callbacks import Training, with_state
from fastnn.training.fingerprint import differences
from fastnn.weights import CheckpointError

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


@dataclass(frozen=True)
class Found:
    """What a checkpoint holds."""

    arrays: dict[str, Array]
    content: dict[str, Any]


def find(
    checkpoint: Checkpoint, description: dict[str, Any], epochs: int, resume: bool | str
) -> Found | None:
    """The checkpoint to go on from, or None where training begins; nothing is changed.

    Raises ValueError for another `resume` than True, False and "auto", FileNotFoundError and FileExistsError
    as it says, and `CheckpointError` for a file that is damaged, of another training, or of one that is
    longer than `epochs`. Warns of another instruction set.
    """
    if resume not in (True, False, "auto"):
        raise ValueError(f'resume must be True, False or "auto", not {resume!r}')
    path = checkpoint.path
    there = path.exists()
    if resume is True and not there:
        raise FileNotFoundError(f"there is no checkpoint {path} to go on from")
    if resume is False and there:
        raise FileExistsError(f'{path} holds a checkpoint: go on from it by resume="auto", or remove it')
    if not there:
        return None
    found = _read(path)
    if different := differences(found.content["description"], json.loads(json.dumps(description))):
        more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
        raise CheckpointError(f"{path} is of another training: {'; '.join(different[:5])}{more}")
    state = found.content["state"]
    begun = state["epoch"] + (state["done"] > 0)
    if begun > epochs:
        raise CheckpointError(f"{path} is in epoch {begun} already, but epochs={epochs}")
    if found.content["instruction set"] != _instruction_set():
        warn(
            f"{path} was written by kernels for {found.content['instruction set']}, those here are for "
            f"{_instruction_set()}: the last bits will differ"
        )
    return found


class Keeper:
    """Writes the checkpoints of one training, after it has taken up what was `found`.

    `description` tells what the training is: name -> anything that JSON holds.
    """

    def __init__(
        self, checkpoint: Checkpoint, training: Training, description: dict[str, Any], found: Found | None
    ) -> None:
        self.checkpoint = checkpoint
        self.training = training
        self.description = description
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(checkpoint.path)
        if found is not None:
            try:
                _take_up(training, found.arrays, found.content["state"])
            except (KeyError, ValueError, TypeError) as error:
                raise CheckpointError(f"{checkpoint.path} does not fit this training: {error}") from error
        self._last = time.monotonic()

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self._last >= self.checkpoint.seconds:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        from safetensors.numpy import save as serialize

        arrays, numbers = _state(self.training)
        content = json.dumps(
            {
                "format": FORMAT,
                "description": self.description,
                "instruction set": _instruction_set(),
                "state": numbers,
            }
        )
        metadata = {"fastnn": content, "digest": _digest(content, arrays)}
        write_atomic(self.checkpoint.path, serialize(arrays, metadata))
        self._last = time.monotonic()


def _instruction_set() -> str:
    """That of the compiled kernels: the last bits of sums depend on it."""
    from fastnn.kernels import core

    return str(core.isa())


def _read(path: Path) -> Found:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            content = json.loads(metadata["fastnn"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        if metadata["digest"] != _digest(metadata["fastnn"], arrays):
            raise ValueError("its numbers are not those that were written")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint: {error}") from error
    return Found(arrays, content)


def _digest(content: str, arrays: Mapping[str, Array]) -> str:
    """SHA-256 of everything: safetensors itself does not notice when a bit has changed on the disk."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def _parts(training: Training) -> dict[str, Any]:
    """What has a `state_dict` and a `load_state_dict` of its own, by name."""
    trainer = training.trainer
    parts: dict[str, Any] = {"optimizer": _OptimizerState(training), "frozen": _Frozen(training)}
    if trainer.rates is not None:
        parts["schedule"] = trainer.rates.schedule
    if trainer.ema is not None:
        parts["ema"] = trainer.ema
    return parts | {f"callback {n}": callback for n, callback in enumerate(with_state(training.callbacks))}


class _OptimizerState:
    """What the optimizer remembers of each parameter, by the path of the parameter in the model.

    `Optimizer.state_dict` goes by `param.name`, which is unique within a `Sequential` alone.
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
        for path, param in self.model.named_parameters():
            own = {
                param.name + key.removeprefix(path): value
                for key, value in state.items()
                if key.rpartition(".")[0] == path
            }
            self.optimizer.load_state_dict({"lr": state["lr"], **own}, [param])


class _Frozen:
    """Which parameters are frozen, and the scales of their learning rates: callbacks may change them."""

    def __init__(self, training: Training) -> None:
        self.model = training.model

    def state_dict(self) -> dict[str, Any]:
        return {path: [p.trainable, p.lr_scale] for path, p in self.model.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for path, param in self.model.named_parameters():
            param.trainable, param.lr_scale = state[path]


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
