"""Weights in a file: safetensors, written atomically, checked before anything changes."""

from __future__ import annotations

import os
from pathlib import Path

from fastnn._validation import Array
from fastnn.files import write_atomic
from fastnn.layers import Layer
from fastnn.states import held_by


class CheckpointError(ValueError):
    """A weight file cannot be read or does not fit the model; the model was not touched."""


def save(model: Layer, path: str | os.PathLike[str]) -> Path:
    """Write all parameters and buffers of `model` to `path` (safetensors); returns the path.

    Atomic: the file is written under a temporary name, flushed to the disk and renamed, so that `path`
    holds either the old or the new weights, whatever happens.
    """
    from safetensors.numpy import save as serialize

    target = Path(path)
    write_atomic(target, serialize({name: held.value for name, held in held_by(model).items()}))
    return target


def load(model: Layer, path: str | os.PathLike[str]) -> None:
    """Read all parameters and buffers of `model` from a file that `save` wrote.

    Raises FileNotFoundError if there is none, and `CheckpointError` where the file is damaged or a name,
    shape or type does not fit; the model is untouched then.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        arrays: dict[str, Array] = deserialize(Path(path).read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    held = held_by(model)
    problems = [f"it lacks {name!r}" for name in held.keys() - arrays.keys()]
    problems += [f"it has {name!r}, which the model lacks" for name in arrays.keys() - held.keys()]
    for name in held.keys() & arrays.keys():
        wanted, got = held[name], arrays[name]
        if (got.shape, got.dtype) != (wanted.shape, wanted.dtype):
            problems.append(
                f"{name!r} is {got.dtype} {got.shape}, the model has {wanted.dtype} {wanted.shape}"
            )
    if problems:
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(sorted(problems))}")
    for name, array in arrays.items():
        held[name].value = array  # in place, so that recorded steps go on with it
