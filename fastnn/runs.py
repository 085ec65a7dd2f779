"""One training run, from its settings to a folder of files: what `fastnn train` does.

    config.json           the settings, and the versions, backend and threads that they met
    history.json          the result on the test data, the seconds that training took, the curves
    weights.safetensors   the trained weights, for `fn.load`
    curves.png            loss and accuracy during training
    weights.png           the weights of the first layer, an image for each unit

To run it from Python: `runs.train(dataclasses.replace(runs.PRESETS["mnist"], seed=1))`.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import data, viz
from fastnn._door import Array, choose, in_range, positive_int
from fastnn.checkpoint import save
from fastnn.config import get_num_threads, set_num_threads
from fastnn.evaluation import evaluate
from fastnn.files import write_atomic
from fastnn.history import History
from fastnn.init import initializer
from fastnn.kernels import BACKENDS, active_backend, backend
from fastnn.layers import ACTIVATIONS, Flatten, Layer, Linear, Sequential
from fastnn.losses import loss_function
from fastnn.optim import SGD, Optimizer
from fastnn.rng import manual_seed
from fastnn.train import fit
from fastnn.trainer import NonFiniteError

Part = tuple[Array, Array]

CONFIG, HISTORY, WEIGHTS = "config.json", "history.json", "weights.safetensors"
CURVES, IMAGES = "curves.png", "weights.png"

# What gives ((x_train, y_train), (x_test, y_test)); the argument says whether it may download them.
DATASETS: dict[str, Callable[[bool], tuple[Part, Part]]] = {
    "digits": lambda download: data.digits(),
    "mnist": lambda download: data.mnist(download=download),
}


@dataclass(frozen=True)
class Settings:
    """All that determines the result of a run.

    Args:
        dataset: The name of the data: "digits" or "mnist".
        layers: The number of pixels, of units in each hidden layer, and of classes.
        activation: What follows each hidden layer: relu, sigmoid, tanh, softmax or identity.
        weight_init: How the weights start: an initializer of fastnn.init by its name, e.g. he_uniform.
        loss: What is minimised: cross_entropy or squared_error.
        optimizer: How the weights follow the gradient: SGD, Adam, or the import path of a class. Its
            arguments are --optimizer.lr and so on: see --optimizer.help SGD.
        batch_size: The number of images in an update.
        epochs: How often training goes through all images.
        validation: The share of the training images, in [0, 1), that is held out of training to report
            loss and accuracy on it after every epoch; drawn at random, the same share of each class.
        seed: What initial weights, order of the images and held-out images are drawn from.
        backend: Which kernels compute: aot (compiled), jit (Numba) or ref (NumPy). Without it: the
            environment variable FASTNN_BACKEND, else aot.
        threads: How many threads the compiled kernels may use. Without it: as many as the machine
            allows. The results are the same.
    """

    dataset: str = "digits"
    layers: tuple[int, ...] = (64, 64, 32, 10)
    activation: str = "relu"
    weight_init: str = "fan_in_uniform"
    loss: str = "cross_entropy"
    # Chosen by the accuracy on random fifths held out of the 1,433 training images: 0.978.
    optimizer: Optimizer = field(default_factory=lambda: SGD(lr=0.1, momentum=0.9))
    batch_size: int = 32
    epochs: int = 30
    validation: float = 0.0
    seed: int = 0
    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a setting that cannot be meant, listing the valid names."""
        choose(self.dataset, DATASETS, "dataset")
        if len(self.layers) < 2:
            raise ValueError(f"layers must name at least the pixels and the classes, not {self.layers}")
        for size in self.layers:
            positive_int(size, "each of the layers")
        choose(self.activation, ACTIVATIONS, "activation")
        initializer(self.weight_init)
        loss_function(self.loss)
        positive_int(self.batch_size, "batch_size")
        positive_int(self.epochs, "epochs")
        if in_range(self.validation, "validation", 0, 1) == 1:
            raise ValueError("validation must leave something to train on: it must be below 1")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")
        if self.backend is not None:
            choose(self.backend, dict.fromkeys(BACKENDS), "backend")
        if self.threads is not None:
            positive_int(self.threads, "threads")


