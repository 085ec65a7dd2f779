"""Describe the architecture of a model as plain data, and build a model from such a description.

A description is a dict of JSON values: the class of a layer, and the arguments of its constructor, in which
inner layers are descriptions in turn. That of `Sequential(Linear(4, 3), ReLU())` is

    {"layer": "Sequential", "arguments": {"layers": [
        {"layer": "Linear", "arguments": {"in_features": 4, "out_features": 3, "bias": True, ...}},
        {"layer": "ReLU", "arguments": {}}]}}

A layer of a user's own class has `"custom": True` as well. A layer object that occurs again is `{"same_as":
n}`: the layer that was finished as number n, counted from 0, where inner layers finish before outer ones.
JSON has one kind of list: lists and tuples among the arguments come back as tuples.

Only the classes in `LAYERS`, and those that the caller passes as `custom`, are ever called: a description may
come from anyone.
"""

from __future__ import annotations

import inspect
import reprlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnn import layers
from fastnn._schema import anything, check_fields, each, text
from fastnn._validation import FLOATS, Array
from fastnn.init import Initializer
from fastnn.layers import Layer
from fastnn.layers._arguments import INITIAL, arguments_of, parameters_of

Spec = dict[str, Any]
Custom = Mapping[str, type[Layer]]

# Every public layer but the abstract ones and `Elementwise`, which is made of functions.
LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        layers.AvgPool1d,
        layers.AvgPool2d,
        layers.BatchNorm1d,
        layers.BatchNorm2d,
        layers.Conv1d,
        layers.Conv2d,
        layers.ConvTranspose2d,
        layers.Dropout,
        layers.ELU,
        layers.Embedding,
        layers.Flatten,
        layers.GELU,
        layers.GlobalAvgPool1d,
        layers.GlobalAvgPool2d,
        layers.GroupNorm,
        layers.Identity,
        layers.LayerNorm,
        layers.LeakyReLU,
        layers.Linear,
        layers.MaxPool1d,
        layers.MaxPool2d,
        layers.ReLU,
        layers.Reshape,
        layers.Residual,
        layers.Sequential,
        layers.SiLU,
        layers.Sigmoid,
        layers.Softmax,
        layers.Tanh,
    )
}

DTYPES = tuple(dtype.name for dtype in FLOATS)
MOST_NESTED = 64  # values within values; Python allows about 1000 calls within calls
MOST_LAYERS = 100_000


def describe(model: Layer) -> Spec:
    """Describe the architecture of a model as JSON values: everything but the weights.

    Raises TypeError, which names the layer, if it does not tell its arguments (`Layer.arguments`) or if one
    of them is no number, text, layer, None, or list of those; ValueError if the model is nested too deeply.
    """
    return _Describer().layer(model, "model", 0)


def build(spec: Any, custom: Custom | None = None) -> Layer:
    """Build the model that `describe` described, with weights of 0.

    `custom` has the classes of the user's own layers by name. Raises ValueError, which names the layer, if
    the description is not valid.
    """
    return _Builder(check_custom(custom)).layer(spec, "model", 0)


def check_custom(custom: Custom | None) -> Custom:
    """Return `custom`, or an empty dict for None. Raises TypeError unless it has layer classes by name."""
    known: Any = {} if custom is None else custom
    if not isinstance(known, Mapping) or not all(
        isinstance(name, str) and isinstance(kind, type) and issubclass(kind, Layer)
        for name, kind in known.items()
    ):
        raise TypeError(
            f'custom must be a dict of layer classes by name, such as {{"Scale": Scale}}, not {custom!r}'
        )
    return known


