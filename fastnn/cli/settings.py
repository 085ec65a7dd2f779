"""The settings of a training run, with the data sets, models and presets to choose from."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastnn._validation import choose, in_range, positive_int
from fastnn.augment import Augmentation, Rotate, Scale, Shift, Together
from fastnn.cli.named_data import DATASETS
from fastnn.config import MAX_THREADS
from fastnn.init import initializer
from fastnn.kernels import BACKENDS, active_backend, backend
from fastnn.layers import ACTIVATIONS
from fastnn.losses import loss_function
from fastnn.optim import schedules
from fastnn.optim.optimizers import OPTIMIZERS, SGD, Adam, Optimizer, optimizer_of
from fastnn.optim.schedules import Schedule
from fastnn.training.options import OPTION_NAMES, TrainingOptions
from fastnn.training.orders import ORDERS

MAX_COUNT = 2**31 - 1  # epochs and images per update
MAX_WEIGHTS = 2**28  # 1 GiB in float32: with gradients and Adam's moments, a training holds four times that
MODELS = ("mlp", "cnn")
SCHEDULES: dict[str, Callable[[], Schedule | None]] = {
    "constant": lambda: None,
    "cosine": schedules.Cosine,
    "one_cycle": schedules.OneCycle,
}


@dataclass(frozen=True)
class Settings:
    """Settings of a training run.

    Args:
        dataset: Name of the data set: digits, mnist, fashion-mnist, emnist-balanced and so on.
        model: Network to train: mlp (multi-layer perceptron) or cnn (the convolutional network
            fastnn.nets.mnist_cnn, which ignores layers, activation and weight_init).
        layers: Layer sizes of the mlp: pixels, units of each hidden layer, classes. Example: 784,128,10.
        activation: Activation after each hidden layer: relu, leaky_relu, elu, gelu, silu, sigmoid, tanh,
            softmax or identity.
        weight_init: Initializer of the weights, a name from fastnn.init such as he_uniform.
        dropout: Dropout rate before the output layer, in [0, 1].
        loss: Loss to minimize: cross_entropy or squared_error.
        optimizer: Optimizer: SGD, Adam, AdamW, RMSprop, or the import path of a class. Set its arguments
            with --optimizer.lr and so on; --optimizer.help SGD lists them.
        schedule: Learning rate schedule: constant, cosine (decays to 0) or one_cycle (rises, then falls).
        ema: Decay of an exponential moving average of the weights, in [0, 1). The test uses the averaged
            weights. Default: no averaging.
        rotate: Augmentation: rotate each training image by a random angle of up to this many degrees.
        shift: Augmentation: shift each training image at random by up to this many pixels.
        zoom: Augmentation: scale each training image by a random factor between 1 - zoom and 1 + zoom.
        order: Order of the training images in an epoch: random, fixed (as stored), alternate (one image of
            each class in turn) or balanced (drawn so that all classes are equally frequent).
        batch_size: Number of images per update.
        micro_batch: Number of images to compute at once: a larger batch is computed in pieces of this size,
            whose gradients are summed, in less memory. Default: the whole batch.
        precision: bf16 to round the operands of dense layers to bf16, faster on processors that have
            AVX512_BF16. Weights, predictions and everything else stay float32. Default: float32.
        sync_batch_norm: true to take the statistics of batch norm over all processes that mpirun has started,
            not over the share of each. Default: false.
        epochs: Number of passes over the training set.
        validation: Fraction of the training images to hold out for validation, in [0, 1). They are drawn at
            random, the same fraction of each class; their loss and accuracy are reported after every epoch.
        validate_every: Validate after every so many updates, and after the last one. Default: after every
            epoch.
        seed: Seed of the initial weights, of the order of the images, of dropout and augmentation, of the
            validation split, and of the test split of your own data.
        backend: Kernels to use: aot (compiled), jit (Numba) or ref (NumPy). Default: the environment
            variable FASTNN_BACKEND, or else aot.
        threads: Number of threads for the compiled kernels. Default: as many as the machine allows. The
            number does not change the results.
    """

    DATASETS: ClassVar[Collection[str]] = DATASETS

    dataset: str = "digits"
    model: str = "mlp"
    layers: tuple[int, ...] = (64, 64, 32, 10)
    activation: str = "relu"
    weight_init: str = "fan_in_uniform"
    dropout: float = 0.0
    loss: str = "cross_entropy"
    # Chosen by the validation accuracy (0.978) on random fifths of the 1,433 training images.
    optimizer: Optimizer = field(default_factory=lambda: SGD(lr=0.1, momentum=0.9))
    schedule: str = "constant"
    ema: float | None = None
    rotate: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    order: str = "random"
    batch_size: int = 32
    micro_batch: int | None = None
    precision: str | None = None
    sync_batch_norm: bool = False
    epochs: int = 30
    validation: float = 0.0
    validate_every: int | None = None
    seed: int = 0
    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid setting, listing the valid names."""
        choose(self.dataset, dict.fromkeys(self.DATASETS), "dataset")
        choose(self.model, dict.fromkeys(MODELS), "model")
        choose(self.schedule, SCHEDULES, "schedule")
        choose(self.order, ORDERS, "order")
        in_range(self.dropout, "dropout", 0, 1)
        with backend("ref"):  # has every precision: any machine may read the settings of a run
            self.options()
        if len(self.layers) < 2:
            raise ValueError(
                f"layers must have at least two sizes, the pixels and the classes, not {self.layers}"
            )
        for size in self.layers:
            bounded(size, "each of the layers", MAX_WEIGHTS)
        weights = sum(rows * columns for rows, columns in itertools.pairwise(self.layers))
        if weights > MAX_WEIGHTS:
            raise ValueError(f"the layers have {weights:,} weights, but at most {MAX_WEIGHTS:,} are accepted")
        choose(self.activation, ACTIVATIONS, "activation")
        initializer(self.weight_init)
        loss_function(self.loss)
        bounded(self.batch_size, "batch_size", MAX_COUNT)
        bounded(self.epochs, "epochs", MAX_COUNT)
        if in_range(self.validation, "validation", 0, 1) == 1:
            raise ValueError("validation must be below 1, so that some images are left to train on")
        if self.validate_every is not None:
            bounded(self.validate_every, "validate_every", MAX_COUNT)
            if self.validation == 0:
                raise ValueError(
                    "validate_every needs images to validate on: pass --validation 0.1, or another fraction"
                )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be at least 0 and below 2**63, not {_short(self.seed)}")
        if self.backend is not None:
            choose(self.backend, dict.fromkeys(BACKENDS), "backend")
        if self.threads is not None:
            bounded(self.threads, "threads", MAX_THREADS)

    def options(self) -> TrainingOptions:
        """The training options among the settings.

        Raises ValueError for an invalid one, RuntimeError if the active backend lacks the precision here.
        """
        own = {name: value for name, value in vars(self).items() if name in OPTION_NAMES}
        return TrainingOptions(
            **{**own, "schedule": SCHEDULES[self.schedule](), "augment": self.augmentation()}
        )

    def check_processor(self) -> None:
        """Raise ValueError if this processor cannot train in the precision of the settings."""
        if self.precision is None:
            return
        with backend(self.backend or active_backend()):
            try:
                self.options()
            except RuntimeError as error:
                raise ValueError(str(error)) from None

    def augmentation(self) -> Augmentation | None:
        """Return the augmentation of the training images; None if rotate, shift and zoom are all 0."""
        options = (Rotate, self.rotate), (Shift, self.shift), (Scale, self.zoom)
        chosen = [kind(value) for kind, value in options if value]
        return Together(*chosen) if chosen else None