PRESETS = {
    "digits": Settings(),
    # Chosen by the mean accuracy of four seeds on 5,000 held-out training images, 0.977; 128 and 64 hidden
    # units had 0.973.
    "mnist": Settings(
        "mnist", layers=(784, 256, 128, 10), weight_init="he_uniform", optimizer=SGD(lr=0.1), epochs=5
    ),
}


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


def train(
    settings: Settings, *, out: Path | None = None, overwrite: bool = False, download: bool = True
) -> Path:
    """Train a network, evaluate it once on the test data, and write all files; returns their folder.

    `out` is that folder, by default the first unused runs/<dataset>-<number>; one that holds a run
    already needs `overwrite`. `download` allows fetching data that are not on this machine. Prints what
    it does. Seeds the default generator and sets the number of threads.

    Ctrl-C and a loss that is no longer finite end the training; what is done is written all the same,
    then KeyboardInterrupt or `NonFiniteError` is raised. Raises FileExistsError for a folder in use,
    `DatasetNotFoundError` for missing data, and ValueError for settings that do not fit them.
    """
    if out is not None and (out / CONFIG).exists() and not overwrite:
        raise FileExistsError(f"{out} holds a run already: choose another --out, or --overwrite it")
    (x, y), (x_test, y_test) = DATASETS[settings.dataset](download)
    image = x.shape[1:]
    _check_layers(settings.layers, image, int(y.max()) + 1)

    if settings.threads is not None:
        set_num_threads(settings.threads)
    with backend(settings.backend or active_backend()):
        training, validation = _split((x, _targets(settings, y)), y, settings)
        model = build(settings)
        folder = _new_folder(settings.dataset) if out is None else _emptied(out)
        _write_json(folder / CONFIG, {"settings": _plain(settings), "environment": _environment()}, indent=2)
        _announce(settings, model, len(training[0]), 0 if validation is None else len(validation[0]))

        history = PrintedHistory(settings.epochs)
        started = time.perf_counter()
        try:
            fit(
                model,
                training,
                validation=validation,
                loss=settings.loss,
                optimizer=copy.deepcopy(settings.optimizer),  # its moments are the run's, not the settings'
                batch_size=settings.batch_size,
                epochs=settings.epochs,
                seed=settings.seed,
                history=history,
            )
            seconds = time.perf_counter() - started
            test = evaluate(model, (x_test, _targets(settings, y_test)), loss=settings.loss)
        except (KeyboardInterrupt, NonFiniteError) as reason:
            history.stopped = str(reason) or "interrupted"
            print(f"stopped after {history.epochs} epochs, {len(history.updates['loss']):,} updates")
            _write_results(folder, model, image, history, time.perf_counter() - started, None)
            raise
        print(
            f"test  loss {test['loss']:.4f}  accuracy {test['accuracy']:.4f}  (trained for {seconds:.1f} s)"
        )
        _write_results(folder, model, image, history, seconds, test)
    return folder


def build(settings: Settings) -> Sequential:
    """The untrained network: images flattened, dense layers, the activation between them."""
    manual_seed(settings.seed)
    return mlp(settings.layers, settings.activation, settings.weight_init)


def mlp(sizes: Sequence[int], activation: str, weight_init: str) -> Sequential:
    """Flattened inputs, dense layers of these sizes, the activation between them."""
    kind = choose(activation, ACTIVATIONS, "activation")
    layers: list[Layer] = []
    for fans in itertools.pairwise(sizes):
        layers += [Linear(*fans, weight_init=weight_init), kind()]
    return Sequential(Flatten(), *layers[:-1])  # no activation at the end: losses take logits


