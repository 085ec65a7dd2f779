"""Train one network and write its results into a folder: `fastnn train`.

The folder has these files::

    config.json           the settings, the software versions, the backend and the number of threads
    history.json          loss and accuracy on the test set, the training time in seconds, the curves
    weights.safetensors   the trained model; read it with `fn.load`
    curves.png            loss and accuracy during training
    weights.png           the weights of the first layer, one image per unit
    confusion.png         the confusion matrix of the test set
    mistakes.png          the misclassified test images, the most confident first
    checkpoint            the state to resume from; only during training and after an interruption

A run on the user's own data also has `data.json`, which says what inputs and outputs mean. A run on a table
has these files instead of weights.png and mistakes.png::

    importance.png        how much the result depends on each column
    mistakes.csv          the misclassified rows of the test set (classification)
    predictions.png       predicted against true values, in place of confusion.png (regression)

From Python: `train_run.train(dataclasses.replace(settings.PRESETS["mnist"]["cnn"], seed=1))`.
"""

from __future__ import annotations

import copy
import itertools
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastnn import data
from fastnn._validation import Array
from fastnn.board import LivePage
from fastnn.cli import run_drawings
from fastnn.cli.description import DATA, Description, named
from fastnn.cli.mpi_run import share_threads, started_processes
from fastnn.cli.named_data import Part
from fastnn.cli.own_data import Loaded, absolute, folder_name, load, prepared, source_of
from fastnn.cli.own_settings import OwnSettings, check_weights, names_of_settings
from fastnn.cli.run_drawings import CURVES, draw_test, draw_training
from fastnn.cli.run_folder import Results, locked
from fastnn.cli.run_progress import PrintedHistory, Stopwatch
from fastnn.cli.settings import Settings, describe
from fastnn.config import environment
from fastnn.documents import read_json
from fastnn.files import write_atomic
from fastnn.history import History
from fastnn.kernels import active_backend, backend
from fastnn.layers import Sequential
from fastnn.nets import mlp, mnist_cnn
from fastnn.rng import manual_seed
from fastnn.training.callbacks import Callback
from fastnn.training.evaluation import evaluate
from fastnn.training.finite import NonFiniteError
from fastnn.training.fit import fit
from fastnn.training.launchers import launched
from fastnn.training.options import option_values
from fastnn.training.resume import Checkpoint
from fastnn.weights import save

CONFIG, HISTORY, WEIGHTS, CHECKPOINT = "config.json", "history.json", "weights.safetensors", "checkpoint"
CHECKPOINT_SECONDS = 10.0
PICTURES = (
    *(CURVES, run_drawings.IMAGES, run_drawings.CONFUSION, run_drawings.MISTAKES),
    *(run_drawings.IMPORTANCE, run_drawings.PREDICTIONS, run_drawings.WRONG_ROWS),
)


def train(
    settings: Settings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    download: bool = True,
    port: int | None = None,
) -> Path:
    """Train a network, evaluate it on the test set, and write the results into a folder.

    Prints the progress, seeds the default generator and sets the number of threads. The processes that mpirun
    has started train together; the first one prints and writes.

    Args:
        settings: Settings of the run.
        out: Folder to write to. Default: the first unused runs/<data>-<number>.
        overwrite: Replace an earlier run in `out`.
        resume: Continue the interrupted run in `out`. The weights at the end are the same as without the
            interruption, bit for bit.
        download: Whether missing data may be downloaded.
        port: Port of a page that shows the training while it runs, 0 for any free one. Default: no page.

    Returns:
        The folder with the results.

    Raises:
        KeyboardInterrupt: After Ctrl-C. The results so far are written first.
        NonFiniteError: If the loss becomes inf or NaN. The results so far are written first.
        FileExistsError: If `out` has a run, and neither `overwrite` nor `resume` is True.
        DatasetNotFoundError: If the data set is missing.
        ValueError: If the settings do not fit the data set, the run to resume or the processor.
        ProcessError: If another process has failed.
    """
    processes = started_processes()
    with processes.joined():
        settings = absolute(settings)
        # Fail before the data are loaded.
        settings.check_processor()
        processes.from_first(lambda: _resumes(settings, out, overwrite, resume))
        page = nullcontext() if port is None or not processes.is_first else LivePage(port)
        if not processes.is_first:
            processes.gather(None)  # the first process downloads the data alone
        loaded = load(settings, download=download)
        if processes.is_first:
            processes.gather(None)
        check_layers(settings, loaded.description)
        share_threads(processes, settings.threads)
        with backend(settings.backend or active_backend()), page as callback:
            description, training, validation = prepared(settings, loaded)
            arguments = fit_arguments(settings, description, training, validation)
            folder = processes.from_first(lambda: new_folder(folder_name(settings)) if out is None else out)
            if not processes.is_first:
                checkpoint = Checkpoint(folder / CHECKPOINT)
                fit(**arguments, callbacks=Stopwatch(), checkpoint=checkpoint, communicator=processes)
            else:
                with locked(folder):
                    resumes = out is not None and _resumes(settings, out, overwrite, resume)
                    _begin(folder, settings, description, resumes)
                    _announce(settings, description, arguments, len(loaded.test[0]))
                    arguments["communicator"] = processes
                    _train_and_write(folder, settings, arguments, description, loaded, callback)
            processes.gather(None)  # the first process has written the results
    return folder


