"""The command line: `fastnn train`, `fastnn compare`, `fastnn config`.

Here arguments become calls. The types, the defaults and the help of most options come from signatures and
docstrings, by jsonargparse. What a training run does is in `fastnn.runs`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from fastnn import __version__, runs, show_config
from fastnn.data import DatasetNotFoundError
from fastnn.optim import OPTIMIZERS, optimizer_of
from fastnn.train import NonFiniteError

OK, FAILED, MISSING_DATA, INTERRUPTED = 0, 1, 3, 130  # and 2, argparse's, for usage errors


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default this process's); returns the exit code.

    0 done, 1 failed, 3 a data set is missing, 130 interrupted by Ctrl-C. Usage errors raise SystemExit
    with the code 2, as --help and --version do with 0.
    """
    try:
        _run(_with_underscores(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except DatasetNotFoundError as error:
        return _failed(error, MISSING_DATA)
    # What users can mend; any other exception is a bug and keeps its traceback.
    except (ValueError, OSError, ImportError, NonFiniteError) as error:
        return _failed(error, FAILED)
    return OK


def _run(words: list[str]) -> None:
    shorthands, words = _shorthands(words)
    parser = _parser(shorthands)
    options = parser.parse_args(words)
    match options.command:
        case "train":
            dataset = options.train.dataset
            arguments = options.train[dataset].as_dict()
            files = {name: arguments.pop(name) for name in ("out", "overwrite", "download")}
            try:
                chosen = parser.instantiate(options).train[dataset]
                settings = runs.Settings(dataset, **{name: chosen[name] for name in arguments})
            except ValueError as error:  # e.g. an unknown activation, a negative learning rate
                parser.error(str(error))
            runs.train(settings, **files)
        case "compare":
            _compare(options.compare.run, options.compare.plot)
        case "config":
            show_config()


def _compare(run: Path, plot: Path | None = None) -> None:
    """Print which library was how fast in a benchmark run.

    Args:
        run: The JSON file that the benchmarks wrote.
        plot: Draw the speedups into this picture, too.
    """
    from fastnn import compare

    results = compare.load(run)
    print(compare.table(results))
    if plot is not None:
        print(f"written to {compare.plot(results, plot)}")


def _parser(shorthands: dict[str, Any]) -> ArgumentParser:
    """The parser; `shorthands` are settings to take as defaults in place of a preset's."""
    parser = ArgumentParser("fastnn", description="Train small neural networks on a CPU.", version=__version__)
    commands = parser.add_subcommands(dest="command")

    train = ArgumentParser(description="Train a network and write what came out into a folder.")
    datasets = train.add_subcommands(dest="dataset")
    for name, preset in runs.PRESETS.items():
        options = ArgumentParser(description=f"Train on {name}: see `fastnn.runs` for the files written.")
        options.add_class_arguments(runs.Settings, skip={"dataset"})
        defaults = {**vars(preset), "optimizer": runs.describe(preset.optimizer), **shorthands}
        del defaults["dataset"]
        options.set_defaults(defaults)
        files = options.add_argument_group("Files")
        files.add_argument(
            "--out", type=Path | None, help="The folder to write to; by default a new one, runs/DATASET-NUMBER."
        )
        files.add_argument("--overwrite", action="store_true", help="Replace the run that --out holds.")
        files.add_argument(
            "--no_download", dest="download", action="store_false", help="Do not download missing data."
        )
        datasets.add_subcommand(name, options, help=f"Train on {name}.")
    commands.add_subcommand("train", train, help="Train a network.")

    comparison = ArgumentParser(description="Print which library was how fast in a benchmark run.")
    comparison.add_function_arguments(_compare, as_positional=True)
    commands.add_subcommand("compare", comparison, help="Compare libraries in a benchmark run.")

    config = ArgumentParser(description="Print versions, backend, instruction set and threads.")
    commands.add_subcommand("config", config, help="Print versions, backend and threads.")
    return parser


def _with_underscores(words: Sequence[str]) -> list[str]:
    """--batch-size is --batch_size, the spelling of the setting."""
    spelled = []
    for word in words:
        option, equals, value = word.partition("=")
        spelled.append(option.replace("-", "_").replace("__", "--", 1) + equals + value
                       if word.startswith("--") else word)
    return spelled


def _shorthands(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The settings of `fastnn train` that jsonargparse cannot read as people write them, and the rest.

    It wants --layers [784,10]. And --optimizer Adam alone would keep the learning rate of the preset's
    optimizer, which is 100 times Adam's own.
    """
    if words[:1] != ["train"]:
        return {}, words
    parser = argparse.ArgumentParser("fastnn train", usage="fastnn train --help", add_help=False, allow_abbrev=False)
    parser.add_argument("--layers", type=_layers, default=argparse.SUPPRESS)
    parser.add_argument("--optimizer", type=_optimizer, default=argparse.SUPPRESS)
    found, rest = parser.parse_known_args(words)
    return vars(found), rest


def _layers(text: str) -> tuple[int, ...]:
    """784,128,10 as numbers."""
    try:
        return tuple(int(size) for size in text.strip("[]()").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"sizes such as 784,128,10 are wanted, not {text!r}") from None


def _optimizer(name: str) -> dict[str, Any]:
    """An optimizer of fastnn with its own defaults, or a class by its import path."""
    if "." in name:
        return {"class_path": name}
    try:
        return runs.describe(optimizer_of(name.lower()))
    except ValueError as error:
        names = ", ".join(kind.__name__ for kind in OPTIMIZERS.values())
        raise argparse.ArgumentTypeError(f"{name!r} is none of {names}, nor an import path") from error


def _failed(reason: object, code: int) -> int:
    print(f"fastnn: {'' if code == INTERRUPTED else 'error: '}{reason}", file=sys.stderr)
    return code
