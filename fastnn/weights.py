"""Save and load models: safetensors files, written atomically, checked before anything changes."""

from __future__ import annotations

import json
import os
import reprlib
from pathlib import Path
from typing import Any, overload

from fastnn._validation import FLOATS, Array
from fastnn.architecture import Custom, build, check_custom
from fastnn.classes import set_classes
from fastnn.feeding import set_feeding
from fastnn.files import user_path, write_atomic
from fastnn.layers import Layer
from fastnn.layers.base import expect_layers, name_parameters
from fastnn.model_record import Record, read_record, write_record
from fastnn.param import limited
from fastnn.rng import separate_generator
from fastnn.states import held_by

RECORD = "fastnn"  # the only key of the metadata: safetensors writes several in any order

SPARE_ELEMENTS = 2**20  # that a model may have beside those in its file, while it is built

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
    """Write a model to the safetensors file `path`: architecture, weights and buffers; returns the path.

    >>> fn.save(model, "model.safetensors")
    >>> model = fn.load("model.safetensors")

    The file also holds which parameters are frozen, their `lr_scale`, `decay_scale`, `clip_value` and `mask`,
    the classes, the shape and the scale of the features in the training, and the version of fastnn. It holds
    neither the state of the optimizer nor the random counters: `fn.fit(..., checkpoint=path)` keeps those.

    A layer of your own is stored by the name of its class and its arguments (`Layer.arguments`). If some
    layer does not tell its arguments, as one of `fn.elementwise`, the file has no architecture, and
    `fn.load(model, path)` reads its weights.

    The write is atomic: the file is written under a temporary name, flushed to the disk and renamed, so
    `path` always holds either the old or the new weights. Links are followed, and `~` is the home folder.
    """
    from safetensors.numpy import save as serialize

    expect_layers("fn.save", [model])
    arrays = {name: held.value for name, held in held_by(model).items()}
    write_atomic(path, serialize(arrays, {RECORD: write_record(model, arrays)}))
    return user_path(path)


@overload
def load(path: str | os.PathLike[str], /, *, custom: Custom | None = None) -> Layer: ...


@overload
def load(model: Layer, path: str | os.PathLike[str]) -> None: ...


def load(model: Any = None, path: Any = None, *, custom: Custom | None = None) -> Layer | None:
    """Read a model from a file of `save`, or its weights into an existing model.

    `fn.load(path)` builds the model and returns it. Nothing of the file is executed: it names layers of
    fastnn, and those of your own that you pass, as in `custom={"Scale": Scale}`.

    `fn.load(model, path)` reads parameters, buffers, the scale of the features and the classes into `model`,
    whose names, shapes and dtypes must be those in the file. It returns None.

    Raises FileNotFoundError if the file does not exist, and `CheckpointError` if it is damaged, if a newer
    version of fastnn wrote it, if it has no architecture, or if an architecture, a name, a shape or a dtype
    does not fit; `model` does not change then.
    """
    if model is None or path is None:
        only = path if model is None else model
        if isinstance(only, Layer):
            raise TypeError("fn.load(model, path) needs the path of a file")
        return _load_model(only, check_custom(custom))
    if isinstance(path, Layer):
        raise TypeError("fn.load takes the model first: write fn.load(model, path)")
    expect_layers("fn.load", [model])
    if custom is not None:
        raise TypeError("custom= is for fn.load(path): a model that exists has its layers already")
    arrays, record = _read(path)
    _fill(model, arrays, path)
    set_feeding(model, record.feeding)
    set_classes(model, record.classes)
    return None


def _load_model(path: str | os.PathLike[str], custom: Custom) -> Layer:
    """Build the model that a file describes."""
    arrays, record = _read(path)
    if record.architecture is None:
        reason = record.no_architecture or "it holds weights alone, of fastnn 0.1.0 or of another library"
        raise CheckpointError(
            f"{path} has no architecture ({reason}): build the model, and write fn.load(model, path), or "
            "fn.load_torch(model, path) for weights of PyTorch"
        )
    # Twice as much as the file holds: a layer may make a parameter and replace it.
    room = 2 * sum(array.size for array in arrays.values()) + SPARE_ELEMENTS
    try:
        with limited(room), separate_generator():
            model = build(record.architecture, custom)
            name_parameters(model)
    except ValueError as error:
        raise CheckpointError(f"{path} does not describe a model: {error}") from error
    _fill(model, arrays, path, convert=True)
    params = dict(model.named_parameters())
    try:
        for name, settings in record.parameters.items():
            for setting, value in settings.items():
                setattr(params[name], setting, value)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: parameter {quoted(name)}: {error}") from error
    set_feeding(model, record.feeding)
    set_classes(model, record.classes)
    return model


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], Record]:
    """Read the arrays of a file and its record. Raises `CheckpointError` if they are damaged."""
    content = user_path(path).read_bytes()
    arrays = _tensors(content, path)
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    try:
        return arrays, read_record(header.get("__metadata__", {}).get(RECORD, "{}"), arrays)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _fill(
    model: Layer, arrays: dict[str, Array], path: str | os.PathLike[str], *, convert: bool = False
) -> None:
    """Set the parameters and buffers of a model; with `convert`, give them the dtypes of the file.

    Raises `CheckpointError` if names, shapes or dtypes do not fit; nothing has changed then.
    """
    held = held_by(model)
    problems = [f"{quoted(name)} is missing" for name in held.keys() - arrays.keys()]
    problems += [f"{quoted(name)} is not in the model" for name in arrays.keys() - held.keys()]
    for name in held.keys() & arrays.keys():
        own, got = held[name], arrays[name]
        accepted = FLOATS if convert else (own.dtype,)
        if got.shape != own.shape or got.dtype not in accepted:
            problems.append(
                f"{quoted(name)} is {got.dtype} {got.shape}, but {own.dtype} {own.shape} in the model"
            )
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise CheckpointError(f"{path} does not fit the model: {'; '.join(sorted(problems)[:10])}{more}")
    for name, array in arrays.items():
        held[name].to(array.dtype)
        held[name].value = array  # in place, so that recorded steps use the new weights


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
