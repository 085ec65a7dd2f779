"""Reads the tensors of PyTorch's weight files: safetensors, and files of `torch.save` (.pt, .pth)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.files import user_path
from fastnn.weights import LEGACY, ZIP, ZIP_MEMBER, CheckpointError, quoted, read_tensors

# The dtypes of safetensors that NumPy has; it has no bfloat16, the upper half of float32.
DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
DTYPES |= {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
# What DataParallel and torch.compile put before all names.
WRAPPERS = ("module.", "_orig_mod.")


def read_torch_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], bool]:
    """Read all tensors of a file by name, and whether they are in the order of the model.

    Half precision becomes float32. Raises FileNotFoundError if the file does not exist, and `CheckpointError`
    if it cannot be read. Without PyTorch, the error for a file of `torch.save` says how to convert it.
    """
    content = user_path(path).read_bytes()
    is_of_torch = content.startswith(LEGACY) or (content.startswith(ZIP) and ZIP_MEMBER in content)
    if is_of_torch and find_spec("torch") is not None:
        return _without_wrapper(_of_torch(path)), True
    tensors = _with_bfloat16(content) if not is_of_torch else None
    return _without_wrapper(read_tensors(path) if tensors is None else tensors), False


def _without_wrapper(tensors: dict[str, Array]) -> dict[str, Array]:
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _with_bfloat16(content: bytes) -> dict[str, Array] | None:
    """The tensors of a safetensors file that has bfloat16; None for any other file."""
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, TypeError, OverflowError):
        return None
    kinds = {entry["dtype"] for _, entry in entries}
    if "BF16" not in kinds or not kinds <= DTYPES.keys():
        return None
    return {name: _array(entry) for name, entry in entries}


def _array(entry: Mapping[str, Any]) -> Array:
    array: Array = np.frombuffer(entry["data"], DTYPES[entry["dtype"]], math.prod(entry["shape"]))
    if entry["dtype"] == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(entry["shape"])


def _of_torch(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a file of `torch.save`, without running what its pickle names (weights_only=True)."""
    import torch

    try:
        loaded = torch.load(user_path(path), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise almost anything
        reason = str(error).strip().partition("\n")[0][:200]
        raise CheckpointError(
            f"{path} cannot be read by torch.load(..., weights_only=True): {reason}. It must hold a "
            "state_dict: torch.save(model.state_dict(), path)"
        ) from error
    return {name: _of_tensor(name, tensor, path) for name, tensor in _state_dict(loaded, path).items()}


def _state_dict(loaded: Any, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors by name: those of the file, or of its only part that is a dict of tensors."""
    found = _tensors_of(loaded)
    if found:
        return found
    parts = (
        [part for part in map(_tensors_of, loaded.values()) if part] if isinstance(loaded, Mapping) else []
    )
    if len(parts) != 1:
        what = _listed(loaded) if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
        raise CheckpointError(
            f"{path} must hold a state_dict, or a dict with one state_dict, but holds {what}; save it by "
            "torch.save(model.state_dict(), path)"
        )
    return parts[0]


def _tensors_of(value: Any) -> dict[str, Any]:
    import torch

    if not isinstance(value, Mapping):
        return {}
    return {
        name: tensor
        for name, tensor in value.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    }


def _listed(names: Iterable[Any]) -> str:
    texts = [quoted(str(name)) for name in names]
    return ", ".join(texts[:10]) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "") or "nothing"


def _of_tensor(name: str, tensor: Any, path: str | os.PathLike[str]) -> Array:
    try:
        is_half = tensor.is_floating_point() and tensor.element_size() < 4
        array: Array = (tensor.detach().float() if is_half else tensor.detach()).numpy()
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {quoted(name)} is no dense array of numbers: {error}") from error
    return array
