"""Read the settings of a training run from a YAML or JSON file, and grids and seeds from option values.

A settings file looks like this::

    dataset: mnist                                      # required
    layers: [784, 128, 64, 10]
    optimizer: {name: sgd, lr: 0.1, momentum: 0.9}      # or only a name, or only some arguments
    epochs: 5

`settings.Settings` documents the names. A setting that the file leaves out has the default of the data set
and model. The config.json of a run is such a file, too.
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
    """Whether a word of the command line is the name of a settings file."""
    return word.lower().endswith(SUFFIXES)


def read(path: Path) -> Settings:
    """Read the settings in a file.

    Raises ValueError, with the name of the file, if the file is not YAML or a setting is invalid, and OSError
    if the file cannot be read.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):  # the config.json of a run
        values = values["settings"]
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{path} must map names to settings, such as `dataset: mnist`, not {values!r:.60}")
    try:
        return settings_from(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def settings_from(values: Values) -> Settings:
    """Return the preset of the data set and model that `values` name, changed by the other values.

    Raises ValueError if "dataset" is missing, or as `changed`.
    """
    if "dataset" not in values:
        raise ValueError(f"dataset is missing: choose one of {', '.join(sorted(PRESETS))}")
    presets = choose(values["dataset"], PRESETS, "dataset")
    return changed(choose(values.get("model", "mlp"), presets, "model"), values)


def changed(settings: Settings, values: Values) -> Settings:
    """Return a copy of `settings` with these values; "optimizer.lr" changes an argument of the optimizer.

    Raises ValueError for an unknown name or an invalid value.
    """
    kinds = typing.get_type_hints(Settings)
    changes: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("optimizer."):
            arguments[name.removeprefix("optimizer.")] = value
        elif name == "optimizer":
            changes[name] = _optimizer(value, settings.optimizer)
        elif name in kinds:
            changes[name] = _converted(name, value, kinds[name])
        else:
            close = difflib.get_close_matches(name, kinds)
            hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(kinds)}"
            raise ValueError(f"unknown setting {name!r}: {hint}")
    if arguments:
        changes["optimizer"] = _optimizer(arguments, changes.get("optimizer", settings.optimizer))
    return dataclasses.replace(settings, **changes)


def grid(words: Iterable[str]) -> dict[str, list[Any]]:
    """Parse the words of --grid: ["optimizer.lr=0.1,0.3"] gives {"optimizer.lr": [0.1, 0.3]}.

    Raises ValueError for a word of another form, and for a setting that occurs twice.
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
                f"--grid takes a setting and its values, such as optimizer.lr=0.1,0.3, not {word!r}"
            )
        name = name.replace("-", "_")
        if name in found:
            raise ValueError(f"--grid has {name!r} twice: give all its values at once")
        found[name] = [_number(value) for value in values]
    return found


def seeds(text: str) -> list[int]:
    """Parse --seeds: "0:3" gives [0, 1, 2], "1,5" gives [1, 5]. Raises ValueError for any other form."""
    try:
        if ":" in text:
            return list(range(*map(int, text.split(":"))))
        return [int(number) for number in text.split(",")]
    except (ValueError, TypeError):
        raise ValueError(
            f"--seeds takes a range such as 0:3, or a list such as 0,1,2, not {text!r}"
        ) from None


def _optimizer(value: Any, before: Optimizer) -> Optimizer:
    """Build an optimizer from its value in a settings file.

    `value` is a name, a mapping of arguments with or without a name, or the dict that `describe` returns.
    Without a name, the optimizer `before` gets the new arguments.
    """
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise ValueError(
            f"optimizer must be a name or a mapping such as {{name: sgd, lr: 0.1}}, not {value!r}"
        )
    if "class_path" in value:
        value = {"name": value["class_path"], **(value.get("init_args") or {})}
    arguments = {name: _number(each) for name, each in value.items() if name != "name"}
    if "name" not in value:  # the same optimizer with other arguments
        described = describe(before)
    elif "." in str(value["name"]):
        described = {"class_path": value["name"], "init_args": {}}
    else:
        described = describe(optimizer_of(str(value["name"]).lower()))
    kind = optimizer_class(described["class_path"])
    known = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in known:
            raise ValueError(
                f"{kind.__name__} has no argument {argument!r}: choose one of {', '.join(known)}"
            )
    try:
        return optimizer_from({**described, "init_args": {**described["init_args"], **arguments}})
    except TypeError as error:
        raise ValueError(f"optimizer: {error}") from None


def _number(value: Any) -> Any:
    """Convert text that YAML should have read as a number: it takes 1e-3, without a point, for a string."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _converted(name: str, value: Any, kind: Any) -> Any:
    """Convert `value` to the type of the setting. Raises ValueError if that would change the value."""
    if isinstance(kind, types.UnionType):  # float | None
        if value is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if typing.get_origin(kind) is tuple:  # layers
        numbers = value.split(",") if isinstance(value, str) else value
        if not isinstance(numbers, (list, tuple)):
            raise ValueError(f"{name} must be a list such as [784, 128, 10], not {value!r}")
        return tuple(_converted(f"each of {name}", each, int) for each in numbers)
    if kind is str and isinstance(value, str):
        return value
    number = _number(value)
    fits = isinstance(number, (int, float)) and not isinstance(number, bool)
    if fits and (kind is float or (kind is int and number % 1 == 0)):
        return kind(number)
    words = {int: "an integer", float: "a number", str: "a name"}
    raise ValueError(f"{name} must be {words[kind]}, not {value!r}")