def _begin(folder: Path, settings: Settings, description: Description, resumes: bool) -> None:
    """Write what is known before the training, into a folder that is emptied unless the run `resumes`."""
    if not resumes:
        _empty(folder)
    if isinstance(settings, OwnSettings):
        write_json(folder / DATA, description.as_dict(), indent=2)
    found = environment() | ({"processes": launched().size} if launched().size > 1 else {})
    write_json(folder / CONFIG, {"settings": plain(settings), "environment": found}, indent=2)


def _train_and_write(
    folder: Path,
    settings: Settings,
    arguments: dict[str, Any],
    description: Description,
    loaded: Loaded,
    callback: Callback | None,
) -> None:
    """Train, test, and write the results: weights and history first, pictures last."""
    model, ema = arguments["model"], arguments["ema"]
    x_test, y_test = description.ready(loaded.test)
    history, stopwatch, results = PrintedHistory(settings.epochs), Stopwatch(), Results(folder)
    if isinstance(settings, OwnSettings):
        results.write(DATA, lambda path: None)  # written before the training
    try:
        fit(
            **arguments,
            history=history,
            callbacks=[stopwatch] if callback is None else [stopwatch, callback],
            progress="bar",  # `PrintedHistory` prints the lines
            checkpoint=Checkpoint(folder / CHECKPOINT, seconds=CHECKPOINT_SECONDS),
        )
        seconds = stopwatch.seconds
        if ema is not None:
            ema.copy_to(model)
        test = evaluate(
            model,
            (x_test, targets(settings, y_test, description)),
            loss=settings.loss,
            metrics=_metrics(description),
        )
        history.record({f"test_{name}": value for name, value in test.items()})
    except (KeyboardInterrupt, NonFiniteError) as reason:
        history.stopped = str(reason) or "interrupted"
        print(f"stopped after {history.epochs} epochs, {len(history.updates['loss']):,} updates")
        _write_results(results, model, history, stopwatch.seconds, None, description)
        draw_training(results, model, history, description)
        if (folder / CHECKPOINT).exists():
            results.write(CHECKPOINT, lambda path: None)
        results.finish()
        raise
    shown = "  ".join(f"{name} {value:.4f}" for name, value in test.items())
    print(f"test  {shown}  (trained for {seconds:.1f} s)")
    _write_results(results, model, history, seconds, test, description)
    draw_test(results, settings, model, (x_test, y_test), description, loaded.test_rows)
    draw_training(results, model, history, description)
    results.finish(advice=": make room, then write them with --resume")
    # Last, so that a run killed before this line can be resumed.
    (folder / CHECKPOINT).unlink(missing_ok=True)


def fit_arguments(
    settings: Settings, description: Description, training: Part, validation: Part | None
) -> dict[str, Any]:
    """Return the arguments of `fit` for a run: the untrained network, the data, the optimizer and so on.

    `training` and `validation` are (x, y) as `own_data.prepared` returns them.
    """

    def part(of: Part) -> Part:
        return of[0], targets(settings, of[1], description)

    return {
        "model": build(settings, description),
        "data": part(training),
        "validation": None if validation is None else part(validation),
        "loss": settings.loss,
        "validate_every": settings.validate_every or "epoch",
        "metrics": [] if validation is None else _metrics(description),
        "optimizer": copy.deepcopy(settings.optimizer),  # the optimizer state belongs to one run
        "order": settings.order,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "seed": settings.seed,
        **option_values(settings.options()),
    }


def _metrics(description: Description) -> list[str]:
    """The metrics of a run beside the loss and the accuracy."""
    return ["r2"] if description.classes is None else []


def build(settings: Settings, description: Description | None = None) -> Sequential:
    """Build the untrained network of a run. Seeds the default generator.

    `description` says what the inputs and outputs are. Default: those of the named data set.
    """
    about = description or named(settings)
    manual_seed(settings.seed)
    if settings.model == "cnn":
        height, width, *_ = about.inputs
        return mnist_cnn((height, width), about.outputs, settings.dropout, channels=about.channels)
    return mlp(
        layer_sizes(settings, about),
        activation=settings.activation,
        weight_init=settings.weight_init,
        dropout=settings.dropout,
    )


def layer_sizes(settings: Settings, about: Description) -> tuple[int, ...]:
    """The layer sizes of the mlp."""
    return about.sizes(settings.hidden) if isinstance(settings, OwnSettings) else settings.layers


def _resumes(settings: Settings, out: Path | None, overwrite: bool, resume: bool) -> bool:
    """Whether to continue the run in `out`. Raises FileExistsError if it has a run that must be kept."""
    resumes = resume and _is_resumable(settings, out)
    if out is not None and (out / CONFIG).exists() and not overwrite and not resumes:
        hint = "choose another --out, replace the run with --overwrite, or continue it with --resume"
        raise FileExistsError(f"{out} already has a run: {hint}")
    return resumes


