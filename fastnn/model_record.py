"""The record of a model in a weight file, beside the weights: architecture, classes, scale of features.

The record is JSON in the metadata of the safetensors file:

    {"format": 1, "version": "0.1.0",
     "architecture": {"layer": "Sequential", "arguments": ...},    # see architecture.py
     "parameters": {"0.weight": {"trainable": false}},             # settings that are not the default ones
                                                                   # (a mask as text, see masks.py)
     "feeding": {"scale": ...}, "classes": ["cat", "dog"],
     "crc32": 123}                                                 # of the record and the arrays

Fields that do not apply are missing. "no_architecture" says why "architecture" is missing. Files from before
format 1 have "feeding" and "classes" at most.
"""

from __future__ import annotations

import json
import reprlib
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastnn._schema import anything, check_fields, count, each, number, optional, text
from fastnn._validation import Array
from fastnn.architecture import describe
from fastnn.classes import Classes, classes_from, classes_to_list
from fastnn.feeding import Feeding, feeding_from_dict, feeding_to_dict
from fastnn.layers import Layer
from fastnn.masks import mask_from_text, mask_to_text
from fastnn.param import Param

FORMAT = 1
SETTINGS = {"trainable": True, "lr_scale": 1.0, "decay_scale": 1.0, "clip_value": None, "mask": None}
"""The attributes of a parameter that the record keeps, and their defaults."""


class Record(NamedTuple):
    """What a weight file says about its model; None where it says nothing."""

    architecture: Any
    no_architecture: str | None
    parameters: Mapping[str, Mapping[str, Any]]
    feeding: Feeding | None
    classes: Classes | None


def write_record(model: Layer, arrays: Mapping[str, Array]) -> str:
    """The record of a model with these arrays, as JSON."""
    record: dict[str, Any] = {"format": FORMAT, "version": _version()}
    try:
        record["architecture"] = describe(model)
    except (TypeError, ValueError) as error:  # a layer of the user's, which code must rebuild
        record["no_architecture"] = str(error)
    settings = {name: _settings(param) for name, param in model.named_parameters()}
    known = {
        "parameters": {name: values for name, values in settings.items() if values},
        "feeding": feeding_to_dict(model),
        "classes": classes_to_list(model),
    }
    record |= {name: value for name, value in known.items() if value not in (None, {})}
    return json.dumps({**record, "crc32": _checksum(record, arrays)})


def read_record(written: str, arrays: Mapping[str, Array]) -> Record:
    """Read the record that belongs to these arrays.

    Raises ValueError, which names the field, if it is damaged, is of a newer version of fastnn, or does not
    belong to the arrays.
    """
    try:
        content = json.loads(written)
    except RecursionError:
        raise ValueError("the record of the model is nested too deeply") from None
    check_fields(content, {})
    if "format" in content:
        _check_format(content)
        check_fields(content, {"crc32": count})
        checksum = content.pop("crc32")
        if checksum != _checksum(content, arrays):
            raise ValueError("its content differs from what was written")
    check_fields(content.get("no_architecture"), optional(text), "no_architecture")
    settings = content.get("parameters", {})
    check_fields(settings, each(each(anything)), "parameters")
    for name, values in settings.items():
        field = f"parameters[{reprlib.repr(name)}]"
        _check_settings(values, field, name in arrays)
        if "mask" in values:
            values["mask"] = mask_from_text(values["mask"], arrays[name].shape, f"{field}.mask")
    return Record(
        content.get("architecture"),
        content.get("no_architecture"),
        settings,
        feeding_from_dict(content["feeding"]) if "feeding" in content else None,
        classes_from(content["classes"]) if "classes" in content else None,
    )


def _check_format(content: Mapping[str, Any]) -> None:
    """Raise ValueError unless this version of fastnn reads the format."""
    version = content["format"]
    if isinstance(version, str):
        raise ValueError(f"it is no model, but a {version}: pass it to fn.fit(..., checkpoint=path)")
    check_fields(content, {"format": count, "version": text})
    if version != FORMAT:
        raise ValueError(
            f"fastnn {content['version']:.40} wrote it in format {reprlib.repr(version)}, but fastnn "
            f"{_version()} reads format {FORMAT}: upgrade with pip install --upgrade fastnn-kernels"
        )


def _settings(param: Param) -> dict[str, Any]:
    settings = {name: getattr(param, name) for name in SETTINGS} | {"mask": mask_to_text(param.mask)}
    return {name: value for name, value in settings.items() if value != SETTINGS[name]}


def _check_settings(values: Mapping[str, Any], field: str, is_known: bool) -> None:
    if not is_known or not values.keys() <= SETTINGS.keys():
        raise ValueError(f"{field} is unknown: {reprlib.repr(dict(values))}")
    for name, value in values.items():
        if name == "trainable":
            if not isinstance(value, bool):
                raise ValueError(f"{field}.{name} must be true or false, got {reprlib.repr(value)}")
        elif name != "mask":
            number(value, f"{field}.{name}")


def _checksum(record: Mapping[str, Any], arrays: Mapping[str, Array]) -> int:
    """The CRC-32 of all content: safetensors itself does not notice a bit that changed on the disk."""
    crc = zlib.crc32(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).data, crc)
    return crc


def _version() -> str:
    from importlib import metadata  # 14 ms of import time

    try:
        return metadata.version("fastnn-kernels")
    except metadata.PackageNotFoundError:  # a copy of the folder that is not installed
        return "unknown"
