"""One training run, from its settings to a folder of files: what `fastnn train` does.

    config.json           the settings, and the versions, backend and threads that they met
    history.json          the result on the test data, the seconds that training took, the curves
    weights.safetensors   the trained weights, for `fn.load`
    curves.png            loss and accuracy during training
    weights.png           the weights of the first layer, an image for each unit
    confusion.png         which classes of the test data are taken for which
    mistakes.png          the test images that are taken for another class, the surest first
    checkpoint            while it trains, or after it was ended early: from where --resume goes on

To run it from Python: `runs.train(dataclasses.replace(settings.PRESETS["mnist"]["cnn"], seed=1))`.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import data, viz
from fastnn._validation import Array, choose
from fastnn.cli.settings import DATASETS, Dataset, Part, Settings, describe
from fastnn.config import environment, set_num_threads
from fastnn.files import write_atomic
from fastnn.history import History
from fastnn.kernels import active_backend, backend
from fastnn.layers import ACTIVATIONS, Dropout, Flatten, Layer, Linear, Sequential
from fastnn.nets import mnist_cnn
from fastnn.rng import manual_seed
from fastnn.training.callbacks import Callback
from fastnn.training.evaluation import evaluate
from fastnn.training.fit import fit
from fastnn.training.options import option_values
from fastnn.training.resume import Checkpoint
from fastnn.training.trainer import NonFiniteError
from fastnn.weights import save

CONFIG, HISTORY, WEIGHTS = "config.json", "history.json", "weights.safetensors"
CURVES, IMAGES, CHECKPOINT = "curves.png", "weights.png", "checkpoint"
CONFUSION, MISTAKES = "confusion.png", "mistakes.png"
CHECKPOINT_SECONDS = 10.0


class PrintedHistory(History):
    """A history that prints a line at the end of every epoch."""

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
        # Flushed, because a run is also watched through a pipe.
        print(f"epoch {self.epochs}/{self._total}  {shown}  {now - self._started:.1f} s", flush=True)
        self._started = now


class Stopwatch(Callback):
    """The seconds that training took, those before it was resumed included."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
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
) -> Path:
    """Train a network, evaluate it once on the test data, and write all files; returns their folder.

    `out` is that folder, by default the first unused runs/<dataset>-<number>; one that holds a run
    already needs `overwrite`, or with `resume` goes on where it was killed or interrupted, and ends with the
    same weights as if it had not been. `download` allows fetching data that are not on this machine. Prints
    what it does. Seeds the default generator and sets the number of threads.

    Ctrl-C and a loss that is no longer finite end the training; what is done is written all the same,
    then KeyboardInterrupt or `NonFiniteError` is raised. Raises FileExistsError for a folder in use,
    `DatasetNotFoundError` for missing data, and ValueError for settings that do not fit them.
    """
    goes_on = resume and _can_go_on(settings, out)
    if out is not None and (out / CONFIG).exists() and not overwrite and not goes_on:
        hint = "choose another --out, --overwrite or --resume it"
        raise FileExistsError(f"{out} holds a run already: {hint}")
    dataset = DATASETS[settings.dataset]
    (x, y), (x_test, y_test) = dataset.load(download)
    if settings.model == "mlp":
        check_layers(settings.layers, dataset)

    if settings.threads is not None:
        set_num_threads(settings.threads)
    with backend(settings.backend or active_backend()):
        arguments = fit_arguments(settings, (x, y))
        model, training, validation = arguments["model"], arguments["data"], arguments["validation"]
        folder = new_folder(settings.dataset) if out is None else out if goes_on else _emptied(out)
        write_json(folder / CONFIG, {"settings": plain(settings), "environment": environment()}, indent=2)
        _announce(settings, model, len(training[0]), 0 if validation is None else len(validation[0]))

        history, ema = PrintedHistory(settings.epochs), arguments["ema"]
        watch = Stopwatch()
        try:
            fit(
                **arguments,
                history=history,
                callbacks=[watch],
                checkpoint=Checkpoint(folder / CHECKPOINT, seconds=CHECKPOINT_SECONDS),
            )
            seconds = watch.seconds
            if ema is not None:
                ema.copy_to(model)
            test = evaluate(model, (x_test, _targets(settings, y_test)), loss=settings.loss)
        except (KeyboardInterrupt, NonFiniteError) as reason:
            history.stopped = str(reason) or "interrupted"
            print(f"stopped after {history.epochs} epochs, {len(history.updates['loss']):,} updates")
            _write_results(folder, model, dataset.image, history, watch.seconds, None)
            raise
        print(
            f"test  loss {test['loss']:.4f}  accuracy {test['accuracy']:.4f}  (trained for {seconds:.1f} s)"
        )
        outputs = model.predict(x_test)
        with contextlib.suppress(ImportError):  # which is told below
            _draw(
                folder / CONFUSION,
                lambda path: viz.save_confusion(
                    y_test, outputs.argmax(axis=1), path, classes=dataset.classes
                ),
            )
            _draw(folder / MISTAKES, lambda path: viz.save_mistakes(x_test, outputs, y_test, path))
        _write_results(folder, model, dataset.image, history, seconds, test)
        (folder / CHECKPOINT).unlink()  # the last of all: a run that is killed before it can still go on
    return folder


