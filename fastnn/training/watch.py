"""What goes wrong in a training without an error: said while it can still be mended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fastnn import states
from fastnn._validation import Array, warn
from fastnn.kernels import ops
from fastnn.layers import Layer, ReLU, Sequential
from fastnn.losses import CrossEntropy
from fastnn.metrics import has_classes
from fastnn.param import Param
from fastnn.recording.recorder import calls_python, declares_recordable
from fastnn.training.callbacks import Callback, Training
from fastnn.training.samples import Samples

# Gradients that differ so much from layer to layer (by their root mean squares) do not train together.
RATIO = 1e3
# A loss within this share of that of a net that guesses.
AS_GUESSED = 0.02
# A loss so many times as large as at first.
DIVERGED = 3.0
# The share of a layer's units that may be 0 for all samples; of fewer units than this, all of them.
DEAD, FEW_UNITS = 0.5, 8
# Updates before anything is said of a loss.
PATIENCE = 100
# Samples of a look, and of the second look that must confirm that units are dead.
LOOK, CONFIRM = 256, 2048
# A look takes about as long as training on LOOK samples: with so many between two looks it costs 1 %.
BETWEEN_LOOKS = 100 * LOOK


class Layers(NamedTuple):
    """What a look finds."""

    norms: dict[str, float]
    """The norm of the gradient of each parameter that is not frozen."""
    dead: dict[str, tuple[int, int]]
    """Of each ReLU layer: how many units are 0 for all samples, and how many there are."""


class GradientWatch(Callback):
    """Warns of a loss that does not move, vanished and exploded gradients, and dead ReLUs, with the numbers.

    After every epoch it looks at the gradients and the outputs of the ReLU layers of 256 training samples;
    nothing of the model changes. `updates` says when it looked, `norms` holds the norm of the gradient of
    each parameter then, by name, and `found` the warnings by their kinds. Each kind is said once in a
    training, as a UserWarning, unless `silent`:

    - "stuck": the cross-entropy is, at the start and after the epoch, that of a net that guesses: ln(classes)
      or the entropy of the labels (within 2 %);
    - "diverged": the mean loss of the last 100 updates is more than thrice that of the first;
    - "vanished": the gradients of a layer's weights are, by their root mean squares, less than a thousandth
      of those of a layer above it;
    - "exploded": they are more than a thousand times as large as those above, or not finite;
    - "dead": half of the units of a ReLU layer or more are 0 for each of 2,048 samples.

    `fit` has one of its own, which looks when that costs less than 1 % (after 25,600 samples, and whenever
    their number has doubled) or when the loss is stuck or grows. See Glorot and Bengio 2010 (vanishing),
    Pascanu et al. 2013 (exploding), Maas et al. 2013 (dead ReLUs).
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self._begin()

    def _begin(self) -> None:
        self.updates: list[int] = []
        self.norms: dict[str, list[float]] = {}
        self.found: dict[str, str] = {}

    def on_train_begin(self, training: Training) -> None:
        if training.updates == 0:
            self._begin()

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        complaints = {"stuck": _stuck(training), "diverged": _diverged(training)}
        self._say(complaints)
        if self.wants_to_look(training, any(complaints.values())):
            self._look(training)

    def wants_to_look(self, training: Training, suspicious: bool) -> bool:
        """Whether to look at the gradients now; `suspicious`: the loss does not go down."""
        return True

    def _look(self, training: Training) -> None:
        found = look(training, _spread(training.samples, LOOK))
        self.updates.append(training.updates)
        for name, norm in found.norms.items():
            self.norms.setdefault(name, []).append(norm)
        if training.updates >= PATIENCE:
            self._say(
                {
                    "vanished": _vanished(training.model, found.norms),
                    "exploded": _exploded(training.model, found.norms),
                    "dead": _dead(training, found.dead),
                }
            )

    def _say(self, complaints: Mapping[str, str | None]) -> None:
        for kind, complaint in complaints.items():
            if complaint is not None and kind not in self.found:
                self.found[kind] = complaint
                if not self.silent:
                    warn(complaint)


class SparingWatch(GradientWatch):
    """The watch that `fit` has by default: it looks where that costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._next = BETWEEN_LOOKS

    def wants_to_look(self, training: Training, suspicious: bool) -> bool:
        if calls_python(training.model) or not declares_recordable(training.trainer.loss):
            return False  # what users write may count its calls, or take long
        seen = (training.epoch + 1) * len(training.samples)
        if seen < self._next and not (suspicious and not self.updates):
            return False
        self._next = 2 * seen
        return True


def look(training: Training, batch: tuple[Array, Array]) -> Layers:
    """The gradients of the loss of a batch, and the units that are 0 for all of it; changes nothing."""
    model, loss = training.model, training.trainer.loss
    x, target = batch
    with states.restored(model), states.restored_gradients(model):
        outputs, backward = model.forward(x, train=True)
        _, dy = loss.value_and_gradient(outputs, target)
        backward(dy, need_dx=False)
        norms = {
            name: _norm(param.grad_buffer())
            for name, param in model.named_parameters()
            if param.has_grad and not param.frozen
        }
    return Layers(norms, dict(_dead_units(model, x)))


def _norm(gradient: Array) -> float:
    """Not by NumPy, whose BLAS would wake threads that go on spinning where other trainings run."""
    total = np.empty(1)
    ops.sum_squares(gradient, total)
    return math.sqrt(total[0])


def _dead_units(model: Layer, x: Array) -> Iterator[tuple[str, tuple[int, int]]]:
    """Of each ReLU layer by its name: units, or channels, that are 0 for all of `x`, and all of them."""
    for name, layer in _in_a_row(model):
        x, _ = layer.forward(x)
        if type(layer) is ReLU:
            alive = np.any(x, axis=tuple(range(x.ndim - 1)))
            yield name, (int(alive.size - np.count_nonzero(alive)), alive.size)


def _in_a_row(model: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers that follow each other, those of a Sequential in a Sequential as well, with their names."""
    if type(model) is not Sequential:
        yield prefix.removesuffix("."), model
        return
    for index, layer in enumerate(model):
        yield from _in_a_row(layer, f"{prefix}{index}.")


