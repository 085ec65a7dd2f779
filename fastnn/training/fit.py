"""Training over epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastnn._validation import Array, choose, positive_int, warn
from fastnn.augment import Augmentation
from fastnn.history import History
from fastnn.kernels import active_backend
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.optim.ema import EMA, ema_of
from fastnn.optim.optimizers import Optimizer, optimizer_of
from fastnn.optim.schedules import Schedule
from fastnn.training.callbacks import Callback, Training, callbacks_of, with_state
from fastnn.training.evaluation import Metrics, decisions_of, evaluate_samples, metrics_of, summary
from fastnn.training.fingerprint import describe, describe_data
from fastnn.training.interrupts import ctrl_c_between_updates
from fastnn.training.orders import check_order, indices, order_of
from fastnn.training.resume import Checkpoint, Keeper, find
from fastnn.training.samples import Data, Samples, check_data
from fastnn.training.trainer import NONFINITE, NonFiniteError, Trainer, check_finite
from fastnn.training.watch import GradientWatch, SparingWatch


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
    order: str | None = None,
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
    metrics: Metrics = (),
    callbacks: Iterable[Callback | Callable[[Training], object]] = (),
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool | str = "auto",
    history: History | None = None,
    progress: bool | None = None,
    watch: bool = True,
) -> History:
    """Train `model` on data (x, y) by mini-batches; returns the history.

    Data: x is (N, ...), y labels (N,) or whatever the loss takes. uint8 features stay bytes in memory and are
    multiplied by 1/255 while they are gathered; `scale` overrides. Each epoch takes every sample once; the
    last batch may be shorter. The `order` is "random", drawn from `seed` for each epoch; "fixed", as they
    come, also by `shuffle=False`; "alternate", one of each class in turn; or "balanced", each class equally
    often, samples of small classes repeated and of large ones left out.
    `augment`, such as `fn.augment.Rotate(15) | fn.augment.Shift(2)`, changes the images of each batch at
    random (those of `validation` never). `validation` (x, y) is evaluated after every epoch, also by
    `metrics`: functions (outputs, targets) -> float, a list or by name; the history has them as "val_name".

    Updates: the same optimizer object goes on with its moments. `schedule` sets the learning rate of each
    update (`fn.schedules`: a factor on `optimizer.lr`, which is what it was when training ends),
    `clip_norm` and `clip_value` bound the gradients, `ema` averages the weights (a decay, or an `fn.EMA` from
    which to take the averages): then validation is done with the averages. `plan`, `fuse` and
    `keep_gradients` are those of `Trainer`.

    The run: `history` goes on with an earlier one; it is filled as training proceeds, so after Ctrl-C, which
    ends it between two updates, it holds what was done. `callbacks` are `fn.Callback` objects, such as
    `fn.EarlyStopping()`, or functions of a `Training`, called after every epoch. `checkpoint`, a path or an
    `fn.Checkpoint`, is written all along; a training that is started again with the same arguments goes on
    from it, and ends with the same bits as if it had never stopped (`resume=True`: there must be one;
    `False`: there must be none). `progress` shows a bar (None: when the error stream is a terminal).
    `watch` warns of a loss that does not move, of vanished or exploded gradients and of dead ReLUs, where
    looking costs next to nothing (`fn.GradientWatch` among the callbacks looks after every epoch).

    Raises ValueError or TypeError for what does not fit, before anything has changed; `NonFiniteError` as
    `Trainer` describes; `CheckpointError` for a checkpoint that is damaged or of another training.
    """
    positive_int(batch_size, "batch_size")
    positive_int(epochs, "epochs")
    order = order_of(shuffle, order)
    choose(on_nonfinite, NONFINITE, "on_nonfinite")
    chosen, by_name, asked = reducing_loss(loss), metrics_of(metrics), callbacks_of(callbacks)
    optimizer, averages = optimizer_of(optimizer), ema_of(ema)
    samples = check_data(model, chosen, data, scale)
    held_out = None if validation is None else check_data(model, chosen, validation, scale)
    checked = [samples] if held_out is None else [samples, held_out]
    place, description, found = None, {}, None
    if checkpoint is not None:
        place = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        description = describe(
            {
                "model": model,
                "data": describe_data(samples),
                "validation": describe_data(held_out),
                "loss": chosen,
                "optimizer": optimizer,
                "batch_size": batch_size,
                "epochs": None if schedule is None else epochs,
                "order": order,
                "seed": seed,
                "scale": scale,
                "on_nonfinite": on_nonfinite,
                "augment": augment,
                "schedule": schedule,
                "clip_norm": clip_norm,
                "clip_value": clip_value,
                "ema": averages,
                "metrics": list(by_name),
                "callbacks": with_state(asked),
                "backend": active_backend(),
            }
        )
        found = find(place, description, epochs, resume)
    history = History() if history is None else history
    history.stopped = None
    per_epoch = -(-len(samples) // batch_size)
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
            total_updates=epochs * per_epoch,
            updates_per_epoch=per_epoch,
            clip_norm=clip_norm,
            clip_value=clip_value,
            ema=averages,
        )
        trainer.check_images(samples)
        check_order(order, samples.target)
        _warn_of_pixels(model, samples)
        watches = [SparingWatch()] if watch and not any(isinstance(c, GradientWatch) for c in asked) else []
        training = Training(trainer, history, [*asked, *watches], epochs, samples)
        keeper = None if place is None else Keeper(place, training, description, found)
        _train(training, samples, held_out, by_name, batch_size, order, keeper, progress)
    except NonFiniteError as error:
        if on_nonfinite == "raise":
            raise
        history.stopped = str(error)
    finally:
        if trainer is not None and trainer.rates is not None:
            trainer.optimizer.lr = trainer.rates.lr
    return history


def _train(
    training: Training,
    samples: Samples,
    held_out: Samples | None,
    metrics: Mapping[str, Callable[[Array, Array], float]],
    batch_size: int,
    order: str,
    keeper: Keeper | None,
    progress: bool | None,
) -> None:
    """All epochs that are left."""
    trainer, model, history = training.trainer, training.model, training.history
    training.tell("on_train_begin")
    try:
        while training.epoch < training.epochs and training.reason is None:
            index = indices(order, samples.target, trainer.key, training.epoch)
            if training.done == 0:
                training.tell("on_epoch_begin")
            values = _epoch(training, samples, index, batch_size, keeper, progress)
            if values is None:  # stopped in the middle
                break
            if held_out is not None:
                with nullcontext() if trainer.ema is None else trainer.ema.applied(model):
                    validated = evaluate_samples(model, trainer.loss, held_out, metrics=metrics)
                values |= {f"val_{name}": value for name, value in validated.items()}
            if trainer.rates is not None:
                values["lr"] = trainer.optimizer.lr
            with ctrl_c_between_updates():
                training.whole = False
                if trainer.rates is not None:
                    trainer.rates.end_epoch(values)
                history.add_epoch(values)
                training.tell("on_epoch_end", values)
                training.epoch, training.done = training.epoch + 1, 0
                training.whole = True
            if keeper is not None:
                keeper.save_if_due()
    except KeyboardInterrupt:
        if keeper is not None and training.whole:  # else it goes on from the one before
            keeper.save()
        raise
    history.stopped = training.reason
    if keeper is not None:
        keeper.save()
    training.tell("on_train_end")


def _epoch(
    training: Training,
    samples: Samples,
    order: Array,
    batch_size: int,
    keeper: Keeper | None,
    progress: bool | None,
) -> dict[str, float] | None:
    """The updates that are left of this epoch; returns loss and accuracy over all of them.

    None if a callback stopped the training before the last one.
    """
    trainer, recorded = training.trainer, training.history.updates
    decisions = decisions_of(trainer.model, trainer.loss, samples)
    sizes = np.full(-(-len(order) // batch_size), batch_size)
    sizes[-1] = len(order) - (len(sizes) - 1) * batch_size
    if training.done == 0:
        trainer.correct = 0
    one_by_one = training.watches_updates
    with ctrl_c_between_updates() as raise_if_interrupted:

        def take(new: Array, bar: Any) -> None:
            recorded["loss"].extend(new.tolist())
            if trainer.rates is not None:
                rates = trainer.rates.of(trainer.updates - len(new), len(new))
                recorded.setdefault("lr", []).extend(rates.tolist())
            training.done += len(new)
            bar.update(len(new))
            if one_by_one:
                training.tell("on_update", float(new[0]))
            training.whole = True
            if keeper is not None:
                keeper.save_if_due()
            raise_if_interrupted()

        _updates(training, samples, order, sizes, decisions > 0, one_by_one, progress, take)
    if training.done < len(sizes):
        return None
    losses = np.array(recorded["loss"][-len(sizes) :])
    is_mean = trainer.loss.reduction == "mean"
    # Not np.dot, which sums long curves in an order that depends on the threads of BLAS.
    total = float((losses * sizes).sum()) / len(samples) if is_mean else float(losses.sum())
    return summary(total, trainer.correct, decisions)


def _updates(
    training: Training,
    samples: Samples,
    order: Array,
    sizes: Array,
    count: bool,
    one_by_one: bool,
    progress: bool | None,
    take: Callable[[Array, Any], None],
) -> None:
    """Updates from mini-batches of these sizes; `take` gets their losses as they come, and counts them.

    The bar lives and dies in here, where Ctrl-C is held back: an interruption in the middle of its
    `__del__` would be lost.
    """
    from tqdm import tqdm

    title = f"epoch {training.epoch + 1}/{training.epochs}"
    disable = None if progress is None else not progress
    with tqdm(total=len(sizes), initial=training.done, desc=title, disable=disable, leave=False) as bar:
        while training.done < len(sizes) and training.reason is None:
            done = training.done
            # The last mini-batch may be shorter: it has a plan of its own.
            alike = 1 if one_by_one else np.count_nonzero(sizes[done:] == sizes[done])
            rest = order[done * int(sizes[0]) :]
            losses = np.empty(alike)
            training.whole = False
            steps = training.trainer.updates_from(samples, rest, losses, int(sizes[done]), count)
            take(losses[:steps], bar)


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