class _Describer:
    """Describes one model; remembers its layers, to describe each once."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def layer(self, layer: Layer, where: str, depth: int) -> Spec:
        if id(layer) in self._numbers:
            return {"same_as": self._numbers[id(layer)]}
        kind = type(layer)
        try:
            arguments = arguments_of(layer)
        except TypeError as error:
            raise TypeError(f"{where}: {error}") from None
        spec: Spec = {"layer": kind.__name__}
        if LAYERS.get(kind.__name__) is not kind:
            spec["custom"] = True
        spec["arguments"] = {
            name: self._value(value, f"{where}.{name}", depth + 1) for name, value in arguments.items()
        }
        self._numbers[id(layer)] = len(self._numbers)
        return spec

    def _value(self, value: Any, where: str, depth: int) -> Any:
        _check_depth(depth, where)
        if isinstance(value, Layer):
            return self.layer(value, where, depth)
        if isinstance(value, (list, tuple)):
            return [self._value(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
        if isinstance(value, np.dtype):
            return value.name
        if isinstance(value, np.generic):
            value = value.item()
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise TypeError(
                f"{where} is {reprlib.repr(value)}: a file holds numbers, text, layers and lists of those"
            )
        return value


class _Builder:
    """Builds one model; remembers its layers, which may occur again."""

    def __init__(self, custom: Custom) -> None:
        self._custom = custom
        self._built: list[Layer] = []

    def layer(self, spec: Any, where: str, depth: int) -> Layer:
        if isinstance(spec, Mapping) and "same_as" in spec:
            return self._earlier(spec["same_as"], where)
        check_fields(spec, {"layer": text, "arguments": each(anything)}, where)
        kind = self._kind(spec, where)
        arguments = self._arguments(kind, spec["arguments"], where, depth)
        call = inspect.BoundArguments(inspect.signature(kind), OrderedDict(arguments))
        try:
            layer = kind(*call.args, **call.kwargs)
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"{where} is not a valid {kind.__name__}: {error}") from error
        if len(self._built) >= MOST_LAYERS:
            raise ValueError(f"the model has more than {MOST_LAYERS:,} layers")
        self._built.append(layer)
        return layer

    def _earlier(self, number: Any, where: str) -> Layer:
        if type(number) is not int or not 0 <= number < len(self._built):
            raise ValueError(
                f"{where} is the same layer as number {reprlib.repr(number)}, of {len(self._built)} before it"
            )
        return self._built[number]

    def _kind(self, spec: Mapping[str, Any], where: str) -> type[Layer]:
        name, is_custom = spec["layer"], spec.get("custom", False)
        known = self._custom if is_custom else LAYERS
        if name in known:
            return known[name]
        shown = reprlib.repr(name)
        hint = f"pass its class, custom={{{shown}: ...}}"
        if is_custom:
            raise ValueError(f"{where} is a layer of a user's own class {shown}: {hint}")
        raise ValueError(
            f"{where} is a layer {shown}, which fastnn does not have: it has {', '.join(LAYERS)}. If it is a "
            f'layer of your own, its description needs "custom": true; then {hint}'
        )

    def _arguments(
        self, kind: type[Layer], values: Mapping[str, Any], where: str, depth: int
    ) -> dict[str, Any]:
        """The arguments of the constructor, by the names of its parameters."""
        parameters, is_own = parameters_of(kind), kind in LAYERS.values()
        if is_own and values.get("dtype", "float32") not in DTYPES:  # NumPy would parse a whole language
            raise ValueError(f"{where}.dtype must be float32 or float64, not {reprlib.repr(values['dtype'])}")
        arguments: dict[str, Any] = (
            dict.fromkeys(INITIAL & inspect.signature(kind).parameters.keys(), _NoValues()) if is_own else {}
        )
        keywords = next((name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD), None)
        for name, value in values.items():
            built = self._value(value, f"{where}.{name}", depth + 1)
            if name in parameters and name != keywords:
                if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL and not isinstance(built, tuple):
                    raise ValueError(f"{where}.{name} must be a list, got {reprlib.repr(value)}")
                arguments[name] = built
            elif keywords is not None:
                arguments.setdefault(keywords, {})[name] = built
            else:
                raise ValueError(
                    f"{where}: {kind.__name__} has no argument {reprlib.repr(name)}, but "
                    f"{', '.join(parameters) or 'none'}"
                )
        return arguments

    def _value(self, value: Any, where: str, depth: int) -> Any:
        _check_depth(depth, where)
        if isinstance(value, Mapping):
            return self.layer(value, where, depth)
        if isinstance(value, list):
            return tuple(
                self._value(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)
            )
        return value


class _NoValues(Initializer):
    """Sets every element to 0 and draws no random numbers: the weights come from a file."""

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return np.zeros(shape)


def _check_depth(depth: int, where: str) -> None:
    if depth > MOST_NESTED:
        raise ValueError(f"{where:.100}... is nested deeper than {MOST_NESTED} layers and lists")
