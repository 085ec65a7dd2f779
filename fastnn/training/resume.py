"""Checkpoints of a training, from which it resumes with the same bits as if it had never stopped.

A checkpoint is one safetensors file: all arrays that a training changes, and as metadata one JSON text with
its counters, the history, and a description of the training (data, model, settings), which identifies a
checkpoint of another training.
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
from fastnn.feeding import feeding_from_dict, feeding_to_dict, set_feeding
from fastnn.files import remove_leftovers, write_atomic
from fastnn.states import held_by
from fastnn.training.callbacks import Training, with_state
from fastnn.training.fingerprint import differences
from fastnn.weights import CheckpointError

FORMAT = "fastnn checkpoint 1"


class Checkpoint:
    """Where and how often `fit` writes everything it needs to resume: `fit(checkpoint=Checkpoint(path))`.

    A checkpoint is written `seconds` after the last one, between two updates or after an epoch; at the
    end; and when Ctrl-C ends the training. It replaces the previous checkpoint atomically.
    """

    def __init__(self, path: str | os.PathLike[str], *, seconds: float = 60.0) -> None:
        self.path = Path(path)
        self.seconds = in_range(seconds, "seconds", 0)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, seconds={self.seconds:g})"


def checkpoint_of(checkpoint: str | os.PathLike[str] | Checkpoint | None) -> Checkpoint | None:
    """The `Checkpoint` itself, or one with this path; None without a checkpoint."""
    return checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


@dataclass(frozen=True)
class SavedState:
    """The content of a checkpoint file."""

    arrays: dict[str, Array]
    content: dict[str, Any]


def find_checkpoint(
    checkpoint: Checkpoint, description: dict[str, Any], epochs: int, resume: bool | str
) -> SavedState | None:
    """Read the checkpoint to resume from; None if training starts anew. Changes nothing.

    Raises ValueError unless `resume` is True, False or "auto"; FileNotFoundError if it is True without a
    checkpoint; FileExistsError if it is False and there is one; `CheckpointError` for a file that is damaged,
    belongs to another training, or has gone beyond `epochs`. Warns if the instruction set differs.
    """
    if resume not in (True, False, "auto"):
        raise ValueError(f'resume must be True, False or "auto", not {resume!r}')
    path = checkpoint.path
    exists = path.exists()
    if resume is True and not exists:
        raise FileNotFoundError(f"there is no checkpoint {path} to resume from")
    if resume is False and exists:
        raise FileExistsError(f'{path} holds a checkpoint: pass resume="auto" to resume it, or remove it')
    if not exists:
        return None
    saved = _read(path)
    if different := differences(saved.content["description"], json.loads(json.dumps(description))):
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

    `description` identifies the training: name -> anything that JSON can hold.
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
        if saved is not None:
            try:
                _restore(training, saved.arrays, saved.content["state"])
            except (KeyError, ValueError, TypeError) as error:
                raise CheckpointError(f"{checkpoint.path} does not fit this training: {error}") from error
        self._last = time.monotonic()

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is `seconds` old."""
        if time.monotonic() - self._last >= self.checkpoint.seconds:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
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
        metadata = {"fastnn": content, "digest": _digest(content, arrays)}
        write_atomic(self.checkpoint.path, serialize(arrays, metadata))
        self._last = time.monotonic()


def _instruction_set() -> str:
    """The instruction set of the compiled kernels, on which the last bits of sums depend."""
    from fastnn.kernels import core

    return str(core.isa())


def _read(path: Path) -> SavedState:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            content = json.loads(metadata["fastnn"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        if metadata["digest"] != _digest(metadata["fastnn"], arrays):
            raise ValueError("its content differs from what was written")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    return SavedState(arrays, content)


def _digest(content: str, arrays: Mapping[str, Array]) -> str:
    """SHA-256 of the whole content: safetensors itself does not notice a bit that changed on the disk."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


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
        for path, param in self.model.named_parameters():
            own = {
                param.name + key.removeprefix(path): value
                for key, value in state.items()
                if key.rpartition(".")[0] == path
            }
            self.optimizer.load_state_dict({"lr": state["lr"], **own}, [param])


class _Frozen:
    """Which parameters are frozen, and their learning-rate scales, which callbacks may change."""

    def __init__(self, training: Training) -> None:
        self.model = training.model

    def state_dict(self) -> dict[str, Any]:
        return {path: [p.trainable, p.lr_scale] for path, p in self.model.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for path, param in self.model.named_parameters():
            param.trainable, param.lr_scale = state[path]


def _own_arrays(training: Training) -> dict[str, Array]:
    """The arrays that a training changes, without the state of its stateful parts."""
    trainer, model = training.trainer, training.model
    found = {f"model/{name}": held.master for name, held in held_by(model).items()}
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
        arrays[f"history/{name}"] = np.array(values, np.float64)
    counters = {
        "epoch": training.epoch,
        "done": training.done,
        "key": training.trainer.key,
        "feeding": feeding_to_dict(training.model),
        "epochs": dict(history),
        "stopped": training.reason,
        "parts": parts,
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, counters


def _restore(training: Training, arrays: dict[str, Array], counters: dict[str, Any]) -> None:
    """Restore what `_state` returned. Arrays are filled in place, so that references to them stay valid."""
    own = _own_arrays(training)
    for name, array in own.items():
        if name not in arrays:
            raise KeyError(f"{name!r} is missing")
        if (arrays[name].shape, arrays[name].dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"{name!r} is {arrays[name].dtype} {arrays[name].shape}, not {array.dtype} {array.shape}"
            )
    for part, owner in _stateful_parts(training).items():
        prefix = f"{part}/"
        state = {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}
        owner.load_state_dict({**counters["parts"][part], **state})
    for name, array in own.items():
        array[...] = arrays[name]
    training.epoch, training.done, training.reason = counters["epoch"], counters["done"], counters["stopped"]
    training.trainer.key = counters["key"]
    if counters.get("feeding") is not None:  # older checkpoints do not have it
        set_feeding(training.model, feeding_from_dict(counters["feeding"]))
    updates = {
        name.removeprefix("history/"): array.tolist()
        for name, array in arrays.items()
        if name.startswith("history/")
    }
    training.history.load_dict({"epochs": counters["epochs"], "updates": updates, "stopped": None})
