"""Weights of PyTorch's modules, brought into fastnn's order of numbers."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fastnn._validation import Array
from fastnn.layers import BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Layer, LayerNorm, Linear, Sequential
from fastnn.param import Buffer, Param
from fastnn.weights import CheckpointError

# Modules of these names come last; others as they are numbered.
HEADS = ("classifier", "fc", "head", "output")
IGNORED = "num_batches_tracked"
# Orders are not looked for without end: 16 groups that look alike, and do not fit, have 2^16 sets.
MOST_TRIES = 100_000

Match = tuple[Param | Buffer, Array]


@dataclass
class _Module:
    """The tensors of one PyTorch module by their own names, and its path: "features.0"."""

    path: str
    tensors: dict[str, Array]


@dataclass
class _Place:
    """A layer with numbers, and how many channels were flattened in front of it (1: none)."""

    layer: Layer
    flattened: int


def load_torch(model: Layer, path: str | os.PathLike[str]) -> None:
    """Read the weights of a PyTorch model from a safetensors file, such as torchvision's AlexNet.

    The modules with weights must correspond to the layers of `model` with weights. A file lists them by their
    names: if they do not fit in that order (conv1, conv2, fc), others are tried (bn1, bn2, conv1, conv2 as
    conv1, bn1, conv2, bn2). Filters (O, C, R, S) become (R, S, C, O), matrices (out, in) are transposed, and
    the rows of a matrix behind Flatten are brought from the order C, H, W to H, W, C. Running moments come
    along, `num_batches_tracked` is ignored.

    Raises FileNotFoundError if there is no file, and `CheckpointError`, which names the tensor, what came and
    what was wanted, where the file is damaged or does not fit; the model is untouched then.
    """
    places = list(_places(model))
    groups = _groups(_read(Path(path)))
    try:
        matched = list(_match(places, [module for modules in groups for module in modules]))
    except ValueError as error:
        found = _in_another_order(places, groups)
        if found is None:
            raise CheckpointError(f"{path} does not fit the model: {error}") from error
        matched = found
    for held, array in matched:
        held.value = array


def _read(path: Path) -> list[_Module]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, Array] = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    modules: dict[str, _Module] = {}
    for name in sorted(tensors, key=_by_numbers):
        owner, _, own = name.rpartition(".")
        if own != IGNORED:
            modules.setdefault(owner, _Module(owner, {})).tensors[own] = tensors[name]
    return list(modules.values())


def _by_numbers(name: str) -> list[tuple[int, int | str]]:
    """features.2 before features.10."""
    words = re.findall(r"\d+|[^\d.]+", name)
    return [(0, int(word)) if word.isdigit() else (1, word) for word in words]


def _groups(modules: list[_Module]) -> list[list[_Module]]:
    """The modules by the outermost parts of their names, the groups in their most likely order."""
    groups: dict[str, list[_Module]] = {}
    for module in modules:
        outermost = module.path.partition(".")[0]
        groups.setdefault("" if outermost.isdigit() else outermost, []).append(module)
    return [groups[name] for name in sorted(groups, key=lambda n: (n.startswith(HEADS), _by_numbers(n)))]


def _in_another_order(places: list[_Place], groups: list[list[_Module]]) -> list[Match] | None:
    """The groups in an order in which all of them fit, those in front as far in front as can be; or None.

    A file does not tell the order: bn1, bn2, conv1, conv2 may be those of conv1, bn1, conv2, bn2.
    """

    @cache
    def fits(group: int, start: int) -> list[Match] | None:
        modules = groups[group]
        try:
            return list(_match(places[start : start + len(modules)], modules))
        except ValueError:
            return None

    @cache
    def search(left: tuple[int, ...], start: int) -> list[Match] | None:
        if not left:
            return [] if start == len(places) else None
        for group in left if search.cache_info().misses < MOST_TRIES else ():
            if (own := fits(group, start)) is None:
                continue
            others = tuple(other for other in left if other != group)
            if (rest := search(others, start + len(groups[group]))) is not None:
                return own + rest
        return None

    return search(tuple(range(len(groups))), 0)


def _places(model: Layer) -> Iterator[_Place]:
    """The layers with numbers, in their order. Raises TypeError for those that PyTorch has no module for."""
    channels, flattened = 1, 1
    for layer in _in_order(model):
        if isinstance(layer, Flatten):
            flattened = channels
        elif isinstance(layer, Conv2d):
            channels = layer.weight.shape[3]
            yield _Place(layer, 1)
        elif isinstance(layer, Linear):
            yield _Place(layer, flattened)
            channels = flattened = 1
        elif isinstance(layer, (BatchNorm1d, BatchNorm2d, LayerNorm)):
            yield _Place(layer, 1)
        elif layer.parameters():
            raise TypeError(f"load_torch knows no module of PyTorch for {layer!r}")


def _in_order(layer: Layer) -> Iterator[Layer]:
    if isinstance(layer, Sequential):
        for inner in layer:
            yield from _in_order(inner)
    else:
        yield layer


def _match(places: list[_Place], modules: list[_Module]) -> Iterator[Match]:
    """Each parameter or buffer with its new numbers. Raises ValueError where they do not fit."""
    for place, module in itertools.zip_longest(places, modules):
        if module is None:
            raise ValueError(f"it has no weights for {place.layer!r}")
        if place is None:
            raise ValueError(f"it has {module.path!r}, for which the model has no layer")
        wanted = {
            name: held
            for name, held in (*place.layer.named_parameters(), *place.layer.named_buffers())
            if held.size
        }
        names = [_torch_name(name) for name in wanted]
        if sorted(names) != sorted(module.tensors):
            raise ValueError(
                f"{module.path!r} has {', '.join(sorted(module.tensors))}, but {place.layer!r} wants "
                f"{', '.join(sorted(names))}"
            )
        for own, held in wanted.items():
            tensor = module.tensors[_torch_name(own)]
            array = _in_our_order(place, own, tensor)
            if array is None or array.shape != held.shape or tensor.dtype.kind != "f":
                raise ValueError(
                    f"{module.path}.{_torch_name(own)} is {tensor.dtype} {tensor.shape}, which does not make "
                    f"the {own} {held.shape} of {place.layer!r}"
                )
            yield held, array


def _torch_name(name: str) -> str:
    return {"gamma": "weight", "beta": "bias"}.get(name, name)


def _in_our_order(place: _Place, name: str, tensor: Array) -> Array | None:
    """The numbers in fastnn's order, or None if they have another number of axes."""
    if name != "weight" or not isinstance(place.layer, (Conv2d, Linear)):
        return tensor
    if isinstance(place.layer, Conv2d):
        return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else None
    if tensor.ndim != 2 or tensor.shape[1] % place.flattened:
        return None
    outputs, inputs = tensor.shape
    by_channel = tensor.reshape(outputs, place.flattened, inputs // place.flattened)
    return np.ascontiguousarray(by_channel.transpose(2, 1, 0)).reshape(inputs, outputs)
