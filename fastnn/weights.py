"""Save and load weights: safetensors files, written atomically, checked before anything changes."""

from __future__ import annotations

import json
import os
import reprlib
from pathlib import Path
from typing import Any

from fastnn._schema import check_fields
from fastnn._validation import Array
from fastnn.classes import Classes, classes_from, classes_to_list, set_classes
from fastnn.feeding import Feeding, feeding_from_dict, feeding_to_dict, set_feeding
from fastnn.files import user_path, write_atomic
from fastnn.layers import Layer
from fastnn.states import held_by

REMEMBERED = "fastnn"  # the only key of the metadata: safetensors writes several in any order

# A file of torch.save is a zip archive with this member, or before PyTorch 1.6 began with a number.
ZIP, ZIP_MEMBER, LEGACY = b"PK\x03\x04", b"/data.pkl", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
CONVERSION = """{path} is not a safetensors file, but looks like a file of torch.save. Convert it:

    import torch; from safetensors.torch import save_file; state = torch.load({path!r}, "cpu")
    save_file({{name: tensor.clone() for name, tensor in state.items()}}, {converted!r})

(if the file holds more than a state_dict, take that part of it, such as state["state_dict"])"""

_names = reprlib.Repr()
_names.maxstring = 100


class CheckpointError(ValueError):
    """A weight file or a checkpoint cannot be read or does not fit; nothing has changed."""


def save(model: Layer, path: str | os.PathLike[str]) -> Path:
    """Write all parameters and buffers of `model` to the safetensors file `path`; returns the path.

    The metadata of the file say how the model was fed in its training, and what its classes are, so that a
    loaded model scales its features alike and predicts the same labels.

    The write is atomic: the file is written under a temporary name, flushed to the disk and renamed, so
    `path` always holds either the old or the new weights. Links are followed, and `~` is the home folder.
    """
    from safetensors.numpy import save as serialize

    records = {"feeding": feeding_to_dict(model), "classes": classes_to_list(model)}
    known = {name: record for name, record in records.items() if record is not None}
    metadata = {REMEMBERED: json.dumps(known)} if known else None
    arrays = {name: held.value for name, held in held_by(model).items()}
    write_atomic(path, serialize(arrays, metadata))
    return user_path(path)


def load(model: Layer, path: str | os.PathLike[str]) -> None:
    """Read all parameters and buffers of `model`, how it was fed and its classes from a file of `save`.

    Raises FileNotFoundError if the file does not exist, and `CheckpointError` if it is damaged or a name,
    shape or dtype does not fit; the model does not change then.
    """
    content = user_path(path).read_bytes()
    arrays, (feeding, classes) = _tensors(content, path), _remembered(content, path)
    held = held_by(model)
    problems = [f"{quoted(name)} is missing" for name in held.keys() - arrays.keys()]
    problems += [f"{quoted(name)} is not in the model" for name in arrays.keys() - held.keys()]
    for name in held.keys() & arrays.keys():
        own, got = held[name], arrays[name]
        if (got.shape, got.dtype) != (own.shape, own.dtype):
            problems.append(
                f"{quoted(name)} is {got.dtype} {got.shape}, but {own.dtype} {own.shape} in the model"
            )
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(sorted(problems)[:10])}{more}")
    for name, array in arrays.items():
        held[name].value = array  # in place, so that recorded steps use the new weights
    set_feeding(model, feeding)
    set_classes(model, classes)


def _remembered(content: bytes, path: str | os.PathLike[str]) -> tuple[Feeding | None, Classes | None]:
    """How the model of a valid safetensors file was fed, and its classes; None for what the file lacks.

    Raises `CheckpointError` if a record is damaged.
    """
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    try:
        known = json.loads(header.get("__metadata__", {}).get(REMEMBERED, "{}"))
        check_fields(known, {})
        feeding = feeding_from_dict(known["feeding"]) if "feeding" in known else None
        classes = classes_from(known["classes"]) if "classes" in known else None
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return feeding, classes


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read all tensors of a safetensors file by name.

    Raises FileNotFoundError if the file does not exist, and `CheckpointError` if it is damaged; for a file of
    PyTorch the error says how to convert it.
    """
    return _tensors(user_path(path).read_bytes(), path)


def _tensors(content: bytes, path: str | os.PathLike[str]) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        tensors: dict[str, Array] = deserialize(content)
    except KeyError as error:  # the table of dtypes of safetensors.numpy
        raise CheckpointError(
            f"{path} is not a readable safetensors file: NumPy has no dtype {error.args[0]}; in PyTorch, "
            "convert the tensors by tensor.float() before they are saved"
        ) from error
    except (SafetensorError, ValueError, TypeError, AttributeError, OverflowError) as error:
        if content.startswith(LEGACY) or (content.startswith(ZIP) and ZIP_MEMBER in content):
            name = os.fspath(path)
            converted = f"{os.path.splitext(name)[0]}.safetensors"
            raise CheckpointError(CONVERSION.format(path=name, converted=converted)) from error
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    return tensors


def quoted(name: str) -> str:
    """The name of a tensor in a file, in quotes; the middle of a very long one is left out."""
    return _names.repr(name)