def describe(optimizer: Optimizer) -> dict[str, Any]:
    """Class and arguments of an optimizer in plain types, in the form that jsonargparse reads."""
    kind = type(optimizer)
    arguments = {name: getattr(optimizer, name) for name in inspect.signature(kind).parameters}
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def _check_layers(layers: tuple[int, ...], image: tuple[int, ...], classes: int) -> None:
    pixels = math.prod(image)
    if (layers[0], layers[-1]) != (pixels, classes):
        example = ",".join(map(str, (pixels, *layers[1:-1], classes)))
        raise ValueError(
            f"the layers {','.join(map(str, layers))} do not fit the data: an image has {pixels} pixels, and "
            f"there are {classes} classes: try --layers {example}"
        )


def _targets(settings: Settings, labels: Array) -> Array:
    """What the loss takes: labels as they are, or a row of 0 and 1 for each."""
    return labels if settings.loss == "cross_entropy" else data.one_hot(labels, settings.layers[-1])


def _split(training: Part, labels: Array, settings: Settings) -> tuple[Part, Part | None]:
    """Training and validation data; no validation data when none are asked for."""
    if settings.validation == 0:
        return training, None
    rows = np.arange(len(labels))
    (kept, _), (held_out, _) = data.stratified(rows, labels, 1 - settings.validation, seed=settings.seed)
    x, target = training
    return (x[kept], target[kept]), (x[held_out], target[held_out])


def _new_folder(dataset: str) -> Path:
    """Make the first of runs/<dataset>-1, -2, ... that does not exist."""
    for number in itertools.count(1):
        folder = Path("runs", f"{dataset}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("unreachable: count() does not end")


def _emptied(folder: Path) -> Path:
    """Make the folder, and remove an earlier run's files: a run that fails must not keep them as its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, HISTORY, WEIGHTS, CURVES, IMAGES):
        (folder / name).unlink(missing_ok=True)
    return folder


def _announce(settings: Settings, model: Layer, trained_on: int, held_out: int) -> None:
    images = f"{trained_on:,} images to train on" + (f", {held_out:,} held out" if held_out else "")
    weights = sum(param.size for param in model.parameters())
    layers = "-".join(map(str, settings.layers))
    print(f"{settings.dataset}: {images}")
    print(f"{layers}, {settings.activation}: {weights:,} parameters, {settings.optimizer}", flush=True)


def _write_results(
    folder: Path,
    model: Sequential,
    image: tuple[int, int],
    history: History,
    seconds: float,
    test: dict[str, float] | None,
) -> None:
    """Write all but config.json, and say where. `image` is the shape of a sample."""
    _write_json(folder / HISTORY, {"test": test, "seconds": seconds, **history.as_dict()}, indent=None)
    save(model, folder / WEIGHTS)
    first = next(iter(model.parameters())).value
    try:
        if history.updates["loss"]:
            _draw(folder / CURVES, lambda path: viz.save_curves(history, path))
        if np.isfinite(first).all():  # after too large a step they may have no colour
            _draw(folder / IMAGES, lambda path: viz.save_weights(first, path, image_shape=image))
    except ImportError as error:
        print(f"no pictures: {error}")
    print(f"written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}", flush=True)


def _draw(path: Path, draw: Callable[[Path], Path]) -> None:
    """Let `draw` make a picture, then rename it to `path`, which is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".drawing-") as folder:
        draw(Path(folder, path.name)).replace(path)


def _write_json(path: Path, content: dict[str, Any], *, indent: int | None) -> None:
    write_atomic(path, (json.dumps(content, indent=indent) + "\n").encode())


def _plain(settings: Settings) -> dict[str, Any]:
    return {**asdict(settings), "optimizer": describe(settings.optimizer)}


def _environment() -> dict[str, Any]:
    """What else a result may depend on, to the last bit."""
    from fastnn.kernels import core

    return {
        "fastnn": metadata.version("fastnn-kernels"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "instruction_set": core.isa(),
        "backend": active_backend(),
        "threads": get_num_threads(),
    }
