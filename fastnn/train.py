"""Training: one update, an epoch, a whole fit; and evaluation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fastnn import metrics, rng
from fastnn._door import Array, choose, positive_int, warn
from fastnn.history import History
from fastnn.interrupts import ctrl_c_between_updates
from fastnn.layers import Layer, Sequential, Softmax
from fastnn.losses import Loss, loss_function
from fastnn.optim import Optimizer, optimizer_of
from fastnn.samples import Data, Samples, check_data, check_model

# What is drawn from a training key, apart from each other: paths of `rng.counter_generator`.
ORDER_OF_SAMPLES, RANDOM_LAYER = 0, 1

# What to do with a nan or an infinity in the data or in the loss.
NONFINITE = {
    "raise": "raise NonFiniteError; the model stays as it was before the step",
    "stop": "end the training there, with the reason in history.stopped",
    "ignore": "go on, as PyTorch would",
}


class NonFiniteError(FloatingPointError):
    """The data or the loss hold a nan or an infinity; no weight was changed by it."""


class Trainer:
    """A model with its loss and its optimizer, stepped by hand.

    `seed` keys all random layers (dropout); without it the key comes from the default generator.
    `on_nonfinite` says what to do with a nan or an infinity in data or loss: "raise" a `NonFiniteError`
    before any weight changes, "stop" (`step` returns nan and changes nothing), or "ignore" it.
    """

    def __init__(
        self,
        model: Layer,
        *,
        loss: str | Loss = "cross_entropy",
        optimizer: str | Optimizer = "sgd",
        seed: int | None = None,
        scale: float | None = None,
        on_nonfinite: str = "raise",
    ) -> None:
        check_model(model)
        choose(on_nonfinite, NONFINITE, "on_nonfinite")
        self.model = model
        self.loss = _reducing(loss)
        self.optimizer = optimizer_of(optimizer)
        self.scale = scale
        self.on_nonfinite = on_nonfinite
        self.updates = 0
        self.key = rng.key(seed)
        for index, state in enumerate(model.random_states()):
            state[:] = rng.counter_generator(self.key, RANDOM_LAYER, index).integers(2**63), 0
        _warn_of_softmax(model, self.loss)

    def step(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """One update from the batch x (N, ...), y; returns the loss before the update.

        Raises ValueError or TypeError for data that do not fit, `NonFiniteError` as described above; then
        nothing has changed.
        """
        samples = check_data(self.model, self.loss, (x, y), self.scale)
        try:
            _check_finite([samples], self.on_nonfinite)
            loss, _ = self.update(*samples.all())
        except NonFiniteError:
            if self.on_nonfinite == "raise":
                raise
            return math.nan
        return loss

    def update(self, x: Array, target: Array) -> tuple[float, Array]:
        """One update from a batch that has passed the door; returns the loss and the outputs.

        Raises `NonFiniteError` unless the loss is finite or that is to be ignored. Whatever it raises,
        nothing has changed.
        """
        before = _copy_random_states(self.model)
        try:
            outputs, backward = self.model.forward(x, train=True)
            loss, dy = self.loss.value_and_gradient(outputs, target)
            value = float(loss[0])
            if not math.isfinite(value) and self.on_nonfinite != "ignore":
                raise NonFiniteError(
                    f"the loss is {value} at update {self.updates + 1}: lower the learning rate or look at "
                    "the data; this step changed nothing"
                )
            backward(dy, need_dx=False)
        except BaseException:
            _restore_random_states(self.model, before)
            raise
        self.optimizer.step(self.model.parameters())
        self.updates += 1
        return value, outputs


def fit(
    model: Layer,
    data: Data,
    *,
    validation: Data | None = None,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer = "sgd",
    batch_size: int = 32,
    epochs: int = 1,
    shuffle: bool = True,
    seed: int | None = None,
    scale: float | None = None,
    on_nonfinite: str = "raise",
    history: History | None = None,
    progress: bool | None = None,
) -> History:
    """Train `model` on data (x, y) by mini-batches; returns the history.

    x is (N, ...), y labels (N,) or whatever the loss takes. uint8 features stay bytes in memory and are
    multiplied by 1/255 while they are gathered; `scale` overrides. Each epoch takes every sample once, in
    an order drawn from `seed` (as they come with `shuffle=False`); the last batch may be shorter.
    `validation` (x, y) is evaluated after every epoch. `history` goes on with an earlier one; it is filled
    as training proceeds, so after Ctrl-C it holds what was done. The same optimizer object goes on with
    its moments. Ctrl-C ends it between two updates. `progress` shows a bar (None: when the error stream
    is a terminal).

    Raises ValueError or TypeError for what does not fit, before anything has changed; `NonFiniteError` as
    `Trainer` describes.
    """
    positive_int(batch_size, "batch_size")
    positive_int(epochs, "epochs")
    choose(on_nonfinite, NONFINITE, "on_nonfinite")
    chosen = _reducing(loss)
    samples = check_data(model, chosen, data, scale)
    held_out = None if validation is None else check_data(model, chosen, validation, scale)
    checked = [samples] if held_out is None else [samples, held_out]
    history = History() if history is None else history
    history.stopped = None
    try:
        _check_finite(checked, on_nonfinite)
        trainer = Trainer(
            model, loss=chosen, optimizer=optimizer, seed=seed, scale=scale, on_nonfinite=on_nonfinite
        )
        _warn_of_pixels(model, samples)
        for epoch in range(epochs):
            batches = _shuffled(trainer, samples, batch_size, epoch if shuffle else None)
            values = _epoch(trainer, samples, batches, history, f"epoch {epoch + 1}/{epochs}", progress)
            if held_out is not None:
                validated = _evaluate(model, chosen, held_out)
                values |= {f"val_{name}": value for name, value in validated.items()}
            history.add_epoch(values)
    except NonFiniteError as error:
        if on_nonfinite == "raise":
            raise
        history.stopped = str(error)
    return history


def _shuffled(trainer: Trainer, samples: Samples, batch_size: int, epoch: int | None) -> list[Array]:
    """The indices of each mini-batch, in an order drawn for this epoch (None: as the samples come)."""
    order = np.arange(len(samples))
    if epoch is not None:
        order = rng.counter_generator(trainer.key, ORDER_OF_SAMPLES, epoch).permutation(order)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _epoch(
    trainer: Trainer,
    samples: Samples,
    batches: list[Array],
    history: History,
    title: str,
    progress: bool | None,
) -> dict[str, float]:
    """All updates of one epoch; returns loss and accuracy over them."""
    from tqdm import tqdm

    with_accuracy = metrics.has_classes(samples.target)
    is_mean = trainer.loss.reduction == "mean"
    total, correct = 0.0, 0
    bar = tqdm(batches, title, disable=None if progress is None else not progress, leave=False)
    with bar, ctrl_c_between_updates() as raise_if_interrupted:
        for index in bar:
            x, target = samples.batch(index)
            loss, outputs = trainer.update(x, target)
            history.updates["loss"].append(loss)
            raise_if_interrupted()
            total += loss * len(x) if is_mean else loss
            correct += metrics.count_correct(outputs, target) if with_accuracy else 0
    return _summary(total / len(samples) if is_mean else total, correct, samples, with_accuracy)


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: str | Loss = "cross_entropy",
    scale: float | None = None,
) -> dict[str, float]:
    """The loss over data (x, y), and the accuracy where targets name classes; changes nothing.

    Returns {"loss": ..., "accuracy": ...}. Raises ValueError or TypeError for data that do not fit.
    """
    chosen = _reducing(loss)
    return _evaluate(model, chosen, check_data(model, chosen, data, scale))


def _evaluate(model: Layer, loss: Loss, samples: Samples, batch_size: int = 1024) -> dict[str, float]:
    with_accuracy = metrics.has_classes(samples.target)
    total, correct = 0.0, 0
    for start in range(0, len(samples), batch_size):
        index = np.arange(start, min(start + batch_size, len(samples)))
        x, target = samples.batch(index)
        outputs, _ = model.forward(x)
        total += float(loss.value(outputs, target, "sum")[0])
        correct += metrics.count_correct(outputs, target) if with_accuracy else 0
    if loss.reduction == "mean":
        total /= loss.divisor(samples.target) or math.nan  # all class weights may be 0
    return _summary(total, correct, samples, with_accuracy)


def _summary(loss: float, correct: int, samples: Samples, with_accuracy: bool) -> dict[str, float]:
    return {"loss": loss, "accuracy": correct / len(samples)} if with_accuracy else {"loss": loss}


def gradients(
    model: Layer, data: Data, *, loss: str | Loss = "cross_entropy", scale: float | None = None
) -> float:
    """Fill `p.grad` of every parameter that is not frozen from the batch (x, y); returns the loss.

    No weight and no random counter changes. Raises ValueError or TypeError for data that do not fit.
    """
    chosen = _reducing(loss)
    samples = check_data(model, chosen, data, scale)
    before = _copy_random_states(model)
    try:
        outputs, backward = model.forward(samples.all()[0], train=True)
        value, dy = chosen.value_and_gradient(outputs, samples.target)
        backward(dy, need_dx=False)
    finally:
        _restore_random_states(model, before)
    return float(value[0])


def _reducing(loss: str | Loss) -> Loss:
    """The loss, if it gives one number."""
    chosen = loss_function(loss)
    if chosen.reduction == "none":
        raise ValueError('one number is wanted here: choose the reduction "mean" or "sum"')
    return chosen


def _check_finite(data: list[Samples], on_nonfinite: str) -> None:
    """Raise `NonFiniteError` for a nan or an infinity in the data, unless that is to be ignored."""
    if on_nonfinite != "ignore":
        for samples in data:
            if complaint := samples.nonfinite():
                raise NonFiniteError(complaint)


def _copy_random_states(model: Layer) -> list[Array]:
    return [state.copy() for state in model.random_states()]


def _restore_random_states(model: Layer, before: list[Array]) -> None:
    for state, old in zip(model.random_states(), before, strict=True):
        state[:] = old


def _warn_of_softmax(model: Layer, loss: Loss) -> None:
    last = model
    while isinstance(last, Sequential) and last.layers:
        last = last.layers[-1]
    if loss.expects_logits and isinstance(last, Softmax):
        warn(
            f"the model ends with Softmax(), but {loss!r} takes logits and applies softmax itself: "
            "training will be slow and worse; remove that layer"
        )


def _warn_of_pixels(model: Layer, samples: Samples) -> None:
    """Warn of floats that look like raw 0-255 pixels in front of weights made for inputs near 1."""
    if samples.x.dtype == np.uint8 or samples.scale is not None:
        return
    first = next(iter(model.parameters()), None)
    part = samples.x[:1000]
    looks_raw = part.min() >= 0 and 100 < part.max() <= 255 and bool((part == np.floor(part)).all())
    if looks_raw and first is not None and float(np.abs(first.master).max()) * part.max() > 1:
        warn(
            f"the features reach {part.max():g} and look like unscaled pixels: pass them as uint8 "
            "(scaled by 1/255 by itself), or divide by 255"
        )