def _spread(samples: Samples, count: int) -> tuple[Array, Array]:
    """A batch of at most `count` samples, evenly from all: data often come sorted by their classes."""
    count = min(count, len(samples))
    return samples.batch(np.arange(count) * len(samples) // count)


def _shares(target: Array, classes: int) -> Array | None:
    """The share of each class among the targets; None where they do not name classes."""
    if not has_classes(target):
        return None
    counts: Array = np.bincount(target, minlength=classes) if target.ndim == 1 else target.sum(axis=0)
    return counts / counts.sum()  # type: ignore[no-any-return]


def _first_and_last(training: Training) -> tuple[float, float] | None:
    """The mean loss of the first updates and of the last ones; None if they are few."""
    losses = training.history.updates["loss"]
    if len(losses) < 2 * PATIENCE:
        return None
    return float(np.mean(losses[:PATIENCE])), float(np.mean(losses[-PATIENCE:]))


def _stuck(training: Training) -> str | None:
    loss, samples, means = training.trainer.loss, training.samples, _first_and_last(training)
    if means is None or type(loss) is not CrossEntropy:
        return None
    if loss.reduction != "mean" or loss.weight is not None or loss.label_smoothing:
        return None
    shares = _shares(samples.target, training.model.output_shape(samples.x.shape[1:])[0])
    if shares is None or len(shares) < 2:
        return None
    uniform, present = math.log(len(shares)), shares[shares > 0]
    low = -float(np.sum(present * np.log(present))) * (1 - AS_GUESSED)
    if not all(low <= mean <= uniform * (1 + AS_GUESSED) for mean in means):
        return None
    if means[1] < means[0] * (1 - AS_GUESSED):  # rare classes: from ln(classes) to the entropy is a way
        return None
    return (
        f"the loss was {means[0]:.4g} at first and is {means[1]:.4g} after {training.updates:,} updates, and "
        f"a net that guesses has ln({len(shares)}) = {uniform:.4g}: it has learned nothing yet. Raise the "
        f"learning rate (now {training.optimizer.lr:g}), begin with larger weights (weight_init="
        '"he_uniform"), and see whether the labels belong to their samples'
    )


def _diverged(training: Training) -> str | None:
    means = _first_and_last(training)
    if means is None or not means[1] > DIVERGED * means[0] > 0:
        return None
    return (
        f"the loss grows: it was {means[0]:.4g} at first and is {means[1]:.4g} after {training.updates:,} "
        f"updates: lower the learning rate (now {training.optimizer.lr:g}), or pass clip_norm=1.0 to fit"
    )


def _weights(model: Layer, norms: Mapping[str, float]) -> dict[str, Param]:
    """The matrices and filters among the parameters that have a norm, from the lowest layer up."""
    return {name: param for name, param in model.named_parameters() if name in norms and len(param.shape) > 1}


def _mean_squares(model: Layer, norms: Mapping[str, float]) -> dict[str, float]:
    """The root mean square of the gradient of each weight matrix."""
    return {name: norms[name] / math.sqrt(param.size) for name, param in _weights(model, norms).items()}


def _listed(values: Mapping[str, float]) -> str:
    """At most six of the numbers, with the names: the first and the last three."""
    shown = [f"{value:.1e} in {name}" for name, value in values.items()]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-3:]])


def _vanished(model: Layer, norms: Mapping[str, float]) -> str | None:
    found = _mean_squares(model, norms)
    values = list(found.values())
    if not any(value * RATIO < max(values[index:]) for index, value in enumerate(values)):
        return None
    return (
        f"the gradients vanish on the way down (root mean squares: {_listed(found)}): the layers with the "
        "small ones hardly learn. Use ReLU in place of Sigmoid or Tanh, begin with weight_init="
        '"he_uniform", or put BatchNorm between the layers'
    )


def _exploded(model: Layer, norms: Mapping[str, float]) -> str | None:
    cure = "lower the learning rate, pass clip_norm=1.0 to fit, or begin with smaller weights"
    if not all(map(math.isfinite, norms.values())):
        bad = ", ".join(name for name, norm in norms.items() if not math.isfinite(norm))
        return f"the gradients have exploded: those of {bad} are not finite: {cure}"
    found = _mean_squares(model, norms)
    values = list(found.values())
    if any(value > RATIO * max(values[index:]) > 0 for index, value in enumerate(values[:-1], start=1)):
        return f"the gradients explode on the way down (root mean squares: {_listed(found)}): {cure}"
    return None


def _dead(training: Training, dead: Mapping[str, tuple[int, int]]) -> str | None:
    if not any(map(_too_many, dead.values())):
        return None
    batch = _spread(training.samples, CONFIRM)
    surely = {name: count for name, count in _dead_units(training.model, batch[0]) if _too_many(count)}
    if not surely:
        return None
    told = ", ".join(
        f"{count} of the {units} units of layer {name}" for name, (count, units) in surely.items()
    )
    return (
        f"dead ReLUs: {told} are 0 for each of {len(batch[0]):,} training samples, so that no gradient "
        "reaches them any more. Lower the learning rate, begin with weight_init="
        '"he_uniform", or put BatchNorm before the ReLU'
    )


def _too_many(dead: tuple[int, int]) -> bool:
    count, units = dead
    return count == units if units < FEW_UNITS else count >= DEAD * units
