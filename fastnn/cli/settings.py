"""What a training run is made of: data sets, models, and all the settings that determine its result."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastnn import data
from fastnn._validation import Array, choose, in_range, positive_int
from fastnn.augment import Augmentation, Rotate, Scale, Shift, Together
from fastnn.init import initializer
from fastnn.kernels import BACKENDS
from fastnn.layers import ACTIVATIONS
from fastnn.losses import loss_function
from fastnn.optim import schedules
from fastnn.optim.optimizers import SGD, Adam, Optimizer
from fastnn.optim.schedules import Schedule
from fastnn.training.options import OPTION_NAMES, TrainingOptions
from fastnn.training.orders import ORDERS

Part = tuple[Array, Array]


@dataclass(frozen=True)
class Dataset:
    """Where images come from, and what they are.

    `load` gives ((x_train, y_train), (x_test, y_test)); its argument says whether it may download them.
    """

    load: Callable[[bool], tuple[Part, Part]]
    image: tuple[int, int]
    classes: int


DATASETS = {
    "digits": Dataset(lambda download: data.digits(), (8, 8), 10),
    "mnist": Dataset(lambda download: data.mnist(download=download), (28, 28), 10),
}
MODELS = ("mlp", "cnn")
SCHEDULES: dict[str, Callable[[], Schedule | None]] = {
    "constant": lambda: None,
    "cosine": schedules.Cosine,
    "one_cycle": schedules.OneCycle,
}


@dataclass(frozen=True)
class Settings:
    """All that determines the result of a run.

    Args:
        dataset: The name of the data: "digits" or "mnist".
        model: mlp, dense layers as `layers` says, or cnn, the convolutional net fastnn.nets.mnist_cnn, for
            which `layers`, `activation` and `weight_init` mean nothing.
        layers: The number of pixels, of units in each hidden layer, and of classes.
        activation: What follows each hidden layer: relu, leaky_relu, elu, gelu, silu, sigmoid, tanh,
            softmax or identity.
        weight_init: How the weights start: an initializer of fastnn.init by its name, e.g. he_uniform.
        dropout: The share of the last hidden units that fall out at each update.
        loss: What is minimised: cross_entropy or squared_error.
        optimizer: How the weights follow the gradient: SGD, Adam, or the import path of a class. Its
            arguments are --optimizer.lr and so on: see --optimizer.help SGD.
        schedule: How the learning rate changes: constant, cosine (down to 0) or one_cycle (up, then down).
        ema: Average the weights with this decay, and test with the averages.
        rotate: Turn each training image by up to so many degrees at random.
        shift: Move each training image by up to so many pixels at random.
        zoom: Enlarge or shrink each training image by up to this share at random.
        order: In which order an epoch takes the images: random, fixed, alternate (one of each class in turn)
            or balanced (each class equally often).
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
    model: str = "mlp"
    layers: tuple[int, ...] = (64, 64, 32, 10)
    activation: str = "relu"
    weight_init: str = "fan_in_uniform"
    dropout: float = 0.0
    loss: str = "cross_entropy"
    # Chosen by the accuracy on random fifths held out of the 1,433 training images: 0.978.
    optimizer: Optimizer = field(default_factory=lambda: SGD(lr=0.1, momentum=0.9))
    schedule: str = "constant"
    ema: float | None = None
    rotate: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    order: str = "random"
    batch_size: int = 32
    epochs: int = 30
    validation: float = 0.0
    seed: int = 0
    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a setting that cannot be meant, listing the valid names."""
        choose(self.dataset, DATASETS, "dataset")
        choose(self.model, dict.fromkeys(MODELS), "model")
        choose(self.schedule, SCHEDULES, "schedule")
        choose(self.order, ORDERS, "order")
        in_range(self.dropout, "dropout", 0, 1)
        self.options()
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

    def options(self) -> TrainingOptions:
        """The training options among the settings. Raises ValueError for an invalid one."""
        own = {name: value for name, value in vars(self).items() if name in OPTION_NAMES}
        return TrainingOptions(
            **{**own, "schedule": SCHEDULES[self.schedule](), "augment": self.augmentation()}
        )

    def augmentation(self) -> Augmentation | None:
        """What is asked to be done to the training images, or None."""
        asked = (Rotate, self.rotate), (Shift, self.shift), (Scale, self.zoom)
        wanted = [kind(value) for kind, value in asked if value]
        return Together(*wanted) if wanted else None


# The defaults of each data set and model.
PRESETS = {
    "digits": {
        "mlp": Settings(),
        "cnn": Settings(model="cnn", dropout=0.5, optimizer=Adam(lr=0.004), schedule="one_cycle", epochs=20),
    },
    "mnist": {
        # Chosen by the mean accuracy of four seeds on 5,000 held-out training images, 0.977; 128 and 64
        # hidden units had 0.973.
        "mlp": Settings(
            "mnist", layers=(784, 256, 128, 10), weight_init="he_uniform", optimizer=SGD(lr=0.1), epochs=5
        ),
        "cnn": Settings(
            "mnist",
            "cnn",
            dropout=0.5,
            optimizer=Adam(lr=0.004),
            schedule="one_cycle",
            rotate=15.0,
            shift=1.5,
            zoom=0.1,
            batch_size=128,
            epochs=10,
        ),
    },
}


def optimizer_class(path: str) -> type[Optimizer]:
    """The class of an optimizer by its import path; ValueError where there is none.

    Anything else is refused: a file of settings must not be able to call whatever it names.
    """
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no optimizer {path}: {error}") from None
    if not (inspect.isclass(kind) and issubclass(kind, Optimizer)):
        raise ValueError(f"{path} is no optimizer: a class derived from fastnn.Optimizer is wanted")
    return kind


def optimizer_from(description: dict[str, Any]) -> Optimizer:
    """The optimizer that `describe` has described. Raises ValueError for a class that is none."""
    make: Callable[..., Optimizer] = optimizer_class(description["class_path"])
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in description["init_args"].items()}
    return make(**arguments)


def describe(optimizer: Optimizer) -> dict[str, Any]:
    """Class and arguments of an optimizer in plain types, in the form that jsonargparse reads."""
    kind = type(optimizer)
    arguments = {name: getattr(optimizer, name) for name in inspect.signature(kind).parameters}
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}
