"""Loads PyTorch weights from safetensors files, converted to fastnn's memory layout."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from fastnn._validation import Array
from fastnn.layers import BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Layer, LayerNorm, Linear
from fastnn.layers.sequential import flat_layers
from fastnn.param import Buffer, Param
from fastnn.weights import CheckpointError, quoted, read_tensors

# Modules with these name prefixes are sorted last; others by the numbers in their names.
HEADS = ("classifier", "fc", "head", "output")
IGNORED = "num_batches_tracked"
# Limits the search for an order: 16 groups of the same shapes that do not fit have 2^16 subsets.
MAX_TRIES = 100_000

Match = tuple[Param | Buffer, Array]


@dataclass
class _Module:
    """The tensors of one PyTorch module by name ("weight"), and the path of the module ("features.0")."""

    path: str
    tensors: dict[str, Array]


@dataclass
class _Target:
    """A layer with parameters or buffers, and the number of channels flattened before it (1: none)."""

    layer: Layer
    flattened_channels: int


def load_torch(model: Layer, path: str | os.PathLike[str]) -> None:
    """Load weights of a PyTorch model, such as torchvision's AlexNet, from a safetensors file into `model`.

    The modules of the file must correspond one to one to the layers of `model` with parameters or buffers. A
    file sorts its tensors by name. If the modules do not fit in that order (conv1, conv2, fc), other orders
    are tried (bn1, bn2, conv1, conv2 as conv1, bn1, conv2, bn2).

    Filters (O, C, R, S) become (R, S, C, O) and matrices (out, in) are transposed. The input rows of a matrix
    after Flatten are reordered from C, H, W to H, W, C. Running statistics are loaded, too;
    `num_batches_tracked` is ignored.

    `model` may consist of Conv2d, Linear, BatchNorm1d, BatchNorm2d and LayerNorm, layers without parameters,
    and nested Sequentials.

    Raises FileNotFoundError if the file does not exist, TypeError if `model` has other layers with
    parameters, and `CheckpointError`, which names the tensor, if the file is damaged or does not fit, and
    which shows how to convert a file of `torch.save` (.pt, .pth). The model is unchanged then.
    """
    targets = list(_targets(model))
    groups = _groups(_read(path))
    try:
        matches = list(_match(targets, [module for modules in groups for module in modules]))
    except ValueError as error:
        reordered = _match_in_another_order(targets, groups)
        if reordered is None:
            raise CheckpointError(f"{path} does not fit the model: {error}") from error
        matches = reordered
    for param, array in matches:
        param.value = array


def _read(path: str | os.PathLike[str]) -> list[_Module]:
    """Read the modules of a safetensors file, sorted by name."""
    tensors = read_tensors(path)
    modules: dict[str, _Module] = {}
    for name in sorted(tensors, key=_natural_key):
        if "" in name.split("."):  # PyTorch makes no such names; ".weight" would stand for "weight"
            raise CheckpointError(f"{path} does not fit the model: a tensor has the name {quoted(name)}")
        path_of_module, _, tensor_name = name.rpartition(".")
        if tensor_name != IGNORED:
            module = modules.setdefault(path_of_module, _Module(path_of_module, {}))
            module.tensors[tensor_name] = tensors[name]
    return list(modules.values())


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that compares numbers by value: features.2 before features.10."""
    words = re.findall(r"[0-9]+|[^0-9.]+", name)
    # Of two numbers without leading zeros the longer one is larger; int() limits the number of digits.
    numbers = [word.lstrip("0") if word[0] in "0123456789" else None for word in words]
    return [
        (1, 0, word) if number is None else (0, len(number), number)
        for word, number in zip(words, numbers, strict=True)
    ]


def _groups(modules: list[_Module]) -> list[list[_Module]]:
    """Group the modules by the first part of their paths, in the most likely order of the layers."""
    groups: dict[str, list[_Module]] = {}
    for module in modules:
        first = module.path.partition(".")[0]
        groups.setdefault("" if first.isdigit() else first, []).append(module)
    return [groups[name] for name in sorted(groups, key=lambda n: (n.startswith(HEADS), _natural_key(n)))]


