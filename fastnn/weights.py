"""Save and load weights: safetensors files, written atomically, checked before anything changes."""

from __future__ import annotations

import os
from pathlib import Path

from fastnn._validation import Array
from fastnn.files import write_atomic
from fastnn.layers import Layer
from fastnn.states import held_by


class CheckpointError(ValueError):
    """A weight file or a checkpoint cannot be read or does not fit; nothing has changed."""


def save(model: Layer, path: str | os.PathLike[str]) -> Path:
    """Write all parameters and buffers of `model` to the safetensors file `path`; returns the path.

    The write is atomic: the file is written under a temporary name, flushed to the disk and renamed, so
    `path` always holds either the old or the new weights.
    """
    from safetensors.numpy import save as serialize

    target = Path(path)
    write_atomic(target, serialize({name: held.value for name, held in held_by(model).items()}))
    return target


def load(model: Layer, path: str | os.PathLike[str]) -> None:
    """Read all parameters and buffers of `model` from a file that `save` wrote.

    Raises FileNotFoundError if the file does not exist, and `CheckpointError` if it is damaged or a name,
    shape or dtype does not fit; the model does not change then.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        arrays: dict[str, Array] = deserialize(Path(path).read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    held = held_by(model)
    problems = [f"{name!r} is missing" for name in held.keys() - arrays.keys()]
    problems += [f"{name!r} is not in the model" for name in arrays.keys() - held.keys()]
    for name in held.keys() & arrays.keys():
        own, got = held[name], arrays[name]
        if (got.shape, got.dtype) != (own.shape, own.dtype):
            problems.append(f"{name!r} is {got.dtype} {got.shape}, but {own.dtype} {own.shape} in the model")
    if problems:
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(sorted(problems))}")
    for name, array in arrays.items():
        held[name].value = array  # in place, so that recorded steps use the new weights
