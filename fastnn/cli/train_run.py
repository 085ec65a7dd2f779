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

From Python: `train_run.train(dataclasses.replace(settings.PRESETS["mnist"]["cnn"], seed=1))`.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import data, viz
from fastnn._validation import Array
from fastnn.board import LivePage
from fastnn.cli.run_folder import Results, locked
from fastnn.cli.settings import DATASETS, Dataset, Part, Settings, describe
from fastnn.config import environment, set_num_threads
from fastnn.documents import read_json
from fastnn.files import write_atomic
from fastnn.history import History
from fastnn.kernels import active_backend, backend
from fastnn.layers import Layer, Sequential
from fastnn.nets import mlp, mnist_cnn
from fastnn.rng import manual_seed
from fastnn.training.callbacks import Callback
from fastnn.training.evaluation import evaluate
from fastnn.training.finite import NonFiniteError
from fastnn.training.fit import fit
from fastnn.training.options import option_values
from fastnn.training.resume import Checkpoint
from fastnn.weights import save

CONFIG, HISTORY, WEIGHTS = "config.json", "history.json", "weights.safetensors"
CURVES, IMAGES, CHECKPOINT = "curves.png", "weights.png", "checkpoint"
CONFUSION, MISTAKES = "confusion.png", "mistakes.png"
CHECKPOINT_SECONDS = 10.0


