"""Checks of the arguments of `fit` against each other. Nothing has changed when one of them raises.

What depends on a single argument is checked where the argument is defined. These are the errors that would
otherwise appear in the middle of a training: a last mini-batch that batch norm cannot use, a metric that does
not fit the outputs, a callback that waits for a value that no epoch has.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from fastnn.history import History
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.schedules import Length, Schedule
from fastnn.training.batches import Batches
from fastnn.training.callbacks import Callback
from fastnn.training.evaluation import Metric, decisions_of, decisions_of_training, evaluate_parts, summary
from fastnn.training.resume import Checkpoint
from fastnn.training.samples import Samples
from fastnn.training.validation_sets import check_distinct

# A metric is tried on this many validation samples first. If these do not suffice, e.g. because they lack a
# class, it is tried on all.
TRIED_SAMPLES = 256


def smallest_batch(
    model: Layer, samples: Samples, batch_size: int, processes: int = 1, *, sync_batch_norm: bool = False
) -> int:
    """The fewest samples per mini-batch that the model accepts in training, shared by some processes.

    Raises ValueError if there are fewer in the data, or in each mini-batch.
    """
    smallest = model.smallest_batch(samples.x.shape[1:])
    if sync_batch_norm:
        smallest = max(smallest, processes)
    elif smallest > 1:
        smallest *= processes
    available = min(batch_size, len(samples))
    if available < smallest:
        shared = f" that {processes} processes share" if processes > 1 else ""
        synchronised = ", sync_batch_norm=True" if processes > 1 and not sync_batch_norm else ""
        what = f"batch_size={batch_size}" if batch_size < smallest else f"a data set of {len(samples)}"
        raise ValueError(
            f"the model cannot be trained with {what}: its layers, such as batch norm, need at least "
            f"{smallest} samples in a mini-batch{shared}. Use larger batches{synchronised}, or LayerNorm "
            "instead of batch norm"
        )
    return smallest


def check_metrics(
    model: Layer,
    loss: Loss,
    samples: Samples,
    validation: Mapping[str, Samples | Batches],
    metrics: Mapping[str, Metric],
    asked: Iterable[str],
) -> None:
    """Raise ValueError if metrics lack a validation set, or if one `asked` for cannot be computed."""
    if "accuracy" in asked and not decisions_of(model, loss, samples):
        raise ValueError(
            f"the accuracy is not defined for {loss!r} with these targets, which name no classes: leave it "
            "out of metrics"
        )
    if not metrics:
        return
    if not validation:
        raise ValueError(
            f"the metrics {', '.join(metrics)} are computed on validation data, but there are none: pass "
            "validation=(x, y), which may be the training data"
        )
    for data in validation.values():
        # The first batch of a stream may lack a class that a metric needs, and the others come only once.
        if isinstance(data, Samples):
            _try_metrics(model, loss, data, metrics)


def _try_metrics(model: Layer, loss: Loss, validation: Samples, metrics: Mapping[str, Metric]) -> None:
    """Raise ValueError if a metric cannot be computed on the validation set."""
    count = min(len(validation), TRIED_SAMPLES)
    few = validation.subset(np.arange(count) * len(validation) // count)
    for name, metric in metrics.items():
        try:
            evaluate_parts(model, loss, [few], metrics={name: metric})
        except Exception:
            try:
                evaluate_parts(model, loss, [validation], metrics={name: metric})
            except Exception as error:
                outputs = ", ".join(map(str, ("N", *model.output_shape(validation.x.shape[1:]))))
                targets = ", ".join(map(str, ("N", *validation.target.shape[1:])))
                raise ValueError(
                    f"the metric {name!r} cannot be computed from outputs ({outputs}) and targets "
                    f"({targets}) of {validation.target.dtype}: {type(error).__name__}: {error}"
                ) from error


def values_of_an_epoch(
    model: Layer,
    loss: Loss,
    samples: Samples,
    schedule: Schedule | None,
) -> list[str]:
    """The names of the values that each epoch adds to the history, without those of validations."""
    names = _always(loss, decisions_of_training(model, loss, samples))
    return names if schedule is None else [*names, "lr"]


def _always(loss: Loss, decisions: int) -> list[str]:
    """The names of the results that `summary` reports."""
    return [*summary(0.0, 0, decisions, 1.0 if loss.reduction == "sum" else None)]


def values_of_a_validation(
    model: Layer, loss: Loss, validation: Mapping[str, Samples], metrics: Collection[str]
) -> list[str]:
    """The names of the values that each validation adds to the history.

    Raises ValueError if two of them are the same.
    """
    names = []
    for name, samples in validation.items():
        always = _always(loss, decisions_of(model, loss, samples))
        names += [f"{name}_{value}" for value in (*always, *metrics)]
    check_distinct(names)
    return names


def check_monitored(
    callbacks: Iterable[Callback],
    schedule: Schedule | None,
    of_epoch: list[str],
    of_validation: list[str],
    every: int | None,
) -> None:
    """Raise ValueError if a callback or the schedule monitors something that no epoch has.

    So does a callback that reads a validation result at the end of each epoch if only every so many updates
    have one (`every`).
    """
    values = [*of_epoch, *of_validation]
    monitoring: list[tuple[Any, Any]] = [(callback, callback.monitor) for callback in callbacks]
    if schedule is not None:
        monitoring.append((schedule, schedule.monitored))
    for owner, name in monitoring:
        if isinstance(name, str) and name not in values:
            missing = name.startswith("val_") and not of_validation
            raise ValueError(
                f"{type(owner).__name__} monitors {name!r}, but an epoch has only {', '.join(values)}"
                + (": pass validation=(x, y)" if missing else "")
            )
        misses = isinstance(owner, Callback) and type(owner).on_validation is Callback.on_validation
        if every is not None and name in of_validation and misses:
            raise ValueError(
                f"{type(owner).__name__} monitors {name!r}, which not every epoch has with "
                f"validate_every={every}: override on_validation, which is passed it, or leave out "
                "validate_every"
            )


def check_schedule(schedule: Schedule | None, updates: int | None, per_epoch: int | None) -> None:
    """Raise ValueError if the schedule does not fit a training of so many updates (None: unknown)."""
    if schedule is not None:
        length = Length(updates, per_epoch)
        schedule.check(length)
        if schedule.is_fixed and updates is not None:
            schedule.factors(0, updates, length)


def history_of(history: History | None) -> History:
    """The history itself, or a new one. Raises TypeError for anything else."""
    if history is None:
        return History()
    if not isinstance(history, History):
        raise TypeError(f"history must be an fn.History, such as an earlier fit returned, not {history!r}")
    return history


def check_checkpoint(checkpoint: Checkpoint | None, resume: bool | str) -> None:
    """Raise ValueError if `resume` does not fit, OSError if no file can be written at the checkpoint's path.

    Folders of the path may be missing.
    """
    if resume not in (True, False, "auto"):
        raise ValueError(f'resume must be True, False or "auto", not {resume!r}')
    if checkpoint is None:
        if resume is True:
            raise ValueError("resume=True needs the checkpoint to resume from: pass checkpoint=path")
        return
    path = checkpoint.path
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: a checkpoint is a file, such as {path / 'checkpoint'}")
    folder = next(each for each in (path.absolute().parent, *path.absolute().parent.parents) if each.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"cannot write a checkpoint to {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write a checkpoint to {path}: {folder} is not writable")
