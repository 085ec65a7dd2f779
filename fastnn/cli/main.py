"""The command line: `fastnn train`, and the commands of `fastnn.cli.commands`.

Here arguments become calls. The types, the defaults and the help of most options come from signatures and
docstrings, by jsonargparse. What a training run does is in `fastnn.cli.train_run`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from fastnn import __version__, show_config
from fastnn.cli import commands, settings, train_run
from fastnn.data import DatasetNotFoundError
from fastnn.optim.optimizers import OPTIMIZERS, optimizer_of
from fastnn.training.trainer import NonFiniteError

DONE, FAILED, MISSING_DATA, INTERRUPTED = 0, 1, 3, 130  # and 2, argparse's, for usage errors


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default this process's); returns the exit code.

    0 done, 1 failed, 3 a data set is missing, 130 interrupted by Ctrl-C. Usage errors raise SystemExit
    with the code 2, as --help and --version do with 0.
    """
    words = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    try:
        _parse(words)()
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except DatasetNotFoundError as error:
        return _failed(f"error: {error}", MISSING_DATA)
    # What users can mend; any other exception is a bug and keeps its traceback.
    except (ValueError, OSError, ImportError, NonFiniteError) as error:
        return _failed(f"error: {error}", FAILED)
    return DONE


def _failed(message: str, code: int) -> int:
    print(f"fastnn: {message}", file=sys.stderr)
    return code


def _parse(words: list[str]) -> Callable[[], object]:
    """What the command line asks for, to be called. Leaves with SystemExit as `main` says."""
    given, words = _configuration(words)
    shorthands, words = _shorthands(words)
    parser = _parser(shorthands, given)
    options = parser.parse_args(words)
    if options.command == "config":
        return show_config
    if options.command != "train":
        return partial(getattr(commands, options.command), **options[options.command].as_dict())
    dataset = options.train.dataset
    try:
        chosen = parser.instantiate(options).train[dataset].as_dict()
        files = ("out", "overwrite", "resume", "no_download")
        out, overwrite, resume, no_download = map(chosen.pop, files)
        wanted = settings.Settings(dataset, **chosen)
    except ValueError as error:  # an unknown activation, a negative learning rate, ...
        parser.error(str(error))
    return partial(
        train_run.train, wanted, out=out, overwrite=overwrite, resume=resume, download=not no_download
    )


def _parser(shorthands: dict[str, Any], given: settings.Settings | None) -> ArgumentParser:
    """The parser; `shorthands` are defaults in place of those of a preset or of the settings `given`."""
    parser = ArgumentParser(
        "fastnn", description="Train small neural networks on a CPU.", version=__version__
    )
    subcommands = parser.add_subcommands(dest="command")

    train = ArgumentParser(description="Train a network and write what comes out into a folder.")
    subcommands.add_subcommand("train", train, help="Train a network.")
    datasets = train.add_subcommands(dest="dataset")
    for name, presets in settings.PRESETS.items():
        preset = presets[shorthands.get("model", "mlp")]
        if given is not None and given.dataset == name:
            preset = given
        datasets.add_subcommand(name, _train_parser(name, preset, shorthands), help=f"Train on {name}.")

    complexity = ArgumentParser(
        description="Time one gradient weight by weight and by backpropagation, over growing nets."
    )
    complexity.add_function_arguments(commands.complexity, skip={"quick"})
    complexity.add_argument("--quick", action="store_true", help="Small nets, two rounds: some ten seconds.")
    subcommands.add_subcommand("complexity", complexity, help="Show what backpropagation saves.")

    sweep = ArgumentParser(
        description="Train at each point of a grid of settings with several seeds, and compare."
    )
    sweep.add_argument("config", type=Path, help="A YAML file of settings, or the config.json of a run.")
    sweep.add_argument(
        "--grid",
        nargs="+",
        required=True,
        metavar="SETTING=VALUE,...",
        help="A setting and its values, such as optimizer.lr=0.1,0.3; several: all combinations.",
    )
    sweep.add_function_arguments(commands.sweep, skip={"config", "grid", "resume", "no_download"})
    sweep.add_argument("--resume", action="store_true", help="Go on with the sweep in --out that was ended.")
    sweep.add_argument("--no_download", action="store_true", help="Do not download missing data.")
    subcommands.add_subcommand("sweep", sweep, help="Train at each point of a grid of settings.")

    comparison = ArgumentParser(description="Print which library was how fast in a benchmark run.")
    comparison.add_function_arguments(commands.compare, as_positional=True)
    subcommands.add_subcommand("compare", comparison, help="Compare libraries in a benchmark run.")

    curves = ArgumentParser(description="Draw a curve of several runs, with its deviation over seeds.")
    curves.add_argument("runs", type=Path, nargs="+", help="The folders of the runs.")
    curves.add_function_arguments(commands.curves, skip={"runs", "log"})
    curves.add_argument("--log", action="store_true", help="Make the axis logarithmic.")
    subcommands.add_subcommand("curves", curves, help="Draw a curve of several runs.")

    picture = ArgumentParser(description="Draw a picture of a run that fastnn train has written.")
    picture.add_function_arguments(commands.picture, as_positional=True)
    subcommands.add_subcommand("picture", picture, help="Draw a picture of a training run.")

    profile = ArgumentParser(description="Print where the time of one training step goes.")
    profile.add_function_arguments(commands.profile)
    subcommands.add_subcommand("profile", profile, help="Show where the time of a training step goes.")

    probe = ArgumentParser(
        description="Print the peak of multiply-adds and the bandwidth of each memory level."
    )
    probe.add_argument(
        "--threads", type=PositiveInt, nargs="+", help="Columns; by default 1 and all there are."
    )
    probe.add_argument(
        "--fresh", action="store_true", help="Measure again what was kept from an earlier run."
    )
    subcommands.add_subcommand("probe", probe, help="Show how fast this machine is at best.")

    config = ArgumentParser(description="Print versions, backend, instruction set and threads.")
    subcommands.add_subcommand("config", config, help="Print versions, backend, instruction set and threads.")
    return parser


