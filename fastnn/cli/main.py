"""Parse the command line `fastnn` and call the function behind each subcommand.

jsonargparse reads the types, defaults and help texts of most options from signatures and docstrings:
`fastnn.cli.settings.Settings` for `fastnn train`, `fastnn.cli.commands` for the other subcommands.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt

from fastnn import __version__, show_config
from fastnn.cli import commands, find_rate, onnx_files, own_settings, settings, train_run
from fastnn.cli.parser import ArgumentParser, fail
from fastnn.cli.run_folder import lenient_output, plain_warnings, silent_unless
from fastnn.cli.shorthands import shorthands_of
from fastnn.data import DatasetNotFoundError
from fastnn.files import user_path
from fastnn.reproduction.runner import ExperimentError
from fastnn.training.finite import NonFiniteError
from fastnn.training.launchers import launched
from fastnn.training.processes import ProcessError

# What `fastnn train` calls the data of the user; the parser chooses between the kinds by the path.
OWN_DATA = {
    own_settings.TABLE: "a CSV file: fastnn train data.csv --label NAME",
    own_settings.FOLDER: "a folder with a sub-folder of pictures per class: fastnn train photos/",
}
ONNX: dict[str, Callable[..., None]] = {"export": onnx_files.export_run, "import": onnx_files.import_model}
DONE, FAILED, MISSING_DATA, INTERRUPTED = 0, 1, 3, 130  # and 2, argparse's, for usage errors


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: `sys.argv[1:]`) and return the exit code.

    The exit code is 0 after success, 1 after an error, 3 when a data set is missing, and 130 after Ctrl-C.
    Usage errors raise SystemExit with code 2; --help and --version raise SystemExit with code 0.
    """
    words = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    with silent_unless(launched().rank == 0), lenient_output() as outputs, plain_warnings():
        code = _run(words)
    lost = next((output.error for output in outputs if output.error is not None), None)
    return code if lost is None else code or _failed(f"error: cannot print: {lost.strerror}", FAILED)


def _run(words: list[str]) -> int:
    try:
        _parse(words)()
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except DatasetNotFoundError as error:
        return _failed(f"error: {error}", MISSING_DATA)
    # Errors that users can correct. Any other exception is a bug and keeps its traceback.
    except (ValueError, OSError, ImportError, NonFiniteError, ExperimentError, ProcessError) as error:
        return _failed(f"error: {error}", FAILED)
    except MemoryError as error:
        return _failed(f"error: not enough memory: {error}", FAILED)
    return DONE


def _failed(message: str, code: int) -> int:
    print(f"fastnn: {message}", file=sys.stderr)
    return code


def _parse(words: list[str]) -> Callable[[], object]:
    """Parse the command line into a function to call. Raises SystemExit as described in `main`."""
    file_settings, words = _settings_of_file(words)
    words = _with_kind_of_data(words)
    shorthands, words = shorthands_of(words)
    parser = _parser(words, shorthands, file_settings)
    options = parser.parse_args(words)
    started = launched()
    if started.size > 1 and options.command != "train":
        fail(f"fastnn {options.command}", f"this command runs in one process, not in {started.size}")
    if options.command == "config":
        return show_config
    if options.command != "train":
        function = ONNX.get(options.command) or getattr(commands, options.command)
        return partial(function, **_expanded(options[options.command].as_dict()))
    dataset = options.train.dataset
    try:
        chosen = _expanded(parser.instantiate(options).train[dataset].as_dict())
        files = ("out", "overwrite", "resume", "no_download")
        out, overwrite, resume, no_download = map(chosen.pop, files)
        watch, port, finds_rate = map(chosen.pop, ("watch", "port", "find_lr"))
        if finds_rate:
            given = {"watch": watch, "port": port, "overwrite": overwrite, "resume": resume}
            if unused := [f"--{name}" for name, value in given.items() if value]:
                raise ValueError(f"--find-lr trains nothing: leave out {', '.join(unused)}")
        run_settings = type(own_settings.ALL_PRESETS[dataset]["mlp"])(dataset=dataset, **chosen)
    except ValueError as error:  # an unknown activation, a negative learning rate, ...
        fail(f"fastnn train {dataset}", str(error))
    if finds_rate and started.size > 1:
        fail("fastnn train --find-lr", f"this command runs in one process, not in {started.size}")
    if finds_rate:
        return partial(find_rate.run, run_settings, out=out, download=not no_download)
    return partial(
        train_run.train,
        run_settings,
        out=out,
        overwrite=overwrite,
        resume=resume,
        download=not no_download,
        port=port if watch or port else None,
    )