def _match_in_another_order(targets: list[_Target], groups: list[list[_Module]]) -> list[Match] | None:
    """Return the matches of the first order of the groups in which all modules fit, or None.

    A file does not store the order of the layers: bn1, bn2, conv1, conv2 may be conv1, bn1, conv2, bn2.
    """
    if sum(map(len, groups)) != len(targets):
        return None

    @cache
    def fits(group: int, start: int) -> list[Match] | None:
        modules = groups[group]
        try:
            return list(_match(targets[start : start + len(modules)], modules))
        except ValueError:
            return None

    @cache
    def search(remaining: tuple[int, ...], start: int) -> list[Match] | None:
        if not remaining:
            return [] if start == len(targets) else None
        for group in remaining if search.cache_info().misses < MAX_TRIES else ():
            if (matches := fits(group, start)) is None:
                continue
            others = tuple(other for other in remaining if other != group)
            if (rest := search(others, start + len(groups[group]))) is not None:
                return matches + rest
        return None

    return search(tuple(range(len(groups))), 0)


def _targets(model: Layer) -> Iterator[_Target]:
    """Yield the layers with parameters or buffers. Raises TypeError for a layer of any other class."""
    channels, flattened = 1, 1
    for layer in flat_layers(model):
        if isinstance(layer, Flatten):
            flattened = channels
        elif isinstance(layer, Conv2d):
            channels = layer.weight.shape[3]
            yield _Target(layer, 1)
        elif isinstance(layer, Linear):
            yield _Target(layer, flattened)
            channels = flattened = 1
        elif isinstance(layer, (BatchNorm1d, BatchNorm2d, LayerNorm)):
            yield _Target(layer, 1)
        elif layer.parameters():
            raise TypeError(
                f"load_torch cannot load weights into {layer!r}: it takes Conv2d, Linear, BatchNorm1d, "
                "BatchNorm2d and LayerNorm, in nested Sequentials"
            )


def _match(targets: list[_Target], modules: list[_Module]) -> Iterator[Match]:
    """Yield each parameter and buffer with its new value. Raises ValueError if a module does not fit."""
    for target, module in itertools.zip_longest(targets, modules):
        if module is None:
            raise ValueError(f"it has no weights for {target.layer!r}")
        if target is None:
            raise ValueError(f"it has {quoted(module.path)}, for which the model has no layer")
        layer = target.layer
        expected = {
            name: param for name, param in (*layer.named_parameters(), *layer.named_buffers()) if param.size
        }
        names = [_torch_name(name) for name in expected]
        if sorted(names) != sorted(module.tensors):
            raise ValueError(
                f"{quoted(module.path)} has {_listed(module.tensors)}, but {layer!r} needs {_listed(names)}"
            )
        for name, param in expected.items():
            tensor = module.tensors[_torch_name(name)]
            array = _to_fastnn_layout(target, name, tensor)
            if array is None or array.shape != param.shape or tensor.dtype.kind != "f":
                raise ValueError(
                    f"{quoted(f'{module.path}.{_torch_name(name)}')} is {tensor.dtype} {tensor.shape}, which "
                    f"does not fit the {name} {param.shape} of {layer!r}"
                )
            yield param, array


def _listed(names: Iterable[str]) -> str:
    """The names of tensors in one line, of at most ten tensors."""
    first, others = sorted(names)[:10], sorted(names)[10:]
    texts = [name if name.isidentifier() and len(name) < 100 else quoted(name) for name in first]
    return ", ".join(texts) + (f" and {len(others)} more" if others else "")


def _torch_name(name: str) -> str:
    """Return PyTorch's name of a fastnn parameter."""
    return {"gamma": "weight", "beta": "bias"}.get(name, name)


def _to_fastnn_layout(target: _Target, name: str, tensor: Array) -> Array | None:
    """Reorder the axes and rows of a PyTorch tensor for fastnn. Returns None if its shape cannot fit."""
    if name != "weight" or not isinstance(target.layer, (Conv2d, Linear)):
        return tensor
    if isinstance(target.layer, Conv2d):
        return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else None
    channels = target.flattened_channels
    if tensor.ndim != 2 or tensor.shape[1] % channels:
        return None
    outputs, inputs = tensor.shape
    by_channel = tensor.reshape(outputs, channels, inputs // channels)
    return np.ascontiguousarray(by_channel.transpose(2, 1, 0)).reshape(inputs, outputs)