def _train_parser(dataset: str, preset: settings.Settings, shorthands: dict[str, Any]) -> ArgumentParser:
    parser = ArgumentParser(
        description=f"Train on {dataset}; the folder it writes is described in fastnn/cli/train_run.py."
    )
    parser.add_class_arguments(settings.Settings, skip={"dataset"})
    defaults = {**vars(preset), "optimizer": settings.describe(preset.optimizer), **shorthands}
    del defaults["dataset"]
    parser.set_defaults(defaults)
    files = parser.add_argument_group("Files")
    files.add_argument("--out", type=Path, help="The folder to write to; by default a new one in runs/.")
    files.add_argument("--overwrite", action="store_true", help="Replace the run that --out holds.")
    files.add_argument(
        "--resume", action="store_true", help="Go on with the run in --out that was killed or interrupted."
    )
    files.add_argument("--no_download", action="store_true", help="Do not download missing data.")
    return parser


def _with_underscores(word: str) -> str:
    """--batch-size as --batch_size, the name of the setting."""
    return re.sub("^--[^=]+", lambda option: "--" + option[0][2:].replace("-", "_"), word)


def _configuration(words: list[str]) -> tuple[settings.Settings | None, list[str]]:
    """The settings of `fastnn train FILE`, and the words with its data set in the place of the file."""
    from fastnn.cli import settings_file

    if words[:1] != ["train"] or len(words) < 2 or not settings_file.is_file_name(words[1]):
        return None, words
    found = settings_file.read(Path(words[1]))
    return found, ["train", found.dataset, *words[2:]]


def _shorthands(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The settings of `fastnn train` that jsonargparse cannot read as people write them, and the rest.

    It wants --layers [784,10]. And --optimizer Adam alone would keep the learning rate of the preset's
    optimizer, which is 100 times Adam's own. --model decides on the preset itself.
    """
    if words[:1] != ["train"]:
        return {}, words
    parser = argparse.ArgumentParser(
        "fastnn train", usage="fastnn train --help", add_help=False, allow_abbrev=False
    )
    parser.add_argument("--model", choices=settings.MODELS, default=argparse.SUPPRESS)
    parser.add_argument("--layers", type=_layers, default=argparse.SUPPRESS)
    parser.add_argument("--optimizer", type=_optimizer, default=argparse.SUPPRESS)
    found, rest = parser.parse_known_args(words)
    return vars(found), rest


def _layers(text: str) -> tuple[int, ...]:
    """784,128,10 as numbers."""
    try:
        return commands.sizes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _optimizer(name: str) -> dict[str, Any]:
    """An optimizer of fastnn with its own defaults, or a class by its import path."""
    if "." in name:
        return {"class_path": name}
    try:
        return settings.describe(optimizer_of(name.lower()))
    except ValueError as error:
        names = ", ".join(kind.__name__ for kind in OPTIMIZERS.values())
        raise argparse.ArgumentTypeError(f"{name!r} is none of {names}, nor an import path") from error