def bounded(value: int, name: str, highest: int) -> None:
    """Raise ValueError unless `value` is an integer in 1..highest."""
    if positive_int(value, name) > highest:
        raise ValueError(f"{name} must be at most {highest:,}, not {_short(value)}")


def _short(number: int) -> str:
    """Return the digits of an integer, or only their order of magnitude if there are many."""
    return str(number) if abs(number) < 10**20 else f"about {'-' * (number < 0)}2**{number.bit_length()}"


def _like_mnist(name: str) -> dict[str, Settings]:
    """The presets of a data set in the format of MNIST."""
    # Chosen by the mean validation accuracy of four seeds on 5,000 held-out training images of MNIST: 0.977.
    # 128 and 64 hidden units reached 0.973.
    layers = 784, 256, 128, DATASETS[name].classes
    mlp = Settings(name, layers=layers, weight_init="he_uniform", optimizer=SGD(lr=0.1), epochs=5)
    cnn = Settings(
        name,
        "cnn",
        dropout=0.5,
        optimizer=Adam(lr=0.004),
        schedule="one_cycle",
        rotate=15.0,
        shift=1.5,
        zoom=0.1,
        batch_size=128,
        epochs=10,
    )
    return {"mlp": mlp, "cnn": cnn}


# The default settings for each data set and model.
PRESETS = {
    "digits": {
        "mlp": Settings(),
        "cnn": Settings(model="cnn", dropout=0.5, optimizer=Adam(lr=0.004), schedule="one_cycle", epochs=20),
    },
    **{name: _like_mnist(name) for name in DATASETS if name != "digits"},
}


def optimizer_named(path: str) -> Optimizer:
    """Return the optimizer that a file names, such as "adam", "Adam" or "fastnn.Adam", with its defaults.

    Nothing is imported: a settings file comes from anyone, and an import runs a module's code. Raises
    ValueError for any other name.
    """
    name = path.removeprefix("fastnn.").removeprefix("optim.")
    if "." in name:
        raise ValueError(
            f"a file can name only fastnn's optimizers ({', '.join(sorted(OPTIMIZERS))}), not {path!r:.80}: "
            "give the import path of your own class on the command line, fastnn train DATASET --optimizer"
        )
    return optimizer_of(name.lower())


def describe(optimizer: Optimizer) -> dict[str, Any]:
    """Return the class path and the arguments of an optimizer as a dict, in the form of jsonargparse."""
    kind = type(optimizer)
    arguments = {name: getattr(optimizer, name) for name in inspect.signature(kind).parameters}
    return {"class_path": _import_path(kind), "init_args": arguments}


def _import_path(kind: type) -> str:
    """Return the shortest import path of a class: fastnn.SGD, not fastnn.optim.optimizers.SGD."""
    packages = itertools.accumulate(kind.__module__.split("."), "{}.{}".format)
    homes = (p for p in packages if getattr(sys.modules.get(p), kind.__qualname__, None) is kind)
    home = next(homes, kind.__module__)  # a nested class is no attribute of a module
    return f"{home}.{kind.__qualname__}"
