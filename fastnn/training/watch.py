"""Warnings about trainings that go wrong without an error, while they can still be repaired."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import numpy as np

from fastnn import states
from fastnn._validation import Array, flag, warn
from fastnn.kernels import ops
from fastnn.layers import Layer, ReLU, Sequential
from fastnn.losses import CrossEntropy
from fastnn.metrics import are_pixel_labels, has_classes
from fastnn.param import Param
from fastnn.recording.recorder import calls_python, declares_recordable
from fastnn.training.callbacks import Callback, Training
from fastnn.training.samples import Samples

# Layers whose gradients differ by this factor (in root mean square) do not train together.
RATIO = 1e3
# A loss within this fraction of the loss of a guessing net counts as not learned.
AS_GUESSED = 0.02
# A loss this many times as large as at the start has diverged.
DIVERGED = 3.0
# The fraction of a layer's units that must be 0 for all samples to warn; all units of layers that have fewer
# than FEW_UNITS.
DEAD, FEW_UNITS = 0.5, 8
# The number of updates before the first check of a loss.
PATIENCE = 100
# The number of samples of a check, and of the second check that must confirm dead units.
CHECK_SAMPLES, CONFIRM_SAMPLES = 256, 2048
# A check takes about as long as training on CHECK_SAMPLES samples: this many samples between two checks
# limit its cost to 1 %.
BETWEEN_CHECKS = 100 * CHECK_SAMPLES


class LayerCheck(NamedTuple):
    """The result of a check of the gradients and activations."""

    norms: dict[str, float]
    """The norm of the gradient of each parameter that is not frozen."""
    dead: dict[str, tuple[int, int]]
    """For each ReLU layer, how many units are 0 for all samples, and how many units it has."""


class GradientWatch(Callback):
    """Warns of a loss that does not decrease, of vanishing and exploding gradients, and of dead ReLUs.

    After every epoch it checks the gradients and the outputs of the ReLU layers for 256 training samples; the
    model does not change. `updates` lists when it checked, `norms` the gradient norms of each parameter by
    name, `found` the warnings by kind. Each kind is issued once per training, as a UserWarning with the
    numbers, unless `silent`:

    - "stuck": at the start and after the epoch, the cross-entropy is that of a guessing net, ln(classes) or
      the entropy of the labels (within 2 %);
    - "diverged": the mean loss of the last 100 updates is more than 3 times the mean loss of the first 100;
    - "vanished": the gradients of a layer's weights are less than a thousandth of the gradients of a later
      layer, in root mean square;
    - "exploded": they are more than a thousand times the gradients of all later layers, or not finite;
    - "dead": at least half of the units of a ReLU layer are 0 for each of 2,048 samples.

    `fit` adds a watch of its own, which checks the gradients when that costs less than 1 % (after 25,600
    samples, and each time their number has doubled), and when the loss grows or is that of a guessing net. Of
    batches that come one after the other, it checks the first one. A
    watch starts afresh with every call of `fit`, also of one that resumes. See Glorot and Bengio 2010
    (vanishing), Pascanu et al. 2013 (exploding), Maas et al. 2013 (dead ReLUs).
    """

    silent: bool
    updates: list[int]
    norms: dict[str, list[float]]
    found: dict[str, str]
    _checks: ClassVar = {"silent": flag}

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self._reset()

    def _reset(self) -> None:
        self.updates = []
        self.norms = {}
        self.found = {}

    def on_train_begin(self, training: Training) -> None:
        self._reset()
        self._guessing = _loss_of_guessing(training)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        problems = {"stuck": _stuck(training, self._guessing), "diverged": _diverged(training)}
        self._report(problems)
        if self.is_check_due(training, any(problems.values()) or _guesses(training, self._guessing)):
            self._check(training)

    def is_check_due(self, training: Training, suspicious: bool) -> bool:
        """Whether to check the gradients now; `suspicious`: the loss grows or is that of a guessing net."""
        return True

    def _check(self, training: Training) -> None:
        found = check_layers(training, spread(training.samples, CHECK_SAMPLES))
        self.updates.append(training.updates)
        for name, norm in found.norms.items():
            self.norms.setdefault(name, []).append(norm)
        if training.updates >= PATIENCE:
            self._report(
                {
                    "vanished": _vanished(training.model, found.norms),
                    "exploded": _exploded(training.model, found.norms),
                    "dead": _dead(training, found.dead),
                }
            )

    def _report(self, problems: Mapping[str, str | None]) -> None:
        for kind, message in problems.items():
            if message is not None and kind not in self.found:
                self.found[kind] = message
                if not self.silent:
                    warn(message)


Batch = tuple[Array, Array, Array | None]
"""Features, targets and sample weights."""


class SparingWatch(GradientWatch):
    """The default watch of `fit`: it checks the gradients where that costs next to nothing."""

    def _reset(self) -> None:
        super()._reset()
        self._next = BETWEEN_CHECKS

    def is_check_due(self, training: Training, suspicious: bool) -> bool:
        # Of a stream, `samples` are the first mini-batch.
        times = training.updates if training.is_stream else training.epoch + 1
        seen = times * len(training.samples)
        # A suspicious loss is checked the first time, and at the end: the ReLUs may have died in between.
        is_last = training.epoch + 1 == training.epochs
        if seen < self._next and not (suspicious and (is_last or not self.updates)):
            return False
        if calls_python(training.model) or not declares_recordable(training.trainer.loss):
            return False  # layers and losses of users may count their calls, or take long
        self._next = max(2 * seen, BETWEEN_CHECKS)
        return True


def check_layers(training: Training, batch: Batch) -> LayerCheck:
    """The gradient norms on a batch, and the units that are 0 for the whole batch; changes nothing."""
    with gradients_on(training, batch) as gradients:
        norms = {name: _norm(gradient) for name, gradient in gradients.items()}
    return LayerCheck(norms, dict(_dead_units(training.model, batch[0])))


@contextmanager
def gradients_on(training: Training, batch: Batch) -> Iterator[dict[str, Array]]:
    """The gradients on a batch, by name, of all parameters that are not frozen.

    They are valid until the end of the `with` block; then the model has its own gradients and states again.
    """
    model, loss = training.model, training.trainer.loss
    x, target, weight = batch
    with states.restored(model), states.restored_gradients(model):
        outputs, backward = model.forward(x, train=True)
        _, dy = loss.value_and_gradient(outputs, target, weight)
        backward(dy, need_dx=False)
        yield {
            name: param.grad_buffer()
            for name, param in model.named_parameters()
            if param.has_grad and not param.frozen
        }


def _norm(gradient: Array) -> float:
    """The L2 norm. Not by NumPy: its BLAS would wake threads that keep spinning while other trainings run."""
    total = np.empty(1)
    ops.sum_squares(gradient, total)
    return math.sqrt(total[0])


def _dead_units(model: Layer, x: Array) -> Iterator[tuple[str, tuple[int, int]]]:
    """For each ReLU layer by name: how many units (channels) are 0 for all of `x`, and how many it has."""
    for name, layer in _flattened(model):
        x, _ = layer.forward(x)
        if type(layer) is ReLU:
            alive = np.any(x, axis=tuple(range(x.ndim - 1)))
            yield name, (int(alive.size - np.count_nonzero(alive)), alive.size)


def _flattened(model: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers in order, with their names; a Sequential inside a Sequential is opened."""
    if type(model) is not Sequential:
        yield prefix.removesuffix("."), model
        return
    for index, layer in enumerate(model):
        yield from _flattened(layer, f"{prefix}{index}.")


