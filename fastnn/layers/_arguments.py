"""The arguments that make a layer: read from its attributes, and shown by `repr`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

INITIAL = frozenset(("weight_init", "bias_init"))
"""Arguments that only choose initial values: a layer does not remember them."""


class HasArguments(Protocol):
    def arguments(self) -> dict[str, Any]: ...


def parameters_of(kind: type) -> dict[str, inspect.Parameter]:
    """The parameters of the constructor of a layer class by name, without those of `INITIAL`."""
    signature = inspect.signature(kind)
    return {name: each for name, each in signature.parameters.items() if name not in INITIAL}


def fits(kind: type, arguments: Mapping[str, Any]) -> bool:
    """Whether the constructor of a class takes these arguments by name."""
    parameters = parameters_of(kind).values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = {each.name for each in parameters if each.default is each.empty and each.kind not in several}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    known = {each.name for each in parameters}
    return required <= arguments.keys() and (takes_any or arguments.keys() <= known)


def arguments_of(layer: HasArguments) -> dict[str, Any]:
    """The arguments that make an equal layer. Raises TypeError if they are not known."""
    arguments = layer.arguments()
    if fits(type(layer), arguments):
        return arguments
    # A subclass has inherited `arguments` from a layer with another constructor.
    return arguments_from_attributes(layer)


def arguments_from_attributes(layer: object) -> dict[str, Any]:
    """The arguments of the constructor, read from attributes of the same names.

    Raises TypeError if the layer has no such attribute, or if its constructor takes `**keywords`.
    """
    kind = type(layer)
    found = {}
    for name, parameter in parameters_of(kind).items():
        if parameter.kind is parameter.VAR_KEYWORD or not hasattr(layer, name):
            shown = f"**{name}" if parameter.kind is parameter.VAR_KEYWORD else name
            raise TypeError(
                f"{kind.__name__} does not keep its argument {shown}: assign it to an attribute of the same "
                "name in __init__, or define a method arguments() that returns all arguments as a dict"
            )
        value = getattr(layer, name)
        found[name] = value.name if isinstance(value, np.dtype) else value
    return found


def call_text(kind: type, arguments: Mapping[str, Any]) -> str:
    """The code that makes a layer, such as "Conv2d(1, 4, 3, padding=1)".

    The first argument is always there; others are left out if they have their default value.
    """
    shown: list[str] = []
    for place, (name, parameter) in enumerate(parameters_of(kind).items()):
        if name not in arguments:
            continue
        value, default = arguments[name], parameter.default
        if name == "dtype" and default is not parameter.empty:
            default = np.dtype(default).name
        if parameter.kind is parameter.VAR_POSITIONAL:
            shown += map(_text, value)
        elif place and default is not parameter.empty and _text(value) == _text(default):
            continue
        elif (
            parameter.kind is not parameter.KEYWORD_ONLY
            and place == len(shown)
            and _is_positional(place, parameter, value)
        ):
            shown.append(_text(value))
        else:
            shown.append(f"{name}={_text(value)}")
    return f"{kind.__name__}({', '.join(shown)})"


def _is_positional(place: int, parameter: inspect.Parameter, value: object) -> bool:
    """Whether an argument is clear without its name: the first, a required one, or a layer."""
    return place == 0 or parameter.default is parameter.empty or hasattr(value, "output_shape")


def _text(value: object) -> str:
    """The code of a value: of a float as short as it stays exact, such as 1 for 1.0."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return repr(value)
