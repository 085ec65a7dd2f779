"""Loads the weights of PyTorch models into models of fastnn, in its memory layout."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import numpy as np

from fastnn._validation import Array
from fastnn.channel_order import to_channels_last
from fastnn.feeding import sample_shape
from fastnn.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    Reshape,
)
from fastnn.layers.sequential import flat_layers
from fastnn.nets.torch_files import read_torch_tensors
from fastnn.param import Buffer, Param
from fastnn.weights import CheckpointError, quoted

# Modules with these name prefixes are sorted last; others by the numbers in their names.
HEADS = ("classifier", "fc", "head", "output")
IGNORED = "num_batches_tracked"
CONVOLUTIONS = (Conv1d, Conv2d, ConvTranspose2d)
# Layers whose tensors are the same in PyTorch, in another order where images are flattened.
AS_IN_PYTORCH = (BatchNorm1d, BatchNorm2d, Embedding, GroupNorm, LayerNorm)
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
    """A layer with parameters or buffers, and what is known of its input."""

    layer: Layer
    channels: int = 1
    """The channels of images or sequences; 1 if unknown."""
    flattened: int = 1
    """The channels of the images whose elements are the features; 1 if the order is that of PyTorch."""


def load_torch(model: Layer, path: str | os.PathLike[str]) -> None:
    """Load weights of a PyTorch model, such as torchvision's AlexNet, from a file into `model`.

    The file is a safetensors file or, if PyTorch is installed, one of `torch.save` (.pt, .pth) that holds a
    state_dict, alone or in a dict; it is read with `weights_only=True`, which runs no code. Half precision
    (float16, bfloat16) is converted. `from_torch` converts a module with its architecture.

    The modules of the file must correspond one to one to the layers of `model` with parameters or buffers. A
    safetensors file sorts its tensors by name. If the modules do not fit in the order of the file (conv1,
    conv2, fc), other orders are tried (bn1, bn2, conv1, conv2 as conv1, bn1, conv2, bn2).

    Filters (O, C, R, S) become (R, S, C, O), those of a transposed convolution, (C, O, R, S), become
    (R, S, O, C), and matrices (out, in) are transposed. Behind Flatten, or Reshape to one axis, the rows of
    a matrix and the values of norms are reordered from C, H, W to H, W, C, as are those of a LayerNorm of all
    axes of images. If the model begins with Flatten, its channels are those of its first training; a model
    that is not trained counts as one of images of one channel. Running statistics are loaded, too;
    `num_batches_tracked` is ignored.

    `model` may consist of Linear, Conv1d, Conv2d, ConvTranspose2d, Embedding, BatchNorm1d, BatchNorm2d,
    LayerNorm and GroupNorm, layers without parameters, and nested Sequentials.

    Raises FileNotFoundError if the file does not exist, TypeError if `model` has other layers with
    parameters, GroupNorm behind Flatten, or a Reshape to or from images of several channels, and
    `CheckpointError`, which names the tensor, if the file is damaged or does not fit, and which shows how to
    convert a file of `torch.save` without PyTorch. The model is unchanged then.
    """
    targets = list(_targets(model))
    tensors, is_in_order = read_torch_tensors(path)
    if is_in_order:
        with suppress(ValueError):
            return _assign(_match(targets, _modules(tensors, path)))
    groups = _groups(_modules({name: tensors[name] for name in sorted(tensors, key=_natural_key)}, path))
    try:
        matches = list(_match(targets, [module for modules in groups for module in modules]))
    except ValueError as error:
        reordered = _match_in_another_order(targets, groups)
        if reordered is None:
            raise CheckpointError(f"{path} does not fit the model: {error}") from error
        matches = reordered
    _assign(matches)


def _assign(matches: Iterable[Match]) -> None:
    """Set the parameters and buffers, after all of them have been matched."""
    for param, array in list(matches):
        param.value = array


def _modules(tensors: Mapping[str, Array], path: str | os.PathLike[str]) -> list[_Module]:
    """The modules of a file, in the order of their first tensors."""
    modules: dict[str, _Module] = {}
    for name in tensors:
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
    """Yield the layers with parameters or buffers. Raises TypeError for a layer that has no counterpart."""
    shape = sample_shape(model) or ()
    channels, flattened = shape[2] if len(shape) == 3 else 1, 1  # channels: 0 for features
    for layer in flat_layers(model):
        if isinstance(layer, Flatten) or (isinstance(layer, Reshape) and len(layer.shape) == 1):
            flattened = max(channels, 1)
        elif isinstance(layer, Reshape) and len(layer.shape) == 3:
            if channels > 1 or layer.shape[2] != 1:
                raise _refused(layer, "images of several channels have another order in PyTorch")
            channels = 1
        elif isinstance(layer, (GlobalAvgPool1d, GlobalAvgPool2d)):
            channels = 0
        elif isinstance(layer, CONVOLUTIONS):
            yield _Target(layer)
            channels, flattened = layer.out_channels, 1
        elif isinstance(layer, Linear):
            yield _Target(layer, flattened=flattened)
            channels, flattened = 0, 1
        elif isinstance(layer, AS_IN_PYTORCH):
            if isinstance(layer, GroupNorm) and flattened not in (1, layer.channels):
                raise _refused(layer, "the groups of a flattened image are other elements in PyTorch")
            yield _Target(layer, channels, flattened)
            if isinstance(layer, BatchNorm2d) or (isinstance(layer, GroupNorm) and channels):
                channels = layer.channels
            elif isinstance(layer, LayerNorm) and len(layer.shape) == 3:
                channels = layer.shape[2]
        elif layer.parameters():
            raise _refused(
                layer,
                "it takes Linear, Conv1d, Conv2d, ConvTranspose2d, Embedding, BatchNorm1d, BatchNorm2d, "
                "LayerNorm and GroupNorm, in nested Sequentials",
            )


def _refused(layer: Layer, reason: str) -> TypeError:
    kind = "weights into" if layer.parameters() else "a model with"
    return TypeError(f"load_torch cannot load {kind} {layer!r}: {reason}")


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
    layer, channels = target.layer, target.flattened
    if isinstance(layer, CONVOLUTIONS) and name == "weight":
        sides = tuple(range(2, tensor.ndim))
        return tensor.transpose(*sides, 1, 0) if tensor.ndim == len(layer.weight.shape) else None
    if isinstance(layer, Linear) and name == "weight":
        return _by_channel(tensor.T, channels) if tensor.ndim == 2 else None
    if isinstance(layer, LayerNorm) and (tensor.ndim == 3 or (tensor.ndim == 2 and target.channels > 1)):
        return np.ascontiguousarray(np.moveaxis(tensor, 0, -1))  # the channels are first in PyTorch
    if isinstance(layer, (BatchNorm1d, LayerNorm)) and tensor.ndim == 1:
        return _by_channel(tensor, channels)
    return tensor


def _by_channel(features: Array, channels: int) -> Array | None:
    """Move the channels last in a first axis of flattened images; None if they do not divide it."""
    if len(features) % channels:
        return None
    return features[to_channels_last((channels, len(features) // channels))]