def spread(samples: Samples, count: int) -> Batch:
    """A batch of at most `count` samples, spread evenly over the data, which are often sorted by class."""
    count = min(count, len(samples))
    index = np.arange(count) * len(samples) // count
    return *samples.batch(index), samples.weights(index)


def _class_fractions(target: Array, classes: int) -> Array | None:
    """The fraction of each class among the targets; None if they do not name classes."""
    if are_pixel_labels(target) or not has_classes(target):
        return None
    if target.ndim == 1:
        own = target.copy()  # bincount checks its input, then reads it again: another thread may change it
        counts: Array = np.bincount(own[(own >= 0) & (own < classes)], minlength=classes)
    else:
        counts = target.sum(axis=0)
    return counts / counts.sum()  # type: ignore[no-any-return]


def _last(training: Training) -> float | None:
    """The mean loss of the last PATIENCE updates of this training; None if there are too few."""
    if training.updates < PATIENCE:
        return None
    return sum(training.history.updates["loss"][-PATIENCE:]) / PATIENCE


def _first_and_last(training: Training) -> tuple[float, float] | None:
    """The mean loss of the first and of the last PATIENCE updates; None if there are too few.

    They are updates of this training, but the history may begin with those of an earlier one.
    """
    last = _last(training)
    if last is None or training.updates < 2 * PATIENCE:
        return None
    losses = training.history.updates["loss"]
    start = len(losses) - training.updates
    return sum(losses[start : start + PATIENCE]) / PATIENCE, last


class Guessing(NamedTuple):
    """The cross-entropy of nets that have learned nothing."""

    by_frequency: float
    """The entropy of the labels: every output has the frequency of its class."""
    uniform: float
    """ln(classes): all outputs are equal."""
    classes: int