class PrintedHistory(History):
    """A history that prints a line after every epoch."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._total = epochs
        self._started = time.perf_counter()

    def add_epoch(self, values: dict[str, float]) -> None:
        super().add_epoch(values)
        now = time.perf_counter()
        shown = "  ".join(
            f"{name.replace('val_', 'validation ')} {value:.4f}" for name, value in values.items()
        )
        # Flush, because users also watch a run through a pipe.
        print(f"epoch {self.epochs}/{self._total}  {shown}  {now - self._started:.1f} s", flush=True)
        self._started = now


class Stopwatch(Callback):
    """Measures the training time, including the time before an interruption."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Training time so far, in seconds."""
        return self._before + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._before, self._started = float(state["seconds"]), time.perf_counter()


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

    Prints the progress, seeds the default generator and sets the number of threads.

    Args:
        settings: Settings of the run.
        out: Folder to write to. Default: the first unused runs/<dataset>-<number>.
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
        ValueError: If the settings do not fit the data set or the run to resume.
    """
    _resumes(settings, out, overwrite, resume)  # fail before the data are loaded
    page = nullcontext() if port is None else LivePage(port)
    dataset = DATASETS[settings.dataset]
    (x, y), (x_test, y_test) = dataset.load(download)
    check_settings(settings)
    if settings.threads is not None:
        set_num_threads(settings.threads)
    with backend(settings.backend or active_backend()), page as callback:
        arguments = fit_arguments(settings, (x, y))
        model, training, validation = arguments["model"], arguments["data"], arguments["validation"]
        folder = new_folder(settings.dataset) if out is None else out
        with locked(folder):
            resumes = out is not None and _resumes(settings, out, overwrite, resume)
            if not resumes:
                _empty(folder)
            config = {"settings": plain(settings), "environment": environment()}
            write_json(folder / CONFIG, config, indent=2)
            _announce(settings, model, len(training[0]), 0 if validation is None else len(validation[0]))
            _train_and_write(folder, settings, arguments, (x_test, y_test), callback)
    return folder


def _train_and_write(
    folder: Path, settings: Settings, arguments: dict[str, Any], part: Part, callback: Callback | None
) -> None:
    """Train, test on `part`, and write the results: weights and history first, pictures last."""
    model, ema, dataset = arguments["model"], arguments["ema"], DATASETS[settings.dataset]
    x_test, y_test = part
    history, stopwatch, results = PrintedHistory(settings.epochs), Stopwatch(), Results(folder)
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
        test = evaluate(model, (x_test, _targets(settings, y_test)), loss=settings.loss)
        history.record({f"test_{name}": value for name, value in test.items()})
    except (KeyboardInterrupt, NonFiniteError) as reason:
        history.stopped = str(reason) or "interrupted"
        print(f"stopped after {history.epochs} epochs, {len(history.updates['loss']):,} updates")
        _write_results(results, model, history, stopwatch.seconds, None)
        _draw_training(results, model, dataset.image, history)
        if (folder / CHECKPOINT).exists():
            results.write(CHECKPOINT, lambda path: None)
        results.finish()
        raise
    print(f"test  loss {test['loss']:.4f}  accuracy {test['accuracy']:.4f}  (trained for {seconds:.1f} s)")
    _write_results(results, model, history, seconds, test)
    outputs, classes = model.predict(x_test), dataset.classes
    results.decorate(
        CONFUSION,
        lambda path: viz.save_confusion(y_test, outputs.argmax(axis=1), path, classes=classes),
    )
    results.decorate(MISTAKES, lambda path: viz.save_mistakes(x_test, outputs, y_test, path))
    _draw_training(results, model, dataset.image, history)
    results.finish()
    (folder / CHECKPOINT).unlink()  # last, so that a run killed before this line can be resumed


def fit_arguments(settings: Settings, part: Part) -> dict[str, Any]:
    """Return the arguments of `fit` for a run: the untrained network, the data, the optimizer and so on.

    `part` is the whole training set, (x, y). `settings.validation` is the fraction held out for validation.
    """
    x, y = part
    training, validation = _split((x, _targets(settings, y)), y, settings)
    return {
        "model": build(settings),
        "data": training,
        "validation": validation,
        "loss": settings.loss,
        "optimizer": copy.deepcopy(settings.optimizer),  # the optimizer state belongs to one run
        "order": settings.order,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "seed": settings.seed,
        **option_values(settings.options()),
    }


def build(settings: Settings) -> Sequential:
    """Build the untrained network of a run. Seeds the default generator."""
    manual_seed(settings.seed)
    if settings.model == "cnn":
        dataset = DATASETS[settings.dataset]
        return mnist_cnn(dataset.image, dataset.classes, dropout=settings.dropout)
    return mlp(
        settings.layers,
        activation=settings.activation,
        weight_init=settings.weight_init,
        dropout=settings.dropout,
    )


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


def check_settings(settings: Settings) -> None:
    """Raise ValueError unless the settings fit the data set."""
    if settings.model == "mlp":
        check_layers(settings.layers, DATASETS[settings.dataset])


def check_layers(layers: tuple[int, ...], dataset: Dataset) -> None:
    """Raise ValueError unless the layer sizes start with the number of pixels and end with the classes."""
    pixels, classes = math.prod(dataset.image), dataset.classes
    if (layers[0], layers[-1]) != (pixels, classes):
        example = ",".join(map(str, (pixels, *layers[1:-1], classes)))
        raise ValueError(
            f"the layers {','.join(map(str, layers))} do not fit the data set, which has {pixels} pixels per "
            f"image and {classes} classes: try --layers {example}"
        )


def _targets(settings: Settings, labels: Array) -> Array:
    """Return the targets of the loss: labels (N,) for cross-entropy, one-hot rows for the other losses."""
    if settings.loss == "cross_entropy":
        return labels
    return data.one_hot(labels, DATASETS[settings.dataset].classes)


def _split(training: Part, labels: Array, settings: Settings) -> tuple[Part, Part | None]:
    """Split the data into training and validation set; the latter is None if its fraction is 0."""
    if settings.validation == 0:
        return training, None
    rows = np.arange(len(labels))
    (kept, _), (held_out, _) = data.stratified(rows, labels, 1 - settings.validation, seed=settings.seed)
    x, target = training
    return (x[kept], target[kept]), (x[held_out], target[held_out])


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
    for name in (CONFIG, HISTORY, WEIGHTS, CURVES, IMAGES, CONFUSION, MISTAKES, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)


def _announce(settings: Settings, model: Layer, training: int, validation: int) -> None:
    """Print the numbers of images, the network, its number of parameters and the optimizer."""
    images = f"{training:,} training images" + (f", {validation:,} validation images" if validation else "")
    weights = sum(param.size for param in model.parameters())
    if settings.model == "cnn":
        kind = "convolutional network"
    else:
        kind = "-".join(map(str, settings.layers)) + f", {settings.activation}"
    print(f"{settings.dataset}: {images}")
    print(f"{kind}: {weights:,} parameters, {settings.optimizer}", flush=True)


def _write_results(
    results: Results, model: Sequential, history: History, seconds: float, test: dict[str, float] | None
) -> None:
    """Write the history and the weights; config.json was written before the training."""
    content = {"test": test, "seconds": seconds, **history.as_dict()}
    results.write(CONFIG, lambda path: None)
    results.write(HISTORY, lambda path: write_json(path, content, indent=None))
    results.write(WEIGHTS, lambda path: save(model, path))


def _draw_training(results: Results, model: Sequential, image: tuple[int, int], history: History) -> None:
    """Draw the curves and the weights of the first layer. `image` is (height, width) of a sample."""
    first = next(iter(model.parameters())).value
    if first.ndim == 4:  # filters (R, S, 1, O)
        image, first = first.shape[:2], first.reshape(-1, first.shape[3])
    if history.updates["loss"]:
        results.decorate(CURVES, lambda path: viz.save_curves(history, path))
    if np.isfinite(first).all():  # weights of a diverged run may have no colour
        results.decorate(IMAGES, lambda path: viz.save_weights(first, path, image_shape=image))


def write_json(path: Path, content: dict[str, Any], *, indent: int | None) -> None:
    """Write a JSON file atomically."""
    write_atomic(path, (json.dumps(content, indent=indent) + "\n").encode())


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as a dict that JSON can hold."""
    return {**asdict(settings), "optimizer": describe(settings.optimizer)}
