"""Training: one update, an epoch, a whole fit; and evaluation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import metrics, rng
from fastnn._door import Array, choose, count_nonfinite, features, positive_int, same_length
from fastnn.history import History
from fastnn.kernels import empty, ops
from fastnn.layers import Layer, Sequential, Softmax
from fastnn.layers.base import take
from fastnn.losses import Loss, loss_function
from fastnn.optim import Optimizer, optimizer_of

Data = tuple[npt.ArrayLike, npt.ArrayLike]

# What to do with a nan or an infinity in the data or in the loss.
NONFINITE = {
    "raise": "raise NonFiniteError; the model stays as it was before the step",
    "stop": "end the training there, with the reason in history.stopped",
    "ignore": "go on, as PyTorch would",
}


class NonFiniteError(FloatingPointError):
    """The data or the loss hold a nan or an infinity; no weight was changed by it."""


@dataclass(frozen=True)
class Samples:
    """A data set that has passed the door: features, targets, and how they become a mini-batch."""

    x: Array
    target: Array
    scale: float | None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """The mini-batch of the samples `index`: features of type `dtype`, targets."""
        return take(self.x, index, self.scale, dtype), take_targets(self.target, index)

    def all(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """All samples as one mini-batch."""
        return self.batch(np.arange(len(self)), dtype)


def take_targets(target: Array, index: Array) -> Array:
    """The targets of a mini-batch: labels (N,) int64, or rows (N, ...) of floats."""
    if target.ndim > 1:
        return take(target, index, 1.0, target.dtype)
    batch: Array = empty(index.shape, np.int64)
    ops.gather_labels(target, index, batch)
    return batch


def check_data(model: Layer, loss: Loss, data: Data, scale: float | None, *, finite: bool = True) -> Samples:
    """The data set (x, y) at the door: checked against the model and the loss, never written to."""
    try:
        x, y = data
    except (TypeError, ValueError):
        raise TypeError("data must be a pair of arrays (x, y)") from None
    rows = features(x, model.dtype)
    same_length(rows, np.asarray(y))
    outputs = model.output_shape(rows.shape[1:])
    target = loss.targets(y, outputs, model.dtype)
    bad = count_nonfinite(rows) + (count_nonfinite(target) if target.dtype.kind == "f" else 0)
    if finite and bad:
        raise NonFiniteError(
            f"{bad} numbers of the data are nan or infinite: repair or leave out those samples, "
            'or pass on_nonfinite="ignore"'
        )
    return Samples(rows, target, scale)


class Trainer:
    """A model with its loss and its optimizer, stepped by hand.

    `seed` keys all random layers (dropout); without it the key comes from the default generator.
    `on_nonfinite` says what to do with a nan or an infinity in data or loss: "raise" a `NonFiniteError`
    before any weight changes, "stop" (`step` returns the loss and changes nothing), or "ignore" it.
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
        if not isinstance(model, Layer):
            raise TypeError(f"model must be a layer such as fn.Sequential(...), not {model!r}")
        choose(on_nonfinite, NONFINITE, "on_nonfinite")
        self.model = model
        self.loss = loss_function(loss)
        if self.loss.reduction == "none":
            raise ValueError('training needs one number: choose the reduction "mean" or "sum"')
        self.optimizer = optimizer_of(optimizer)
        self.scale = scale
        self.on_nonfinite = on_nonfinite
        self.key = rng.key(seed)
        for index, state in enumerate(model.random_states()):
            state[:] = rng.counter_generator(self.key, index).integers(2**63), 0
        _warn_of_softmax(model, self.loss)

    def step(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """One update from the batch x (N, ...), y; returns the loss before the update.

        Raises ValueError or TypeError for data that do not fit, `NonFiniteError` as described above; then
        nothing has changed.
        """
        samples = check_data(self.model, self.loss, (x, y), self.scale, finite=self.on_nonfinite == "raise")
        loss, _ = self.update(*samples.all(self.model.dtype))
        return loss

    def update(self, x: Array, target: Array) -> tuple[float, Array]:
        """One update from a batch that has passed the door; returns the loss and the outputs."""
        before = _copy_random_states(self.model)
        outputs, backward = self.model.forward(x, train=True)
        loss, dy = self.loss.value_and_gradient(outputs, target)
        value = float(loss[0])
        if not np.isfinite(value) and self.on_nonfinite != "ignore":
            _restore_random_states(self.model, before)
            if self.on_nonfinite == "raise":
                raise NonFiniteError(
                    f"the loss is {value}: lower the learning rate or look at the data; "
                    "this step changed nothing"
                )
            return value, outputs
        backward(dy, need_dx=False)
        self.optimizer.step(self.model.parameters())
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
    its moments. `progress` shows a bar (None: when the error stream is a terminal).

    Raises ValueError or TypeError for what does not fit, before anything has changed; `NonFiniteError` as
    `Trainer` describes.
    """
    positive_int(batch_size, "batch_size")
    positive_int(epochs, "epochs")
    trainer = Trainer(
        model, loss=loss, optimizer=optimizer, seed=seed, scale=scale, on_nonfinite=on_nonfinite
    )
    checked = on_nonfinite != "ignore"
    history = History() if history is None else history
    history.stopped = None
    try:
        samples = check_data(model, trainer.loss, data, scale, finite=checked)
        held_out = validation and check_data(model, trainer.loss, validation, scale, finite=checked)
    except NonFiniteError as error:
        if on_nonfinite == "raise":
            raise
        history.stopped = str(error)
        return history
    _warn_of_pixels(model, samples)

    with_accuracy = metrics.has_classes(samples.target)
    for epoch in range(epochs):
        order = _order(len(samples), trainer.key, epoch, shuffle)
        values = _epoch(trainer, samples, order, batch_size, history, with_accuracy, epoch, epochs, progress)
        if history.stopped is not None:
            break
        if held_out is not None:
            for name, value in _evaluate(model, trainer.loss, held_out).items():
                values[f"val_{name}"] = value
        history.add_epoch(values)
    return history


def _epoch(
    trainer: Trainer,
    samples: Samples,
    order: Array,
    batch_size: int,
    history: History,
    with_accuracy: bool,
    epoch: int,
    epochs: int,
    progress: bool | None,
) -> dict[str, float]:
    """All updates of one epoch; returns the means over them."""
    from tqdm import tqdm

    total, correct = 0.0, 0
    dtype = trainer.model.dtype
    starts = range(0, len(order), batch_size)
    with tqdm(
        starts, f"epoch {epoch + 1}/{epochs}", disable=None if progress is None else not progress, leave=False
    ) as bar:
        for start in bar:
            x, target = samples.batch(order[start : start + batch_size], dtype)
            loss, outputs = trainer.update(x, target)
            if not np.isfinite(loss) and trainer.on_nonfinite == "stop":
                history.stopped = f"the loss was {loss} at update {len(history.updates['loss']) + 1}"
                break
            history.updates["loss"].append(loss)
            total += loss * len(x)
            if with_accuracy:
                correct += metrics.count_correct(outputs, target)
    values = {"loss": total / len(order)}
    if with_accuracy:
        values["accuracy"] = correct / len(order)
    return values


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
    chosen = loss_function(loss)
    return _evaluate(model, chosen, check_data(model, chosen, data, scale, finite=False))


def _evaluate(model: Layer, loss: Loss, samples: Samples, batch_size: int = 1024) -> dict[str, float]:
    with_accuracy = metrics.has_classes(samples.target)
    total, correct = 0.0, 0
    for start in range(0, len(samples), batch_size):
        index = np.arange(start, min(start + batch_size, len(samples)))
        x, target = samples.batch(index, model.dtype)
        outputs, _ = model.forward(x)
        total += float(loss.value(outputs, target, "sum")[0])
        if with_accuracy:
            correct += metrics.count_correct(outputs, target)
    values = {"loss": total if loss.reduction == "sum" else total / loss.divisor(samples.target)}
    if with_accuracy:
        values["accuracy"] = correct / len(samples)
    return values


def gradients(
    model: Layer, data: Data, *, loss: str | Loss = "cross_entropy", scale: float | None = None
) -> float:
    """Fill `p.grad` of every parameter that is not frozen from the batch (x, y); returns the loss.

    No weight and no random counter changes. Raises ValueError or TypeError for data that do not fit.
    """
    chosen = loss_function(loss)
    samples = check_data(model, chosen, data, scale, finite=False)
    before = _copy_random_states(model)
    outputs, backward = model.forward(samples.all(model.dtype)[0], train=True)
    value, dy = chosen.value_and_gradient(outputs, samples.target)
    backward(dy, need_dx=False)
    _restore_random_states(model, before)
    return float(value[0])


def _copy_random_states(model: Layer) -> list[Array]:
    return [state.copy() for state in model.random_states()]


def _restore_random_states(model: Layer, before: list[Array]) -> None:
    for state, old in zip(model.random_states(), before, strict=True):
        state[:] = old


def _order(count: int, key: int, epoch: int, shuffle: bool) -> Array:
    if not shuffle:
        return np.arange(count)
    return rng.counter_generator(key, epoch).permutation(count)


def _warn_of_softmax(model: Layer, loss: Loss) -> None:
    last = model
    while isinstance(last, Sequential) and last.layers:
        last = last.layers[-1]
    if loss.expects_logits and isinstance(last, Softmax):
        warnings.warn(
            f"the model ends with Softmax(), but {loss!r} takes logits and applies softmax itself: "
            "training will be slow and worse; remove that layer",
            UserWarning,
            stacklevel=4,
        )


def _warn_of_pixels(model: Layer, samples: Samples) -> None:
    """Warn of floats that look like raw 0-255 pixels in front of weights made for inputs near 1."""
    if samples.x.dtype == np.uint8 or samples.scale is not None:
        return
    first = next(iter(model.parameters()), None)
    part = samples.x[:1000]
    looks_raw = part.min() >= 0 and 100 < part.max() <= 255 and bool((part == np.floor(part)).all())
    if looks_raw and first is not None and float(np.abs(first.master).max()) * part.max() > 1:
        warnings.warn(
            f"the features reach {part.max():g} and look like unscaled pixels: pass them as uint8 "
            "(scaled by 1/255 by itself), or divide by 255",
            UserWarning,
            stacklevel=3,
        )