def _is_resumable(settings: Settings, out: Path | None) -> bool:
    """Whether the folder `out` has an interrupted run with these settings; False if it has no run.

    Raises ValueError if `out` is None, if the run has finished, or if the run has other settings. The number
    of threads may differ, because it does not change the results.
    """
    if out is None:
        raise ValueError("--resume needs --out, the folder of the run")
    if not (out / CONFIG).exists():
        return False
    theirs = read_json(out / CONFIG).get("settings")
    if not isinstance(theirs, dict):
        raise ValueError(f"{out / CONFIG} has no settings: the folder is no run of fastnn train")
    ours = json.loads(json.dumps(plain(settings)))
    names = sorted((theirs.keys() | ours.keys()) - {"threads"})
    different = [name for name in names if theirs.get(name) != ours.get(name)]
    if different:
        changes = "; ".join(f"{name} was {theirs.get(name)}, is {ours.get(name)}" for name in different)
        raise ValueError(f"{out} has a run with other settings: {changes}")
    if not (out / CHECKPOINT).exists() and _has_finished(out):
        raise ValueError(f"the run in {out} has finished: there is nothing to resume")
    return True  # a run that was killed before its first checkpoint starts again


def _has_finished(out: Path) -> bool:
    """Whether the folder has results on the test set, which an interrupted run does not write."""
    results = out / HISTORY
    return results.exists() and read_json(results).get("test") is not None


def check_layers(settings: Settings, about: Description) -> None:
    """Raise ValueError unless the network of the settings fits the data.

    The layers of an mlp for a named data set must start with the number of pixels and end with the classes.
    """
    if settings.model == "cnn":
        if min(about.inputs[:2]) < 8:
            raise ValueError(
                f"the model cnn needs images of at least 8 x 8 pixels, not "
                f"{about.inputs[0]} x {about.inputs[1]}"
            )
        return
    sizes, layers = about.sizes(()), layer_sizes(settings, about)
    if isinstance(settings, OwnSettings):
        check_weights(layers)
    elif (layers[0], layers[-1]) != sizes:
        example = ",".join(map(str, (sizes[0], *layers[1:-1], sizes[-1])))
        raise ValueError(
            f"the layers {','.join(map(str, layers))} do not fit the data set, which has {sizes[0]} pixels "
            f"per image and {sizes[-1]} classes: try --layers {example}"
        )


def targets(settings: Settings, labels: Array, about: Description) -> Array:
    """Return the targets of the loss: labels (N,) for cross-entropy, one-hot rows for the other losses.

    The targets of a regression stay as they are.
    """
    if settings.loss == "cross_entropy" or about.classes is None:
        return labels
    return data.one_hot(labels, about.outputs)


def new_folder(name: str) -> Path:
    """Make and return the first folder runs/<name>-1, runs/<name>-2, ... that does not exist."""
    for number in itertools.count(1):
        folder = Path("runs", f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("unreachable: count() does not end")


def _empty(folder: Path) -> None:
    """Remove the files of an earlier run, lest they pass for results of the new run."""
    for name in (CONFIG, DATA, HISTORY, WEIGHTS, CHECKPOINT, *PICTURES):
        (folder / name).unlink(missing_ok=True)


def _announce(settings: Settings, about: Description, arguments: dict[str, Any], test: int) -> None:
    """Print the numbers of samples, the network, its number of parameters and the optimizer."""
    training, validation = (arguments[name] for name in ("data", "validation"))
    samples = "images" if about.is_image else "rows"
    counts = f"{len(training[0]):,} training {samples}"
    if validation is not None:
        counts += f", {len(validation[0]):,} validation {samples}"
    if isinstance(settings, OwnSettings):
        counts += f", {test:,} test {samples}"
    if about.names is not None:
        counts += f", {about.outputs} classes"
    if settings.model == "cnn":
        kind = "convolutional network"
    else:
        kind = "-".join(map(str, layer_sizes(settings, about))) + f", {settings.activation}"
    weights = sum(param.size for param in arguments["model"].parameters())
    print(f"{source_of(settings)}: {counts}")
    print(f"{kind}: {weights:,} parameters, {settings.optimizer}", flush=True)


def _write_results(
    results: Results,
    model: Sequential,
    history: History,
    seconds: float,
    test: dict[str, float] | None,
    about: Description,
) -> None:
    """Write the history and the weights; config.json was written before the training."""
    content = {"test": test, "seconds": seconds, **history.as_dict()}
    results.write(CONFIG, lambda path: None)
    results.write(HISTORY, lambda path: write_json(path, content, indent=None))
    if about.names is not None:
        model.classes = about.classes  # last: the network is trained on the numbers of the classes
    results.write(WEIGHTS, lambda path: save(model, path))


def write_json(path: Path, content: dict[str, Any], *, indent: int | None) -> None:
    """Write a JSON file atomically."""
    write_atomic(path, (json.dumps(content, indent=indent) + "\n").encode())


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as a dict that JSON can hold."""
    values = {**asdict(settings), "optimizer": describe(settings.optimizer)}
    return {name: values[name] for name in names_of_settings(settings)}