def fit_arguments(settings: Settings, part: Part) -> dict[str, Any]:
    """What `fit` is called with, `part` being all training data: the untrained network and the rest."""
    x, y = part
    training, validation = _split((x, _targets(settings, y)), y, settings)
    return {
        "model": build(settings),
        "data": training,
        "validation": validation,
        "loss": settings.loss,
        "optimizer": copy.deepcopy(settings.optimizer),  # its moments are the run's, not the settings'
        "order": settings.order,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "seed": settings.seed,
        **option_values(settings.options()),
    }


def build(settings: Settings) -> Sequential:
    """The untrained network."""
    manual_seed(settings.seed)
    if settings.model == "cnn":
        dataset = DATASETS[settings.dataset]
        return mnist_cnn(dataset.image, dataset.classes, dropout=settings.dropout)
    return mlp(settings.layers, settings.activation, settings.weight_init, settings.dropout)


def mlp(sizes: Sequence[int], activation: str, weight_init: str, dropout: float = 0.0) -> Sequential:
    """Flattened inputs, dense layers of these sizes, the activation between them, dropout before the last."""
    kind = choose(activation, ACTIVATIONS, "activation")
    layers: list[Layer] = []
    for fans in itertools.pairwise(sizes):
        layers += [Linear(*fans, weight_init=weight_init), kind()]
    layers.pop()  # no activation at the end: losses take logits
    if dropout and len(layers) > 1:
        layers.insert(-1, Dropout(dropout))
    return Sequential(Flatten(), *layers)


def _can_go_on(settings: Settings, out: Path | None) -> bool:
    """Whether `out` holds a run with these settings that was ended early.

    Raises ValueError without a folder, or where a setting is another one.
    """
    if out is None:
        raise ValueError("--resume needs --out, the folder of the run")
    if not (out / CONFIG).exists():
        return False
    theirs = json.loads((out / CONFIG).read_text())["settings"]
    ours = json.loads(json.dumps(plain(settings)))
    different = sorted(name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name))
    if "threads" in different:  # the results are the same
        different.remove("threads")
    if different:
        told = "; ".join(f"{name} {theirs.get(name)} there, {ours.get(name)} here" for name in different)
        raise ValueError(f"{out} holds another run: {told}")
    if not (out / CHECKPOINT).exists() and _has_ended(out):
        raise ValueError(f"the run in {out} has come to its end: there is nothing to resume")
    return True  # if it was killed before its first checkpoint, it begins again


def _has_ended(out: Path) -> bool:
    """Whether the results are there, and not only those of a run that was interrupted."""
    results = out / HISTORY
    return results.exists() and json.loads(results.read_text())["test"] is not None


