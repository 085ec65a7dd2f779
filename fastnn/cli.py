"""The command line: `fastnn train`, `sweep`, `curves`, `picture`, `profile`, `probe`, `compare`, `config`.

Here arguments become calls. The types, the defaults and the help of most options come from signatures and
docstrings, by jsonargparse. What a training run does is in `fastnn.runs`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from fastnn import __version__, get_num_threads, runs, settings, show_config
from fastnn.data import DatasetNotFoundError
from fastnn.optim import OPTIMIZERS, optimizer_of
from fastnn.trainer import NonFiniteError

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
    if options.command == "compare":
        return partial(_compare, **options.compare.as_dict())
    if options.command == "curves":
        return partial(_curves, **options.curves.as_dict())
    if options.command == "picture":
        return partial(_picture, **options.picture.as_dict())
    if options.command == "profile":
        return partial(_profile, **options.profile.as_dict())
    if options.command == "probe":
        return partial(_probe, **options.probe.as_dict())
    if options.command == "sweep":
        return partial(_sweep, **options.sweep.as_dict())
    dataset = options.train.dataset
    try:
        chosen = parser.instantiate(options).train[dataset].as_dict()
        files = ("out", "overwrite", "resume", "no_download")
        out, overwrite, resume, no_download = map(chosen.pop, files)
        wanted = settings.Settings(dataset, **chosen)
    except ValueError as error:  # an unknown activation, a negative learning rate, ...
        parser.error(str(error))
    return partial(runs.train, wanted, out=out, overwrite=overwrite, resume=resume, download=not no_download)


def _sweep(
    config: Path,
    grid: list[str],
    seeds: str = "0:3",
    jobs: int | None = None,
    executor: str = "threads",
    out: Path | None = None,
    resume: bool = False,
    no_download: bool = False,
) -> None:
    """Train at each point of a grid of settings with several seeds, and compare.

    Args:
        config: A YAML file of settings, as for fastnn train, or the config.json of a run.
        grid: A setting and its values, such as optimizer.lr=0.1,0.3; several: all combinations.
        seeds: A range such as 0:3, or numbers such as 0,1,2.
        jobs: How many trainings run at a time, on one thread each; by default as many as there are threads.
        executor: threads of one process, or joblib for several processes.
        out: The folder to write to; by default a new one in runs/.
        resume: Go on with the sweep in --out that was killed or interrupted.
        no_download: Do not download missing data.
    """
    from fastnn import configuration, studies

    studies.run(
        configuration.read(config),
        configuration.grid(grid),
        configuration.seeds(seeds),
        jobs="auto" if jobs is None else jobs,
        executor=executor,
        out=out,
        resume=resume,
        download=not no_download,
    )


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


def _curves(
    runs: list[Path], out: Path = Path("curves.png"), name: str = "accuracy", log: bool = False
) -> None:
    """Draw a curve of several runs: those that differ in their seed alone as a mean with its deviation.

    Args:
        runs: The folders of the runs.
        out: Where to write the picture (.png, .svg, .pdf).
        name: Which curve: loss, accuracy, val_loss, val_accuracy, lr, or updates.loss for one per update.
        log: Make the axis logarithmic.
    """
    from fastnn import pictures

    print(f"written to {pictures.draw_bands(runs, out, name=name, log=log)}")


def _picture(kind: str, run: Path, out: Path | None = None) -> None:
    """Draw a picture of a run that `fastnn train` has written.

    Args:
        kind: confusion, mistakes, filters, maps (what convolutions make of an image), classes or augmented.
        run: The folder of the run.
        out: Where to write the picture (.png, .svg, .pdf); by default <kind>.png in that folder.
    """
    from fastnn import pictures

    print(f"written to {pictures.draw(kind, run, out)}")


def _profile(
    layers: str = "784,128,64,32,10",
    activation: str = "relu",
    batch_size: int = 32,
    optimizer: str = "sgd",
    threads: int | None = None,
    plot: Path | None = None,
) -> None:
    """Print where the time of one training step goes, kernel by kernel.

    Args:
        layers: Numbers of units, the inputs first, such as 784,128,10.
        activation: Between two layers.
        batch_size: Samples per step; they are random numbers.
        optimizer: sgd or adam, with their defaults.
        threads: How many threads to use; by default what the machine allows.
        plot: Draw the times into this picture, too.
    """
    import fastnn as fn

    try:
        sizes = _layers(layers)
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from None
    if threads is not None:
        fn.set_num_threads(threads)
    model = runs.mlp(sizes, activation, "fan_in_uniform")
    rng = np.random.default_rng(0)
    x, y = rng.random((batch_size, sizes[0]), np.float32), rng.integers(sizes[-1], size=batch_size)
    found = fn.Trainer(model, optimizer=optimizer, seed=0).profile(x, y)
    print(found)
    if plot is not None:
        print(f"written to {found.plot(plot)}")


def _probe(threads: list[int] | None, fresh: bool) -> None:
    """Print how fast this machine is at best: what the percentages of other tables refer to."""
    from fastnn import probe

    counts = sorted({1, get_num_threads()}) if threads is None else list(dict.fromkeys(threads))
    print(probe.heading(), probe.table(counts, fresh=fresh), sep="\n")
    files = [probe.cache_file(count) for count in counts]
    if all(file.exists() for file in files):
        print(f"kept in {files[0].parent}: --fresh measures again")
    else:
        print(f"not kept: {files[0].parent} cannot be written to")


def _parser(shorthands: dict[str, Any], given: settings.Settings | None) -> ArgumentParser:
    """The parser; `shorthands` are defaults in place of those of a preset or of the settings `given`."""
    parser = ArgumentParser(
        "fastnn", description="Train small neural networks on a CPU.", version=__version__
    )
    commands = parser.add_subcommands(dest="command")

    train = ArgumentParser(description="Train a network and write what comes out into a folder.")
    commands.add_subcommand("train", train, help="Train a network.")
    datasets = train.add_subcommands(dest="dataset")
    for name, presets in settings.PRESETS.items():
        preset = presets[shorthands.get("model", "mlp")]
        if given is not None and given.dataset == name:
            preset = given
        datasets.add_subcommand(name, _train_parser(name, preset, shorthands), help=f"Train on {name}.")

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
    sweep.add_function_arguments(_sweep, skip={"config", "grid", "resume", "no_download"})
    sweep.add_argument("--resume", action="store_true", help="Go on with the sweep in --out that was ended.")
    sweep.add_argument("--no_download", action="store_true", help="Do not download missing data.")
    commands.add_subcommand("sweep", sweep, help="Train at each point of a grid of settings.")

    comparison = ArgumentParser(description="Print which library was how fast in a benchmark run.")
    comparison.add_function_arguments(_compare, as_positional=True)
    commands.add_subcommand("compare", comparison, help="Compare libraries in a benchmark run.")

    curves = ArgumentParser(description="Draw a curve of several runs, with its deviation over seeds.")
    curves.add_argument("runs", type=Path, nargs="+", help="The folders of the runs.")
    curves.add_function_arguments(_curves, skip={"runs", "log"})
    curves.add_argument("--log", action="store_true", help="Make the axis logarithmic.")
    commands.add_subcommand("curves", curves, help="Draw a curve of several runs.")

    picture = ArgumentParser(description="Draw a picture of a run that fastnn train has written.")
    picture.add_function_arguments(_picture, as_positional=True)
    commands.add_subcommand("picture", picture, help="Draw a picture of a training run.")

    profile = ArgumentParser(description="Print where the time of one training step goes.")
    profile.add_function_arguments(_profile)
    commands.add_subcommand("profile", profile, help="Show where the time of a training step goes.")

    probe = ArgumentParser(
        description="Print the peak of multiply-adds and the bandwidth of each memory level."
    )
    probe.add_argument(
        "--threads", type=PositiveInt, nargs="+", help="Columns; by default 1 and all there are."
    )
    probe.add_argument(
        "--fresh", action="store_true", help="Measure again what was kept from an earlier run."
    )
    commands.add_subcommand("probe", probe, help="Show how fast this machine is at best.")

    config = ArgumentParser(description="Print versions, backend, instruction set and threads.")
    commands.add_subcommand("config", config, help="Print versions, backend, instruction set and threads.")
    return parser


def _train_parser(dataset: str, preset: settings.Settings, shorthands: dict[str, Any]) -> ArgumentParser:
    parser = ArgumentParser(
        description=f"Train on {dataset}; the folder it writes is described in fastnn/runs.py."
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
    from fastnn import configuration

    if words[:1] != ["train"] or len(words) < 2 or not configuration.is_file_name(words[1]):
        return None, words
    found = configuration.read(Path(words[1]))
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
        return tuple(int(size) for size in text.strip("[]()").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"sizes such as 784,128,10 are wanted, not {text!r}") from None


def _optimizer(name: str) -> dict[str, Any]:
    """An optimizer of fastnn with its own defaults, or a class by its import path."""
    if "." in name:
        return {"class_path": name}
    try:
        return settings.describe(optimizer_of(name.lower()))
    except ValueError as error:
        names = ", ".join(kind.__name__ for kind in OPTIMIZERS.values())
        raise argparse.ArgumentTypeError(f"{name!r} is none of {names}, nor an import path") from error
