"""Read the settings of a training run from a YAML or JSON file, and grids and seeds from option values.

A settings file looks like this::

    dataset: mnist                                      # required
    layers: [784, 128, 64, 10]
    optimizer: {name: sgd, lr: 0.1, momentum: 0.9}      # or only a name, or only some arguments
    epochs: 5

For the user's own data, `dataset` is table or folder, and `path` names the CSV file or the folder.
`settings.Settings` and `own_settings` document the names. A setting that the file leaves out has the default
of the data set and model. The config.json of a run is such a file, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastnn._validation import choose
from fastnn.cli.own_settings import ALL_PRESETS, names_of_settings
from fastnn.cli.settings import Settings, describe, optimizer_named
from fastnn.optim.optimizers import Optimizer

Values = Mapping[str, Any]

MAX_BYTES, MAX_DEPTH = 100_000, 10
SIZES = ("layers", "hidden")  # settings whose values are the sizes of layers
SUFFIXES = (".yaml", ".yml", ".json")


def is_file_name(word: str) -> bool:
    """Whether a word of the command line is the name of a settings file."""
    return word.lower().endswith(SUFFIXES)


def read(path: Path) -> Settings:
    """Read the settings in a file.

    Raises ValueError, with the name of the file, if the file is not YAML or a setting is invalid, and OSError
    if the file cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)  # no more, because the file may be /dev/zero
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES:,} bytes: it is not a settings file")
    try:
        values = parse(content.decode())
    except ValueError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):  # the config.json of a run
        values = values["settings"]
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(
            f"{path} must map names to settings, such as `dataset: mnist`, not {reprlib.repr(values)}"
        )
    try:
        return settings_from(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def parse(text: str) -> Any:
    """Parse YAML, of which only plain values, lists and mappings are accepted.

    Aliases, which can stand for gigabytes, tags and deep nesting are refused before any value is built.
    Raises ValueError.
    """
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise ValueError("aliases (*name) and tags (!name) are not accepted: write the value itself")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"lists and mappings are nested more than {MAX_DEPTH} deep")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # also a date such as 2020-13-45
        raise ValueError(" ".join(str(error).split())) from None


def settings_from(values: Values) -> Settings:
    """Return the preset of the data set and model that `values` name, changed by the other values.

    Raises ValueError if "dataset" is missing, or as `changed`.
    """
    if "dataset" not in values:
        raise ValueError(f"dataset is missing: choose one of {', '.join(sorted(ALL_PRESETS))}")
    presets = choose(values["dataset"], ALL_PRESETS, "dataset")
    return changed(choose(values.get("model", "mlp"), presets, "model"), values)


def changed(settings: Settings, values: Values) -> Settings:
    """Return a copy of `settings` with these values; "optimizer.lr" changes an argument of the optimizer.

    Raises ValueError for an unknown name or an invalid value.
    """
    hints = typing.get_type_hints(type(settings))
    kinds = {name: hints[name] for name in names_of_settings(settings)}
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
            raise ValueError(f"unknown setting {name!r:.60}: {hint}")
    if arguments:
        changes["optimizer"] = _optimizer(arguments, changes.get("optimizer", settings.optimizer))
    return dataclasses.replace(settings, **changes)


def grid(words: Iterable[str]) -> dict[str, list[Any]]:
    """Parse the words of --grid: ["optimizer.lr=0.1,0.3"] gives {"optimizer.lr": [0.1, 0.3]}.

    The sizes of layers are joined by hyphens: ["hidden=32,64-16"] gives {"hidden": [[32], [64, 16]]}.

    Raises ValueError for a word of another form, and for a setting that occurs twice.
    """
    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if name in SIZES and equals:
            text = _lists_of_sizes(name, text)
        try:
            values = parse(f"[{text}]")
        except ValueError:
            values = []
        if not (name and equals and values) or None in values:
            raise ValueError(
                "--grid takes a setting and its values, such as optimizer.lr=0.1,0.3 or hidden=32,64-32, not "
                f"{word!r:.60}"
            )
        if name in found:
            raise ValueError(f"--grid has {name!r} twice: give all its values at once")
        found[name] = [_number(value) for value in values]
    return found


def _lists_of_sizes(name: str, text: str) -> str:
    """Return the lists of "32,64-16,[8]" in brackets: "[32],[64,16],[8]". Raises ValueError."""
    networks = re.split(r",(?![^[]*\])", text)  # at the commas outside of brackets
    if not all(re.fullmatch(r"\d+(-\d+)*|\[[^][]*\]", network) for network in networks):
        raise ValueError(
            f"--grid {name} takes the sizes of the layers, joined by hyphens, of each network to try: "
            f"{name}=32,64-32 stands for one layer of 32, and for layers of 64 and 32, as does "
            f"{name}=[32],[64,32]; got {name}={text:.60}"
        )
    return ",".join(each if each[0] == "[" else f"[{each.replace('-', ',')}]" for each in networks)


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
            f"optimizer must be a name or a mapping such as {{name: sgd, lr: 0.1}}, not {value!r:.60}"
        )
    if "class_path" in value:
        given = value.get("init_args") or {}
        if not isinstance(given, Mapping):
            raise ValueError(f"init_args must be a mapping such as {{lr: 0.1}}, not {given!r:.60}")
        value = {"name": value["class_path"], **given}
    arguments = {name: _number(each) for name, each in value.items() if name != "name"}
    start = optimizer_named(str(value["name"])) if "name" in value else before
    kind: Callable[..., Optimizer] = type(start)
    known = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in known:
            raise ValueError(
                f"{type(start).__name__} has no argument {argument!r:.60}: choose one of {', '.join(known)}"
            )
    arguments = {**describe(start)["init_args"], **arguments}
    try:
        return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in arguments.items()})
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
    if isinstance(kind, types.UnionType):  # such as float | None
        if value is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if typing.get_origin(kind) is tuple:  # layers, or names of columns
        item = typing.get_args(kind)[0]
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            example = "[784, 128, 10]" if item is int else "[first, second]"
            raise ValueError(f"{name} must be a list such as {example}, not {value!r:.60}")
        return tuple(_converted(f"each of {name}", each, item) for each in items)
    if kind in (str, bool) and isinstance(value, kind):
        return value
    if name == "test" and isinstance(value, float):  # a fraction or a path
        return str(value)
    number = _number(value)
    fits = isinstance(number, (int, float)) and not isinstance(number, bool)
    if fits and (kind is float or (kind is int and number % 1 == 0)):
        with contextlib.suppress(OverflowError):  # an integer of 400 digits is no float
            return kind(number)
    words = {int: "an integer", float: "a number", str: "a name", bool: "true or false"}
    raise ValueError(f"{name} must be {words[kind]}, not {value!r:.60}")