def check_layers(layers: tuple[int, ...], dataset: Dataset) -> None:
    """Raise ValueError unless the first layer has the pixels of the data, and the last one the classes."""
    pixels, classes = math.prod(dataset.image), dataset.classes
    if (layers[0], layers[-1]) != (pixels, classes):
        example = ",".join(map(str, (pixels, *layers[1:-1], classes)))
        raise ValueError(
            f"the layers {','.join(map(str, layers))} do not fit the data: an image has {pixels} pixels, and "
            f"there are {classes} classes: try --layers {example}"
        )


def _targets(settings: Settings, labels: Array) -> Array:
    """What the loss takes: labels as they are, or a row of 0 and 1 for each."""
    if settings.loss == "cross_entropy":
        return labels
    return data.one_hot(labels, DATASETS[settings.dataset].classes)


def _split(training: Part, labels: Array, settings: Settings) -> tuple[Part, Part | None]:
    """Training and validation data; no validation data when none are asked for."""
    if settings.validation == 0:
        return training, None
    rows = np.arange(len(labels))
    (kept, _), (held_out, _) = data.stratified(rows, labels, 1 - settings.validation, seed=settings.seed)
    x, target = training
    return (x[kept], target[kept]), (x[held_out], target[held_out])


def new_folder(name: str) -> Path:
    """Make the first of runs/<name>-1, -2, ... that does not exist."""
    for number in itertools.count(1):
        folder = Path("runs", f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("unreachable: count() does not end")


def _emptied(folder: Path) -> Path:
    """Make the folder, and remove an earlier run's files: a run that fails must not keep them as its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, HISTORY, WEIGHTS, CURVES, IMAGES, CONFUSION, MISTAKES, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    return folder


def _announce(settings: Settings, model: Layer, trained_on: int, held_out: int) -> None:
    images = f"{trained_on:,} images to train on" + (f", {held_out:,} held out" if held_out else "")
    weights = sum(param.size for param in model.parameters())
    if settings.model == "cnn":
        kind = "convolutional net"
    else:
        kind = "-".join(map(str, settings.layers)) + f", {settings.activation}"
    print(f"{settings.dataset}: {images}")
    print(f"{kind}: {weights:,} parameters, {settings.optimizer}", flush=True)


def _write_results(
    folder: Path,
    model: Sequential,
    image: tuple[int, int],
    history: History,
    seconds: float,
    test: dict[str, float] | None,
) -> None:
    """Write all but config.json, and say where. `image` is the shape of a sample."""
    write_json(folder / HISTORY, {"test": test, "seconds": seconds, **history.as_dict()}, indent=None)
    save(model, folder / WEIGHTS)
    first = next(iter(model.parameters())).value
    if first.ndim == 4:  # filters (R, S, 1, O)
        image, first = first.shape[:2], first.reshape(-1, first.shape[3])
    try:
        if history.updates["loss"]:
            _draw(folder / CURVES, lambda path: viz.save_curves(history, path))
        if np.isfinite(first).all():  # after too large a step they may have no colour
            _draw(folder / IMAGES, lambda path: viz.save_weights(first, path, image_shape=image))
    except ImportError as error:
        print(f"no pictures: {error}")
    # A checkpoint stays where training was ended early.
    written = sorted(path.name for path in folder.iterdir() if path.name != CHECKPOINT or test is None)
    print(f"written to {folder}: {', '.join(written)}", flush=True)


def _draw(path: Path, draw: Callable[[Path], Path]) -> None:
    """Let `draw` make a picture, then rename it to `path`, which is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".drawing-") as folder:
        draw(Path(folder, path.name)).replace(path)


def write_json(path: Path, content: dict[str, Any], *, indent: int | None) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=indent) + "\n").encode())


def plain(settings: Settings) -> dict[str, Any]:
    """All settings in plain types."""
    return {**asdict(settings), "optimizer": describe(settings.optimizer)}