def _expanded(options: dict[str, Any]) -> dict[str, Any]:
    """Replace a leading ~ in every path, which the shell leaves alone in --out=~/run."""
    expanded = {}
    for name, value in options.items():
        if isinstance(value, list):
            value = [user_path(each) if isinstance(each, Path) else each for each in value]
        expanded[name] = user_path(value) if isinstance(value, Path) else value
    return expanded


def _parser(
    words: list[str], shorthands: dict[str, Any], file_settings: settings.Settings | None
) -> ArgumentParser:
    """Build the parser of `words`. Its defaults: `shorthands`, `file_settings`, the preset, in this order."""
    parser = ArgumentParser(
        "fastnn",
        description="Train small neural networks on a CPU. To begin: fastnn train digits",
        version=__version__,
    )
    subcommands = parser.add_subcommands(
        dest="command", title="commands", description="fastnn COMMAND --help explains a command."
    )

    train = ArgumentParser(
        description="Train a network and write the weights, the curves and pictures into a folder. The data "
        "are a data set by name, a CSV file (fastnn train data.csv --label target), or a folder with a "
        "sub-folder of pictures per class (fastnn train photos/). The command also takes a YAML file of "
        "settings or the config.json of an earlier run: fastnn train settings.yaml --epochs 3"
    )
    subcommands.add_subcommand("train", train, help="Train a network.")
    datasets = train.add_subcommands(
        dest="dataset", title="data sets", description="fastnn train DATASET --help lists the options."
    )
    for name, presets in own_settings.ALL_PRESETS.items():
        preset = presets[shorthands.get("model", "mlp")]
        if file_settings is not None and file_settings.dataset == name:
            preset = file_settings
        data = OWN_DATA.get(name, name)
        # The options of the data set in the command line alone: a parser takes 20 ms.
        options = _train_parser(data, preset, shorthands) if name in words[1:2] else ArgumentParser()
        datasets.add_subcommand(name, options, help=f"Train on {data}.")

    complexity = ArgumentParser(
        description="Show how much time backpropagation saves, by timing gradients of growing networks."
    )
    complexity.add_function_arguments(commands.complexity, as_group=False, skip={"quick"})
    complexity.add_argument(
        "--quick", action="store_true", help="Time small networks only, in two rounds: about ten seconds."
    )
    subcommands.add_subcommand("complexity", complexity, help="Show how much time backpropagation saves.")

    sweep = ArgumentParser(
        description="Train with every combination of settings in a grid, with several seeds, and compare the "
        "results. Example: fastnn sweep settings.yaml --grid optimizer.lr=0.1,0.3 batch_size=32,64"
    )
    sweep.add_argument(
        "config",
        type=Path,
        help="YAML file with the settings that all runs share, or the config.json of an earlier run.",
    )
    sweep.add_argument(
        "--grid",
        nargs="+",
        required=True,
        metavar="SETTING=VALUE,...",
        help="A setting and the values to try, such as optimizer.lr=0.1,0.3, or hidden=32,64-32 for one "
        "layer of 32, and layers of 64 and 32. With several settings, every combination is trained.",
    )
    sweep.add_function_arguments(
        commands.sweep, as_group=False, skip={"config", "grid", "resume", "no_download"}
    )
    sweep.add_argument(
        "--resume", action="store_true", help="Continue the interrupted sweep in the folder given by --out."
    )
    sweep.add_argument("--no_download", action="store_true", help="Fail instead of downloading missing data.")
    subcommands.add_subcommand("sweep", sweep, help="Train with every combination of settings in a grid.")

    comparison = ArgumentParser(description="Compare the speed of libraries in a benchmark run.")
    comparison.add_function_arguments(commands.compare, as_group=False, as_positional=True)
    subcommands.add_subcommand(
        "compare", comparison, help="Compare the speed of libraries in a benchmark run."
    )

    curves = ArgumentParser(
        description="Draw one curve of several runs; runs that differ only in the seed become a mean and its "
        "standard deviation."
    )
    curves.add_argument("runs", type=Path, nargs="+", help="Folders of the runs.")
    curves.add_function_arguments(commands.curves, as_group=False, skip={"runs", "log"})
    curves.add_argument("--log", action="store_true", help="Use a logarithmic y axis.")
    subcommands.add_subcommand("curves", curves, help="Draw learning curves of several runs.")

    picture = ArgumentParser(description="Draw a picture of a training run.")
    picture.add_function_arguments(commands.picture, as_group=False, as_positional=True)
    subcommands.add_subcommand("picture", picture, help="Draw a picture of a training run.")

    predict = ArgumentParser(
        description="Predict the labels of new data with the network of a training run. Example: "
        "fastnn predict runs/iris-1 new.csv --out predictions.csv"
    )
    predict.add_function_arguments(
        commands.predict, as_group=False, as_positional=True, skip={"probabilities"}
    )
    predict.add_argument(
        "--probabilities", action="store_true", help="Add a column with the probability of each class."
    )
    subcommands.add_subcommand("predict", predict, help="Predict the labels of new data.")

    evaluate = ArgumentParser(
        description="Print how well the network of a training run predicts labelled data."
    )
    evaluate.add_argument("run", type=Path, help="Folder that fastnn train wrote.")
    evaluate.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="Data with labels, as for fastnn predict. Default: the test set of the run.",
    )
    evaluate.add_argument(
        "--no_download", action="store_true", help="Fail instead of downloading missing data."
    )
    subcommands.add_subcommand("evaluate", evaluate, help="Print how well a network predicts labelled data.")
    for name, help_text in (
        ("export", "Write the trained model of a run as an ONNX file."),
        ("import", "Read an ONNX file and write the model as a safetensors file."),
    ):
        subcommand = ArgumentParser(description=help_text)
        subcommand.add_function_arguments(ONNX[name], as_group=False, as_positional=True)
        subcommands.add_subcommand(name, subcommand, help=help_text)

    board = ArgumentParser(description="Compare finished runs on a page in the browser.")
    board.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("runs"),
        help="Folder with the runs; folders in it are searched, too. Default: runs.",
    )
    board.add_function_arguments(commands.board, as_group=False, skip={"folder"})
    subcommands.add_subcommand("board", board, help="Compare finished runs on a page in the browser.")

    reproduce = ArgumentParser(
        description="Run the experiments of reports, compare them with what was reported, and write a page "
        "about them. Example: fastnn reproduce s1.part5 --out runs/reports"
    )
    reproduce.add_argument(
        "ids",
        nargs="*",
        metavar="EXPERIMENT",
        help="Experiments, such as s1.part5; s1 stands for all of that report, all for all.",
    )
    flags = {
        "quick": "Take seconds per experiment, on fewer data; nothing is judged.",
        "redraw": "Fill tables and figures again from the stored trainings.",
        "list": "Print the experiments, and run nothing.",
    }
    reproduce.add_function_arguments(commands.reproduce, as_group=False, skip={"ids", *flags})
    for name, text in flags.items():
        reproduce.add_argument(f"--{name}", action="store_true", help=text)
    subcommands.add_subcommand("reproduce", reproduce, help="Run the experiments of reports.")

    report = ArgumentParser(description="Write the page about reproduced experiments.")
    report.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("runs/reports"),
        help="Folder that fastnn reproduce wrote. Default: runs/reports.",
    )
    report.add_function_arguments(commands.report, as_group=False, skip={"folder"})
    subcommands.add_subcommand("report", report, help="Write the page about reproduced experiments.")

    profile = ArgumentParser(description="Print how long each kernel call of a training step takes.")
    profile.add_function_arguments(commands.profile, as_group=False)
    subcommands.add_subcommand(
        "profile", profile, help="Print how long each kernel call of a training step takes."
    )

    probe = ArgumentParser(description="Measure the peak FLOP/s and the memory bandwidth of this machine.")
    probe.add_argument(
        "--threads",
        type=PositiveInt,
        nargs="+",
        help="Thread counts to measure. Default: 1 and the number of threads that fastnn uses.",
    )
    probe.add_argument(
        "--fresh", action="store_true", help="Measure again instead of reading the saved figures."
    )
    subcommands.add_subcommand("probe", probe, help="Measure the peak FLOP/s and the memory bandwidth.")

    contents = "Print versions, backend, instruction set and number of threads."
    subcommands.add_subcommand("config", ArgumentParser(description=contents), help=contents)
    return parser


