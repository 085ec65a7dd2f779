"""The argument parser of `fastnn`: its errors take two lines, and its options are written with dashes."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import jsonargparse

from fastnn.cli.help import HelpFormatter
from fastnn.optim.optimizers import OPTIMIZERS

KINDS = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text", "Path": "a path"}
OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w.-]*")


class ArgumentParser(jsonargparse.ArgumentParser):
    """A parser of jsonargparse with shorter help, and shorter errors, which name the nearest option."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": HelpFormatter, **keywords})

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        return OPTION.sub(lambda option: option[0].replace("_", "-"), super().format_help(formatter))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and how to get help, and exit with code 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        if not program.startswith("fastnn"):  # jsonargparse's own parser of the optimizer's arguments
            program = "fastnn train"
        fail(program, _explained(message, parser))


class ShorthandParser(argparse.ArgumentParser):
    """A parser of a few options, whose errors look like those of `ArgumentParser`."""

    def error(self, message: str) -> NoReturn:
        name, _, problem = message.removeprefix("argument ").partition(": ")
        fail(self.prog, f"{name}: {_explained(problem, self)}")


def fail(program: str, problem: str) -> NoReturn:
    """Print a usage error and how to get help, and exit with code 2."""
    print(f"{program}: error: {problem}", file=sys.stderr)
    print(f"{program} --help lists what is accepted", file=sys.stderr)
    raise SystemExit(2)


def _explained(message: str, parser: argparse.ArgumentParser) -> str:
    """Say in one line what a message of jsonargparse or argparse means."""
    if found := re.search(r"unrecognized arguments: (.*)", message):
        first = found[1].split()[0]
        if not first.startswith("--"):
            return f"unexpected argument {found[1]}"
        name = first.partition("=")[0]
        return f"unknown option {name.replace('_', '-')}{_nearest(name, _options(parser))}"
    if found := re.search(r"Option '(\w+)' is not accepted", message):
        name = f"--optimizer.{found[1]}"
        if name in _optimizer_options():
            return f"{name.replace('_', '-')} is an option of another optimizer"
        return f"unknown option {name.replace('_', '-')}{_nearest(name, _optimizer_options())}"
    if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
        choices = found[2].replace("'", "").split(", ")
        hint = _nearest(found[1], choices)
        return f"unknown {found[1]!r}{hint or ': choose one of ' + ', '.join(choices)}"
    if found := re.search(r"required: (.*)", message):
        names = [name.rpartition(".")[2] for name in found[1].split(", ")]
        return f"missing {', '.join(names)}"
    if found := re.search(r'expected "([\w.]+)" to be one of {(.*?)}', message):
        names = found[2].split(",")
        if "..." in found[2]:  # cut by jsonargparse
            names = next(
                list(a.choices) for a in parser._actions if isinstance(a, argparse._SubParsersAction)
            )
        return f"missing {found[1].rpartition('.')[2]}: choose one of {', '.join(names)}"
    key = re.search(r'Parser key "([\w.]+)"', message)
    value = re.search(r"(?:Got|Given) value: (.*)", message)
    kinds = [
        KINDS[name]
        for name in re.findall(r"Expected an? <class '(?:\w+\.)*(\w+)'>", message)
        if name in KINDS
    ]
    if key and value and kinds:
        prefix = "--" if parser.prog.startswith("fastnn") else "--optimizer."
        option = prefix + key[1].rpartition(".")[2].replace("_", "-")
        return f"{option} must be {' or '.join(kinds)}, not {value[1]!r:.60}"
    if key and "Not of type PositiveInt" in message:
        return f"--{key[1].rpartition('.')[2].replace('_', '-')} must be an integer of at least 1"
    return " ".join(message.split())


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Every option of the parser, and --optimizer.lr and so on where it has --optimizer.help."""
    options = [option for option in parser._option_string_actions if option.startswith("--")]
    return options + (_optimizer_options() if "--optimizer.help" in options else [])


def _optimizer_options() -> list[str]:
    arguments = {name for kind in OPTIMIZERS.values() for name in inspect.signature(kind).parameters}
    return [f"--optimizer.{name}" for name in sorted(arguments)]


def _nearest(word: str, names: Iterable[str]) -> str:
    """Return ": did you mean ...?", or "" if no name resembles the word.

    A name whose last part is the word (--optimizer.lr for --lr) comes before names of similar spelling.
    """
    spelled = {name.lower().replace("_", "-"): name for name in names}
    wanted = word.lower().replace("_", "-")
    found = [name for name in spelled if name.rpartition(".")[2] == wanted.lstrip("-") and "." in name]
    found = found or difflib.get_close_matches(wanted, spelled, n=1, cutoff=0.65)
    return f": did you mean {found[0]}?" if found else ""
