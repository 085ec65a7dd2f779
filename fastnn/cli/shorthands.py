"""Parse the options of `fastnn train` that people write more shortly than jsonargparse expects."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Callable
from typing import Any

from fastnn.cli import own_settings, settings
from fastnn.cli.commands import sizes_of
from fastnn.cli.parser import ShorthandParser
from fastnn.optim.optimizers import OPTIMIZERS, Optimizer, optimizer_of


def shorthands_of(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Parse the options of `fastnn train` that jsonargparse would read differently from what users mean.

    jsonargparse expects --layers [784,10] in place of 784,10, and so on. With --optimizer Adam it would keep
    the learning rate of the preset's optimizer, which is 100 times Adam's default. --model selects the
    preset.

    Returns the parsed options by name, and the remaining words.
    """
    if words[:1] != ["train"]:
        return {}, words
    command = [word for word in words[:2] if not word.startswith("-")]
    parser = ShorthandParser(" ".join(["fastnn", *command]), add_help=False, allow_abbrev=False)
    parser.add_argument("--model", choices=settings.MODELS, default=argparse.SUPPRESS)
    presets = own_settings.ALL_PRESETS.get(words[1] if len(words) > 1 else "", settings.PRESETS["digits"])
    for name in own_settings.names_of_settings(presets["mlp"]):
        if name in LISTS:
            parser.add_argument(f"--{name}", type=LISTS[name], default=argparse.SUPPRESS)
    parser.add_argument("--optimizer", type=_optimizer, default=argparse.SUPPRESS)
    found, rest = parser.parse_known_args(words)
    return vars(found), rest


def _layers(text: str) -> tuple[int, ...]:
    """Parse --layers 784,128,10."""
    try:
        return sizes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _sides(text: str) -> tuple[int, ...]:
    """Parse --size 32x32, or --size 32 for a square."""
    sides = re.fullmatch(r"(\d{1,6})(?:[x*,](\d{1,6}))?", text.strip("[]()").replace(" ", ""))
    if sides is None:
        raise argparse.ArgumentTypeError(f"sides must be height x width, such as 32x32, not {text!r}")
    return int(sides[1]), int(sides[2] or sides[1])


def _names(text: str) -> tuple[str, ...]:
    """Parse --drop Name,Ticket."""
    return tuple(text.split(","))


# The settings that are lists, with the functions that parse their options.
LISTS: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "layers": _layers,
    "hidden": _layers,
    "size": _sides,
    "image": _sides,
    "drop": _names,
    "categorical": _names,
}


def _optimizer(name: str) -> dict[str, Any]:
    """Parse --optimizer: the name of a fastnn optimizer, with its own defaults, or an import path."""
    if "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise argparse.ArgumentTypeError(f"cannot import {name}: {error}") from error
        if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
            raise argparse.ArgumentTypeError(f"{name} is no subclass of fastnn.Optimizer")
        return {"class_path": name}
    try:
        return settings.describe(optimizer_of(name.lower()))
    except ValueError as error:
        names = ", ".join(kind.__name__ for kind in OPTIMIZERS.values())
        raise argparse.ArgumentTypeError(
            f"unknown optimizer {name!r}: choose one of {names}, or give the import path of a class"
        ) from error