def _train_parser(dataset: str, preset: settings.Settings, shorthands: dict[str, Any]) -> ArgumentParser:
    parser = ArgumentParser(
        description=f"Train a network on {dataset} and write config.json (all settings), history.json "
        "(curves and test result), weights.safetensors and pictures into a folder."
    )
    names = own_settings.names_of_settings(preset)
    skipped = {"dataset", *(vars(preset).keys() - names)}
    parser.add_class_arguments(type(preset), skip=skipped)
    values = {**vars(preset), "optimizer": settings.describe(preset.optimizer), **shorthands}
    parser.set_defaults({name: value for name, value in values.items() if name not in skipped})
    files = parser.add_argument_group("Files")
    files.add_argument("--out", type=Path, help="Folder to write to. Default: a new folder in runs/.")
    files.add_argument(
        "--overwrite", action="store_true", help="Replace an earlier run in the folder given by --out."
    )
    files.add_argument(
        "--resume", action="store_true", help="Continue the interrupted run in the folder given by --out."
    )
    files.add_argument("--no_download", action="store_true", help="Fail instead of downloading missing data.")
    parser.add_argument(
        "--find_lr",
        action="store_true",
        help="Train nothing, but find a learning rate: print it, and draw find_lr.png into the folder given "
        "by --out or the current one.",
    )
    page = parser.add_argument_group("Live page")
    page.add_argument(
        "--watch",
        action="store_true",
        help="Draw the training on a page in the browser while it runs; the page can stop it.",
    )
    page.add_argument(
        "--port", type=int, default=0, help="Port of that page on this computer; 0 takes a free one."
    )
    return parser


def _with_underscores(word: str) -> str:
    """Turn --batch-size into --batch_size, the name of the setting."""
    return re.sub("^--[^=]+", lambda option: "--" + option[0][2:].replace("-", "_"), word)


def _settings_of_file(words: list[str]) -> tuple[settings.Settings | None, list[str]]:
    """Read the settings file of `fastnn train FILE`.

    Returns the settings, and the words with the name of the data set in place of the file name; (None,
    words) for any other command line.
    """
    from fastnn.cli import settings_file

    if words[:1] != ["train"] or len(words) < 2 or not settings_file.is_file_name(words[1]):
        return None, words
    found = settings_file.read(user_path(words[1]))
    return found, ["train", found.dataset, *words[2:]]


def _with_kind_of_data(words: list[str]) -> list[str]:
    """Turn `train data.csv` into `train table --path data.csv`, and `train photos/` into `train folder ...`.

    The name of a data set is not taken for a folder of this name: write ./digits for the folder.
    """
    if words[:1] != ["train"] or len(words) < 2 or words[1] in own_settings.ALL_PRESETS:
        return words
    kind = None if words[1].startswith("-") else own_settings.kind_of_path(words[1])
    return words if kind is None else ["train", kind, f"--path={words[1]}", *words[2:]]
