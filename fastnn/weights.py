"""Save and load weights: safetensors files, written atomically, checked before anything changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastnn._validation import Array
from fastnn.feeding import Feeding, feeding_from_dict, feeding_to_dict, set_feeding
from fastnn.files import write_atomic
from fastnn.layers import Layer
from fastnn.states import held_by

FEEDING = "fastnn feeding"  # key of the metadata


class CheckpointError(ValueError):
    """A weight file or a checkpoint cannot be read or does not fit; nothing has changed."""


def save(model: Layer, path: str | os.PathLike[str]) -> Path:
    """Write all parameters and buffers of `model` to the safetensors file `path`; returns the path.

    The metadata of the file say how the model was fed in its training, so that a loaded model scales its
    features alike.

    The write is atomic: the file is written under a temporary name, flushed to the disk and renamed, so
    `path` always holds either the old or the new weights.
    """
    from safetensors.numpy import save as serialize

    target = Path(path)
    feeding = feeding_to_dict(model)
    metadata = None if feeding is None else {FEEDING: json.dumps(feeding)}
    write_atomic(target, serialize({name: held.value for name, held in held_by(model).items()}, metadata))
    return target


def load(model: Layer, path: str | os.PathLike[str]) -> None:
    """Read all parameters and buffers of `model`, and how it was fed, from a file that `save` wrote.

    Raises FileNotFoundError if the file does not exist, and `CheckpointError` if it is damaged or a name,
    shape or dtype does not fit; the model does not change then.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        content = Path(path).read_bytes()
        arrays: dict[str, Array] = deserialize(content)
        feeding = _feeding(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
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
    set_feeding(model, feeding)


def _feeding(content: bytes) -> Feeding | None:
    """How the model of a valid safetensors file was fed; None if it does not say, as in older files."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    text = header.get("__metadata__", {}).get(FEEDING)
    return None if text is None else feeding_from_dict(json.loads(text))
