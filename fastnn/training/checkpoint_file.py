"""Read checkpoint files and check every field, so that nothing else needs to expect strange content.

A valid digest says that a file is as it was written, but not that `fit` wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._schema import anything, check_fields, count, each, numbers, optional, text
from fastnn._validation import Array
from fastnn.weights import CheckpointError

FORMAT = "fastnn checkpoint 1"
HISTORY = "history/"  # prefix of the curves per update among the arrays
SCHEMA = {
    "description": each(anything),
    "instruction set": text,
    "state": {
        "epoch": count,
        "done": count,
        "key": count,
        "epochs": each(numbers),
        "stopped": optional(text),
        "parts": each(each(anything)),  # each part of a training checks its own state
    },
}


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
            check_fields(metadata, {"fastnn": text, "digest": text})
            content = json.loads(metadata["fastnn"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if metadata["digest"] != digest_of(metadata["fastnn"], arrays):
            raise ValueError("its content differs from what was written")
        check_fields(content, {"format": text})
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        check_fields(content, SCHEMA)
        _check_curves(arrays)
    except KeyError as error:  # the table of dtypes of safetensors.numpy
        raise CheckpointError(f"{path} is not a readable checkpoint: NumPy has no dtype {error}") from error
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


def _check_curves(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError unless all curves per update are lists of float64."""
    for name, array in arrays.items():
        if name.startswith(HISTORY) and (array.ndim != 1 or array.dtype != np.float64):
            raise ValueError(f"{name!r} must be float64 (N,), got {array.dtype} {array.shape}")