def _loss_of_guessing(training: Training) -> Guessing | None:
    """The loss of guessing; None if the loss is not a plain cross-entropy of several classes."""
    loss, samples = training.trainer.loss, training.samples
    if type(loss) is not CrossEntropy:
        return None
    if loss.reduction != "mean" or loss.weight is not None or loss.label_smoothing:
        return None
    fractions = _class_fractions(samples.target, training.model.output_shape(samples.x.shape[1:])[0])
    if fractions is None or len(fractions) < 2:
        return None
    present = fractions[fractions > 0]
    return Guessing(-float(np.sum(present * np.log(present))), math.log(len(fractions)), len(fractions))


def _guesses(training: Training, guessing: Guessing | None) -> bool:
    """Whether the loss is no better than that of guessing by the class frequencies."""
    last = _last(training)
    if last is None or guessing is None or guessing.by_frequency == 0:
        return False
    return last >= guessing.by_frequency * (1 - AS_GUESSED)


def _stuck(training: Training, guessing: Guessing | None) -> str | None:
    means = _first_and_last(training)
    if means is None or guessing is None:
        return None
    low, high = guessing.by_frequency * (1 - AS_GUESSED), guessing.uniform * (1 + AS_GUESSED)
    if not all(low <= mean <= high for mean in means):
        return None
    # With rare classes, ln(classes) is well above the entropy: the loss has fallen from one to the other.
    if means[1] < means[0] * (1 - AS_GUESSED):
        return None
    return (
        f"the loss was {means[0]:.4g} at the start and is {means[1]:.4g} after {training.updates:,} updates; "
        f"a guessing net has ln({guessing.classes}) = {guessing.uniform:.4g}, so it has learned nothing yet. "
        f"Raise the learning rate (now {training.optimizer.lr:g}), start from larger weights (weight_init="
        '"he_uniform"), and check that the labels belong to their samples'
    )


def _diverged(training: Training) -> str | None:
    means = _first_and_last(training)
    if means is None or not means[1] > DIVERGED * means[0] > 0:
        return None
    return (
        f"the loss grows: it was {means[0]:.4g} at the start and is {means[1]:.4g} after "
        f"{training.updates:,} updates. Lower the learning rate (now {training.optimizer.lr:g}), or pass "
        "clip_norm=1.0 to fit"
    )


def _weights(model: Layer, norms: Mapping[str, float]) -> dict[str, Param]:
    """The weight matrices and filters among the parameters with a norm, from the first layer to the last."""
    return {name: param for name, param in model.named_parameters() if name in norms and len(param.shape) > 1}


def _root_mean_squares(model: Layer, norms: Mapping[str, float]) -> dict[str, float]:
    """The root mean square of the gradient of each weight matrix or filter."""
    return {name: norms[name] / math.sqrt(param.size) for name, param in _weights(model, norms).items()}


def _listed(values: Mapping[str, float]) -> str:
    """At most six of the values with their names: the first three and the last three."""
    shown = [f"{value:.1e} in {name}" for name, value in values.items()]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-3:]])


def _vanished(model: Layer, norms: Mapping[str, float]) -> str | None:
    found = _root_mean_squares(model, norms)
    values = list(found.values())
    if not any(value * RATIO < max(values[index:]) for index, value in enumerate(values)):
        return None
    return (
        f"the gradients vanish towards the first layers (root mean squares: {_listed(found)}): layers with "
        "small gradients hardly learn. Use ReLU instead of Sigmoid or Tanh, start with weight_init="
        '"he_uniform", or put BatchNorm between the layers'
    )


def _exploded(model: Layer, norms: Mapping[str, float]) -> str | None:
    cure = "lower the learning rate, pass clip_norm=1.0 to fit, or start from smaller weights"
    if not all(map(math.isfinite, norms.values())):
        bad = ", ".join(name for name, norm in norms.items() if not math.isfinite(norm))
        return f"the gradients have exploded: the gradients of {bad} are not finite; {cure}"
    found = _root_mean_squares(model, norms)
    values = list(found.values())
    if any(value > RATIO * max(values[index:]) > 0 for index, value in enumerate(values[:-1], start=1)):
        return f"the gradients explode towards the first layers (root mean squares: {_listed(found)}): {cure}"
    return None


def _dead(training: Training, dead: Mapping[str, tuple[int, int]]) -> str | None:
    if not any(map(_too_many, dead.values())):
        return None
    batch = spread(training.samples, CONFIRM_SAMPLES)
    confirmed = {name: count for name, count in _dead_units(training.model, batch[0]) if _too_many(count)}
    if not confirmed:
        return None
    listed = ", ".join(
        f"{count} of the {units} units of layer {name}" for name, (count, units) in confirmed.items()
    )
    return (
        f"dead ReLUs: {listed} are 0 for each of {len(batch[0]):,} training samples, so that no gradient "
        "reaches them any more. Lower the learning rate, start with weight_init="
        '"he_uniform", or put BatchNorm before the ReLU'
    )


def _too_many(dead: tuple[int, int]) -> bool:
    count, units = dead
    return count == units if units < FEW_UNITS else count >= DEAD * units
