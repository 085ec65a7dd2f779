"""Read checkpoint files and check every field, so that nothing else needs to expect strange content.

A valid digest says that a file is as it was written, but not that `fit` wrote it.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.history import check_curves
from fastnn.weights import CheckpointError

FORMAT = "fastnn checkpoint 1"
HISTORY = "history/"  # prefix of the curves per update among the arrays

Check = Callable[[Any, str], None]


@dataclass(frozen=True)
class SavedState:
    """The content of a checkpoint file."""

    arrays: dict[str, Array]
    content: dict[str, Any]


def read_checkpoint(path: Path) -> SavedState:
    """Read a checkpoint. Raises `CheckpointError`, which names the field, if it is damaged or invalid."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is not a readable checkpoint: it is no regular file")
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            content = json.loads(metadata["fastnn"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if metadata["digest"] != digest_of(metadata["fastnn"], arrays):
            raise ValueError("its content differs from what was written")
        _check(content, {"format": _text}, "")
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        _check(content, SCHEMA, "")
        _check_curves(arrays)
    except KeyError as error:  # of the metadata, or of the dtypes that safetensors knows
        raise CheckpointError(f"{path} is not a readable checkpoint: {error} is missing") from error
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    return SavedState(arrays, content)


def digest_of(content: str, arrays: Mapping[str, Array]) -> str:
    """SHA-256 of the whole content: safetensors itself does not notice a bit that changed on the disk."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def _check(value: Any, schema: Any, field: str) -> None:
    """Raise ValueError, which names the field, unless `value` fits `schema`: a check, or a dict of schemas.

    Fields that the schema does not name are ignored.
    """
    if not isinstance(schema, dict):
        schema(value, field)
        return
    if not isinstance(value, dict):
        raise ValueError(f"{field or 'the content'} must be an object, got {reprlib.repr(value)}")
    for name, inner in schema.items():
        path = f"{field}.{name}" if field else name
        if name not in value:
            raise ValueError(f"{path} is missing")
        _check(value[name], inner, path)


def _text(value: Any, field: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{field} must be a text, got {reprlib.repr(value)}")


def _text_or_none(value: Any, field: str) -> None:
    if value is not None:
        _text(value, field)


def _count(value: Any, field: str) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"{field} must be an integer of at least 0, got {reprlib.repr(value)}")


def _anything(value: Any, field: str) -> None:
    """Checked by the part of the training that it belongs to."""


def _each(check: Check) -> Check:
    """A check of all values of an object whose names are free."""

    def checked(value: Any, field: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{field} must be an object, got {reprlib.repr(value)}")
        for name, item in value.items():
            check(item, f"{field}[{reprlib.repr(name)}]")

    return checked


SCHEMA = {
    "format": _text,
    "description": _each(_anything),
    "instruction set": _text,
    "state": {
        "epoch": _count,
        "done": _count,
        "key": _count,
        "epochs": check_curves,
        "stopped": _text_or_none,
        "parts": _each(_each(_anything)),
    },
}


def _check_curves(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError unless all curves per update are lists of float64."""
    for name, array in arrays.items():
        if name.startswith(HISTORY) and (array.ndim != 1 or array.dtype != np.float64):
            raise ValueError(f"{name!r} must be float64 (N,), got {array.dtype} {array.shape}")
