"""Training over epochs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastnn import rng
from fastnn._door import Array, choose, positive_int, warn
from fastnn.augment import Augmentation
from fastnn.ema import EMA
from fastnn.evaluation import counts_correct, evaluate_samples, summary
from fastnn.history import History
from fastnn.interrupts import ctrl_c_between_updates
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.optim import Optimizer
from fastnn.samples import Data, Samples, check_data
from fastnn.schedules import Schedule
from fastnn.trainer import NONFINITE, ORDER_OF_SAMPLES, NonFiniteError, Trainer, check_finite


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
    plan: bool = True,
    fuse: bool = True,
    keep_gradients: bool = False,
    augment: Augmentation | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    ema: float | EMA | None = None,
    history: History | None = None,
    progress: bool | None = None,
) -> History:
    """Train `model` on data (x, y) by mini-batches; returns the history.

    x is (N, ...), y labels (N,) or whatever the loss takes. uint8 features stay bytes in memory and are
    multiplied by 1/255 while they are gathered; `scale` overrides. Each epoch takes every sample once, in
    an order drawn from `seed` (as they come with `shuffle=False`); the last batch may be shorter.
    `augment`, such as `fn.augment.Rotate(15) | fn.augment.Shift(2)`, changes the images of each batch at
    random (those of `validation` never). `validation` (x, y) is evaluated after every epoch. `history` goes
    on with an earlier one; it is filled as training proceeds, so after Ctrl-C it holds what was done. The
    same optimizer object goes on with its moments. `schedule` sets the learning rate of each update
    (`fastnn.schedules`: a factor on `optimizer.lr`, which is what it was when training ends), `clip_norm` and
    `clip_value` bound the gradients, `ema` averages the weights (a decay, or an `fn.EMA` from which to take
    the averages): then validation is done with the averages. Ctrl-C ends it between two updates. `progress`
    shows a bar (None: when the error stream is a terminal). `plan`, `fuse` and `keep_gradients` are those of
    `Trainer`.

    Raises ValueError or TypeError for what does not fit, before anything has changed; `NonFiniteError` as
    `Trainer` describes.
    """
    positive_int(batch_size, "batch_size")
    positive_int(epochs, "epochs")
    choose(on_nonfinite, NONFINITE, "on_nonfinite")
    chosen = reducing_loss(loss)
    samples = check_data(model, chosen, data, scale)
    held_out = None if validation is None else check_data(model, chosen, validation, scale)
    checked = [samples] if held_out is None else [samples, held_out]
    history = History() if history is None else history
    history.stopped = None
    trainer = None
    try:
        check_finite(checked, on_nonfinite)
        trainer = Trainer(
            model,
            loss=chosen,
            optimizer=optimizer,
            seed=seed,
            scale=scale,
            on_nonfinite=on_nonfinite,
            plan=plan,
            fuse=fuse,
            keep_gradients=keep_gradients,
            augment=augment,
            schedule=schedule,
            total_updates=epochs * -(-len(samples) // batch_size),
            updates_per_epoch=-(-len(samples) // batch_size),
            clip_norm=clip_norm,
            clip_value=clip_value,
            ema=ema,
        )
        trainer.check_images(samples)
        _warn_of_pixels(model, samples)
        for epoch in range(epochs):
            order = _shuffled(trainer, samples, epoch if shuffle else None)
            title = f"epoch {epoch + 1}/{epochs}"
            values = _epoch(trainer, samples, order, batch_size, history, title, progress)
            if held_out is not None:
                with nullcontext() if trainer.ema is None else trainer.ema.applied(model):
                    validated = evaluate_samples(model, chosen, held_out)
                values |= {f"val_{name}": value for name, value in validated.items()}
            if trainer.rates is not None:
                values["lr"] = trainer.optimizer.lr
                trainer.rates.end_epoch(values)
            history.add_epoch(values)
    except NonFiniteError as error:
        if on_nonfinite == "raise":
            raise
        history.stopped = str(error)
    finally:
        if trainer is not None and trainer.rates is not None:
            trainer.optimizer.lr = trainer.rates.lr
    return history


def _updates(
    trainer: Trainer,
    samples: Samples,
    order: Array,
    sizes: Array,
    count: bool,
    title: str,
    progress: bool | None,
    take: Callable[[Array, Any], None],
) -> Array:
    """Updates from mini-batches of these sizes; `take` gets their losses as they come. Returns all losses.

    The bar lives and dies in here, where Ctrl-C is held back: an interruption in the middle of its
    `__del__` would be lost.
    """
    from tqdm import tqdm

    losses = np.empty(len(sizes))
    done = 0
    disable = None if progress is None else not progress
    with tqdm(total=len(losses), desc=title, disable=disable, leave=False) as bar:
        while done < len(losses):
            # The last mini-batch may be shorter: it has a plan of its own.
            alike = np.count_nonzero(sizes[done:] == sizes[done])
            rest = order[done * int(sizes[0]) :]
            new = losses[done : done + alike]
            steps = trainer.updates_from(samples, rest, new, int(sizes[done]), count)
            done += steps
            take(new[:steps], bar)
    return losses


def _shuffled(trainer: Trainer, samples: Samples, epoch: int | None) -> Array:
    """The indices of all samples, in an order drawn for this epoch (None: as they come)."""
    order = np.arange(len(samples))
    if epoch is None:
        return order
    return rng.counter_generator(trainer.key, ORDER_OF_SAMPLES, epoch).permutation(order)


def _epoch(
    trainer: Trainer,
    samples: Samples,
    order: Array,
    batch_size: int,
    history: History,
    title: str,
    progress: bool | None,
) -> dict[str, float]:
    """All updates of one epoch; returns loss and accuracy over them."""
    with_accuracy = counts_correct(trainer.model, samples)
    sizes = np.full(-(-len(order) // batch_size), batch_size)
    sizes[-1] = len(order) - (len(sizes) - 1) * batch_size
    trainer.take_correct()
    with ctrl_c_between_updates() as raise_if_interrupted:

        def take(new: Array, bar: Any) -> None:
            history.updates["loss"].extend(new.tolist())
            if trainer.rates is not None:
                rates = trainer.rates.of(trainer.updates - len(new), len(new))
                history.updates.setdefault("lr", []).extend(rates.tolist())
            bar.update(len(new))
            raise_if_interrupted()

        losses = _updates(trainer, samples, order, sizes, with_accuracy, title, progress, take)
    is_mean = trainer.loss.reduction == "mean"
    total = float(np.dot(losses, sizes)) / len(samples) if is_mean else float(losses.sum())
    return summary(total, trainer.take_correct(), samples, with_accuracy)


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
