"""The layout of `fastnn --help`: one line of usage, then each option with its default in words."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonargparse

# What an option takes, by the type of its parameter in Python.
METAVARS = {"int": "N", "PositiveInt": "N", "float": "X", "Path": "PATH"}
LISTS = {  # by name, because jsonargparse calls all of them [ITEM,...]
    **dict.fromkeys(("layers", "hidden"), "N,N,..."),
    **dict.fromkeys(("size", "image"), "HEIGHTxWIDTH"),
    **dict.fromkeys(("drop", "categorical"), "NAME,NAME,..."),
}


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """The formatter of jsonargparse, without the types of Python and without defaults that the text has."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._HelpAction) and action.option_strings[0] == "-h":
            return "Show this help."
        text, default = action.help or "", action.default
        says_it = not action.option_strings or "efault:" in text or action.nargs == 0
        if says_it or default is None or default in ("", (), [], argparse.SUPPRESS):
            return text
        return f"{text.removesuffix('.')} (default: {_in_words(default)})."

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        # "float | null", "<class 'Path'>"
        name = (self._get_type_str(action) or "").partition(" |")[0].removeprefix("<class '").strip("'>")
        return METAVARS.get(name, action.dest.rpartition(".")[2].upper())

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Any:
        name = action.dest.rpartition(".")[2]
        if name in LISTS:
            return lambda size: (LISTS[name],)
        return super()._metavar_formatter(action, default_metavar)

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):
            return super()._format_action(action)
        return "".join(map(self._format_action, self._iter_indented_subactions(action)))

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None, **options: Any) -> str:
        """One line: the command, its arguments, the options that it needs; the other options follow below."""
        words = [self._prog.replace(" [options]", "")]
        for action in actions:
            if isinstance(action, argparse._SubParsersAction):
                words.append(action.dest.rpartition(".")[2].upper())
            elif not action.option_strings or action.required:
                words += [*action.option_strings[-1:], self._format_args(action, action.dest.upper())]
        line = f"{' '.join(words)} [options]\n\n"
        return f"usage: {line}" if prefix is None else line


def _in_words(default: Any) -> str:
    """A default as it is written on the command line; an optimizer as in Python."""
    if isinstance(default, jsonargparse.Namespace):
        default = default.as_dict()
    if isinstance(default, Mapping) and "class_path" in default:
        arguments = ", ".join(f"{name}={value}" for name, value in default.get("init_args", {}).items())
        return f"{default['class_path'].rpartition('.')[2]}({arguments})"
    if isinstance(default, (tuple, list)):  # of layers, or of Adam's betas
        is_of_layers = all(isinstance(each, int) for each in default)
        return ",".join(map(str, default)) if is_of_layers else str(list(default))
    return str(default) if isinstance(default, (str, int, float, Path)) else repr(default)
