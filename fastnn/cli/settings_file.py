"""Settings of a training from a YAML or JSON file, and from words of the command line.

    dataset: mnist                  # the defaults of the others are this data set's and model's
    layers: [784, 128, 64, 10]
    optimizer: {name: sgd, lr: 0.1, momentum: 0.9}      # or its name alone, or some of its arguments
    epochs: 5

The names are those of `settings.Settings`, which says what they mean. The config.json of a run is such a
file, too.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastnn._validation import choose
from fastnn.cli.settings import PRESETS, Settings, describe, optimizer_class, optimizer_from
from fastnn.optim.optimizers import Optimizer, optimizer_of

Values = Mapping[str, Any]

SUFFIXES = (".yaml", ".yml", ".json")


def is_file_name(word: str) -> bool:
    """Whether a word of the command line is the name of such a file."""
    return word.lower().endswith(SUFFIXES)


def read(path: Path) -> Settings:
    """The settings in a file. Raises ValueError, naming the file, for what cannot be meant; OSError."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):  # the config.json of a run
        values = values["settings"]
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path} must hold settings by name, such as `dataset: mnist`, not {values!r:.60}")
    try:
        return settings_from(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def settings_from(values: Values) -> Settings:
    """The settings of that name in place of the preset's of the data set and model that `values` name."""
    if "dataset" not in values:
        raise ValueError(f"dataset is missing: choose one of {', '.join(sorted(PRESETS))}")
    presets = choose(values["dataset"], PRESETS, "dataset")
    return changed(choose(values.get("model", "mlp"), presets, "model"), values)


def changed(settings: Settings, values: Values) -> Settings:
    """`settings` with these in their place; "optimizer.lr" is an argument of the optimizer.

    Raises ValueError for an unknown name and for a value that cannot be meant.
    """
    kinds = typing.get_type_hints(Settings)
    found: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("optimizer."):
            arguments[name.removeprefix("optimizer.")] = value
        elif name == "optimizer":
            found[name] = _optimizer(value, settings.optimizer)
        elif name in kinds:
            found[name] = _typed(name, value, kinds[name])
        else:
            close = difflib.get_close_matches(name, kinds)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(kinds)}"
            raise ValueError(f"unknown setting {name!r}: {hint}")
    if arguments:
        found["optimizer"] = _optimizer(arguments, found.get("optimizer", settings.optimizer))
    return dataclasses.replace(settings, **found)


def grid(words: Iterable[str]) -> dict[str, list[Any]]:
    """{"optimizer.lr": [0.1, 0.3]} of the word optimizer.lr=0.1,0.3, and of several such words.

    Raises ValueError for other words.
    """
    import yaml

    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            values = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError:
            values = []
        if not (name and equals and values) or None in values:
            raise ValueError(
                f"--grid wants a setting and its values, such as optimizer.lr=0.1,0.3, not {word!r}"
            )
        name = name.replace("-", "_")
        if name in found:
            raise ValueError(f"--grid names {name!r} twice: give all its values at once")
        found[name] = [_number(value) for value in values]
    return found


def seeds(text: str) -> list[int]:
    """[0, 1, 2] of 0:3, and [1, 5] of 1,5. Raises ValueError for other words."""
    try:
        if ":" in text:
            return list(range(*map(int, text.split(":"))))
        return [int(number) for number in text.split(",")]
    except (ValueError, TypeError):
        raise ValueError(
            f"--seeds wants a range such as 0:3, or numbers such as 0,1,2, not {text!r}"
        ) from None


def _optimizer(value: Any, before: Optimizer) -> Optimizer:
    """The optimizer that a file means: by its name, by some of its arguments, or as `describe` has it."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise ValueError(
            f"optimizer must be a name or a mapping such as {{name: sgd, lr: 0.1}}, not {value!r}"
        )
    if "class_path" in value:
        value = {"name": value["class_path"], **(value.get("init_args") or {})}
    arguments = {name: _number(each) for name, each in value.items() if name != "name"}
    if "name" not in value:  # the same with other arguments
        described = describe(before)
    elif "." in str(value["name"]):
        described = {"class_path": value["name"], "init_args": {}}
    else:
        described = describe(optimizer_of(str(value["name"]).lower()))
    kind = optimizer_class(described["class_path"])
    known = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in known:
            raise ValueError(f"{kind.__name__} has no argument {argument!r}: it has {', '.join(known)}")
    try:
        return optimizer_from({**described, "init_args": {**described["init_args"], **arguments}})
    except TypeError as error:
        raise ValueError(f"optimizer: {error}") from None


def _number(value: Any) -> Any:
    """YAML reads 1e-3, without a point, as a text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as the type of the setting; ValueError if it is no such thing."""
    if isinstance(kind, types.UnionType):  # float | None
        if value is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if typing.get_origin(kind) is tuple:  # layers
        numbers = value.split(",") if isinstance(value, str) else value
        if not isinstance(numbers, (list, tuple)):
            raise ValueError(f"{name} must be a list such as [784, 128, 10], not {value!r}")
        return tuple(_typed(f"each of {name}", each, int) for each in numbers)
    if kind is str and isinstance(value, str):
        return value
    number = _number(value)
    fits = isinstance(number, (int, float)) and not isinstance(number, bool)
    if fits and (kind is float or (kind is int and number % 1 == 0)):
        return kind(number)
    words = {int: "an integer", float: "a number", str: "a name"}
    raise ValueError(f"{name} must be {words[kind]}, not {value!r}")
