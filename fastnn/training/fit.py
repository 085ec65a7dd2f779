"""`fit`: train a model over epochs of mini-batches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Unpack

import numpy as np

from fastnn import rng
from fastnn._sources import rows_at_once
from fastnn._validation import Array, flag, positive_int, warn
from fastnn.augment import Together
from fastnn.feeding import feeding_of
from fastnn.history import History
from fastnn.kernels import active_backend
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.optim.optimizers import Optimizer, optimizer_of
from fastnn.training import checks
from fastnn.training.agreement import describe_state
from fastnn.training.callbacks import Callback, Callbacks, Training, callbacks_of, with_state
from fastnn.training.evaluation import Metric, Metrics, metrics_of, pairs_of
from fastnn.training.fingerprint import describe, describe_data
from fastnn.training.finite import NonFiniteError, check_finite
from fastnn.training.loop import ArrayLoop, Loop
from fastnn.training.opening import BATCH_SIZE, OpenData, Reading, opened
from fastnn.training.options import (
    TrainingKeywords,
    TrainingOptions,
    check_precision,
    described_values,
    option_values,
    piece_size,
    takes_options,
)
from fastnn.training.orders import check_order
from fastnn.training.pieces import batch_sizes, check_summable, piece_sizes
from fastnn.training.plans import StepLock
from fastnn.training.processes import Communicator, Processes, processes_of
from fastnn.training.progress import Progress
from fastnn.training.resume import Checkpoint, CheckpointWriter, checkpoint_of, find_checkpoint, restore
from fastnn.training.samples import DataOrBatches, Samples
from fastnn.training.stream_loop import StreamLoop
from fastnn.training.trainer import Trainer
from fastnn.training.turns import Turns, in_one_turn
from fastnn.training.validation_sets import EVERY_EPOCH, SINGLE, Validation, interval, named_sets
from fastnn.training.watch import GradientWatch, SparingWatch


@in_one_turn
@takes_options
def fit(
    model: Layer,
    data: DataOrBatches,
    *,
    validation: Validation = None,
    validate_every: int | str = EVERY_EPOCH,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer | None = None,
    batch_size: int = BATCH_SIZE,
    drop_last: bool = False,
    epochs: int = 1,
    steps_per_epoch: int | None = None,
    shuffle: bool = True,
    order: str | None = None,
    seed: int | None = None,
    metrics: Metrics = (),
    callbacks: Callbacks = (),
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool | str = "auto",
    history: History | None = None,
    progress: bool | str | None = None,
    watch: bool = True,
    communicator: Communicator | Processes | None = None,
    **options: Unpack[TrainingKeywords],
) -> Turns[History]:
    """Train `model` on data (x, y) by mini-batches; returns the history.

    Data: x has shape (N, ...), y holds labels (N,) or whatever the loss accepts; `data` may also be
    (x, y, sample_weight) with weights (N,) of at least 0. uint8 features stay bytes in memory and are
    multiplied by 1/255 while they are gathered; `scale` overrides the factor. The model remembers the factor
    of its first training, and later features follow: uint8 is used as it is by a model trained on int64, and
    int64 is multiplied by 1/255 by one trained on uint8. Features whose dtype and range differ from the
    training, and another `scale`, cause a warning. Memory-mapped features of any dtype are read batch by
    batch, and SciPy sparse matrices are densified batch by batch. Features in h5py datasets,
    Zarr arrays and other objects with shape, dtype and slices are read in blocks, the next ones by a thread.
    Instead of a pair, data may be a data set whose items are samples, such as those of PyTorch and Hugging
    Face, or give batches (x, y), (x, y, sample_weight) or dicts one after the other: an iterator, a function
    that returns one, such as a generator function, or an iterable such as PyTorch's `DataLoader`. A thread
    reads the next batch. An epoch is one pass or, with `steps_per_epoch`, that many batches, after which the
    next epoch goes on; a function or an iterable that ends is started again.

    Batches: each epoch uses every sample once. The last batch may be smaller, but a single last sample joins
    the batch before it if the model has batch norm, which cannot use it alone; `drop_last=True` leaves out a
    smaller last batch. `order` is "random", drawn from `seed` for each epoch; "fixed", the order of the data,
    also chosen by `shuffle=False`; "blocks", which reads files in large slices and mixes the rows of a few of
    them (the default for h5py and Zarr); "alternate", one sample of each class in turn; or "balanced", each
    class equally often, with samples of small classes repeated and samples of large classes left out.
    `augment`, such as `fn.augment.Rotate(15) | fn.augment.Shift(2)`, changes the images of each batch at
    random, but never the images of `validation`.

    Validation: `validation` (x, y), or the fraction of the data to set aside for it, is evaluated after every
    epoch, also by `metrics`: functions (outputs, targets) -> float, one, a list, or a dict by name, or names
    such as "f1", "precision" and "recall"; the history stores the results as "val_loss", "val_accuracy",
    "val_f1". Several sets are a dict by name, such as {"valid": (x, y), "test": (x, y)}, and give
    "valid_loss", "test_loss" and so on. `validate_every=200` evaluates after every 200 updates, and after the
    last one, instead of after every epoch (the default, "epoch"), and the history also gets
    "running_accuracy": the fraction of correct outputs in the updates since the validation before it, or
    since the epoch began.

    Updates: `optimizer` is a name or an object; None is `fn.Adam(lr=0.003)`, chosen by measurement
    (`bench/default_optimizer.py`). An optimizer object keeps its state from one call to the next; schedules,
    averages and callbacks start afresh with each call, unless it resumes. `schedule` sets the learning rate
    of each update (`fn.schedules`: a factor on `optimizer.lr`, which is restored when training ends).
    `clip_norm` and `clip_value` clip the gradients. `ema` averages the weights (a decay, or an `fn.EMA`
    that gives access to the averages); validation then uses the averages. `micro_batch=512` computes larger
    mini-batches in pieces of 512 samples and sums their gradients: the same updates, up to rounding, in less
    memory and in the cache. `precision="bf16"` computes dense layers in bf16, faster on processors that have
    it. `micro_batch`, `precision`, `plan`, `fuse`, `keep_gradients`, `on_nonfinite` and `sync_batch_norm` are
    described in `Trainer`.

    The run: `history` continues the curves of an earlier one. It is filled during training, so after Ctrl-C,
    which ends the training between two updates, it holds the finished part. `callbacks`, one or several, are
    `fn.Callback` objects, such as `fn.EarlyStopping()`, which restores the best weights also after Ctrl-C, or
    functions of a `Training`, called after every epoch. `checkpoint`, a path or an `fn.Checkpoint`, is
    written throughout the training; the same call made again resumes from it and ends with the same bits as
    if the training had never stopped (`resume=True`: the checkpoint must exist; `False`: it must not).
    `progress` prints loss, accuracy and validation results after every epoch on the error stream, with a bar
    during the epoch: True, False, None (only in a terminal or a notebook), or "bar" (as None, but without the
    lines). `watch` warns of a loss that does not decrease, of vanishing or exploding gradients and of dead
    ReLUs, where checking costs next to nothing (an `fn.GradientWatch` among the callbacks checks after every
    epoch).

    Several processes: `communicator`, such as mpi4py's `MPI.COMM_WORLD`, lets the processes that `mpirun`
    started train one model together, as described in `Trainer`: all of them call `fit` with the same
    arguments, and end with the same weights and the same history. Each computes its share of every batch and
    of every validation. The first one writes the checkpoint, shows the progress, and calls the callbacks that
    write files; the others call all other callbacks, too. What ends the training in one of them ends it in
    all.

    Raises ValueError or TypeError for invalid arguments, and RuntimeError if the processor has no bf16,
    before anything changes; `NonFiniteError` as described in `Trainer`; `CheckpointError` for a checkpoint
    that is damaged or belongs to another training; `fn.ProcessError` if another process has failed, or has
    other data or settings.
    """
    processes = processes_of(communicator)
    with processes.training():
        how, chosen, pairs = TrainingOptions(**options), reducing_loss(loss), pairs_of(metrics)
        sets = named_sets(validation)
        checkpoint = checkpoint_of(checkpoint)
        reading = Reading(
            batch_size=positive_int(batch_size, "batch_size"),
            drop_last=flag(drop_last, "drop_last"),
            epochs=positive_int(epochs, "epochs"),
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            order=order,
            seed=None if seed is None else rng.check_seed(seed),
            has_checkpoint=checkpoint is not None,
            validate_every=interval(validate_every, sets),
        )
        # Before an iterator gives its first batch, which would be lost.
        optimizer, named, called = optimizer_of(optimizer), metrics_of(pairs), callbacks_of(callbacks)
        history = checks.history_of(history)
        shown = Progress(progress if processes.is_first else False, reading.epochs)
        processes.from_first(lambda: checks.check_checkpoint(checkpoint, resume))
        with opened(model, chosen, how, data, sets, reading) as given:
            run = _Run(
                model=model,
                data=given,
                loss=chosen,
                optimizer=optimizer,
                reading=reading,
                options=how,
                metrics=named,
                callbacks=called,
                processes=processes,
            )
            run.check()
            is_described = checkpoint is not None or processes.size > 1
            description = run.description() if is_described else {}
            run.compare(description, checkpoint, resume)
            saved = None
            if checkpoint is not None:
                find = partial(find_checkpoint, checkpoint, description, epochs, resume)
                saved = processes.from_first(find)
            try:
                check_finite(given.known, how.on_nonfinite)
            except NonFiniteError as error:
                if how.on_nonfinite == "raise":
                    raise
                history.stopped = str(error)
                return history
            checks.check_metrics(
                model, chosen, given.samples, given.validation, run.metrics, asked=[name for name, _ in pairs]
            )
            if how.scale is None and feeding_of(model) is None:
                _warn_of_pixels(model, given.samples)
            history.stopped = None
            trainer = run.trainer()
            try:
                if processes.size > 1:
                    trainer.begin_sums()
                training = Training(
                    *(trainer, history, run.watched(watch and processes.is_first), epochs, given.samples),
                    validation_sets=given.held_out,
                    validate_every=reading.validate_every,
                    total_updates=run.updates,
                    is_stream=given.batches is not None,
                )
                writer = None
                if checkpoint is not None and processes.is_first:
                    writer = CheckpointWriter(checkpoint, training, description, saved)
                elif checkpoint is not None and saved is not None:
                    restore(training, saved, checkpoint.path)
                if processes.size > 1:
                    trainer.start_random_streams()
                yield from run.loop(training, writer, shown).run()
                processes.meet()  # nobody has failed to write
            finally:
                if trainer.rates is not None:
                    trainer.optimizer.lr = trainer.rates.lr
            return history


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The checked arguments of `fit`."""

    model: Layer
    data: OpenData
    loss: Loss
    optimizer: Optimizer
    reading: Reading
    options: TrainingOptions
    metrics: dict[str, Metric]
    callbacks: list[Callback]
    processes: Processes

    @cached_property
    def sizes(self) -> Array:
        """The sizes of the mini-batches of an epoch. Raises ValueError if the model cannot use them."""
        samples, batch_size = self.data.samples, self.reading.batch_size
        smallest = checks.smallest_batch(
            *(self.model, samples, batch_size, self.processes.size),
            sync_batch_norm=self.options.sync_batch_norm,
        )
        return batch_sizes(len(samples), batch_size, smallest, drop_last=self.reading.drop_last)

    @property
    def per_epoch(self) -> int | None:
        """The number of updates of an epoch; None if it is unknown."""
        return len(self.sizes) if self.data.batches is None else self.data.batches.per_epoch

    @property
    def updates(self) -> int | None:
        """The number of updates of the training; None if it is unknown."""
        return None if self.per_epoch is None else self.reading.epochs * self.per_epoch

    def check(self) -> None:
        """Check the arguments against each other. Raises ValueError; nothing has changed then."""
        schedule, samples = self.options.schedule, self.data.samples
        check_precision(self.options.precision, self.model)
        if self.options.augment is not None:
            samples.check_augmented(Together(self.options.augment))
        check_order(self.data.order, samples.target)
        checks.check_schedule(schedule, self.updates, self.per_epoch)
        of_epoch = checks.values_of_an_epoch(self.model, self.loss, samples, schedule)
        of_validation = checks.values_of_a_validation(self.model, self.loss, self.data.held_out, self.metrics)
        checks.check_monitored(self.callbacks, schedule, of_epoch, of_validation, self.reading.validate_every)
        count = len(samples) if self.data.batches else min(self.reading.batch_size, len(samples))
        if (size := piece_size(self.options, count)) is not None:  # raises if they cannot be made
            piece_sizes(self.model, self.loss, samples.x.shape[1:], count, size)
        if self.processes.size > 1:
            check_summable(self.loss, "communicator")
        StepLock(self.model).lock.check()

    def description(self) -> dict[str, Any]:
        """Everything that determines the result, for JSON: a checkpoint fits only the run that wrote it."""
        every = self.reading.validate_every
        description: dict[str, Any] = describe(
            {
                "model": self.model,
                "data": describe_data(self.data.batches or self.data.samples),
                "validation": self._described_validation(),
                "loss": self.loss,
                "optimizer": self.optimizer,
                "batch_size": self.reading.batch_size,
                # Older checkpoints do not have these.
                **({"drop_last": True} if self.reading.drop_last else {}),
                **({} if every is None else {"validate_every": every}),
                **({} if self.processes.size == 1 else {"processes": self.processes.size}),
                "epochs": None if self.options.schedule is None else self.reading.epochs,
                "order": self.data.order,
                "seed": self.reading.seed,
                **described_values(self.options),
                "metrics": list(self.metrics),
                "callbacks": with_state(self.callbacks),
                "backend": active_backend(),
            }
        )
        return description

    def compare(self, description: dict[str, Any], checkpoint: Checkpoint | None, resume: bool | str) -> None:
        """Raise `ProcessError` unless all processes have the same data, model and settings."""
        if self.processes.size > 1:
            settings = {"epochs": self.reading.epochs, "checkpoint": checkpoint is not None, "resume": resume}
            state = describe_state(self.model, self.optimizer)
            self.processes.compare({**description, **settings, **state})

    def _described_validation(self) -> Any:
        """A description of the validation sets. Older checkpoints have at most one, without a name."""
        sets = {name: describe_data(data) for name, data in self.data.validation.items()}
        return sets.get(SINGLE) if sets.keys() <= {SINGLE} else sets

    def trainer(self) -> Trainer:
        """The trainer that makes the updates."""
        return Trainer(
            self.model,
            loss=self.loss,
            optimizer=self.optimizer,
            seed=self.reading.seed,
            total_updates=self.updates,
            updates_per_epoch=self.per_epoch,
            communicator=self.processes,
            **option_values(self.options),
        )

    def loop(self, training: Training, writer: CheckpointWriter | None, progress: Progress) -> Loop:
        """The loop that makes the updates."""
        data = self.data
        common = training, data.validation, self.metrics, writer, progress
        if data.batches is not None:
            return StreamLoop(*common, data.batches)
        return ArrayLoop(*common, self.sizes, data.order)

    def watched(self, watch: bool) -> list[Callback]:
        """The callbacks, with a `SparingWatch` if `watch` is set and there is no `GradientWatch` yet."""
        if not watch or any(isinstance(callback, GradientWatch) for callback in self.callbacks):
            return self.callbacks
        return [*self.callbacks, SparingWatch()]


def _warn_of_pixels(model: Layer, samples: Samples) -> None:
    """Warn of floats that look like raw 0-255 pixels in front of weights made for inputs near 1."""
    if samples.x.dtype == np.uint8 or samples.scale != 1:
        return
    first = next(iter(model.parameters()), None)
    part = samples.x[: rows_at_once(samples.x, 1000)]
    looks_raw = part.min() >= 0 and 100 < part.max() <= 255 and bool((part == np.floor(part)).all())
    if looks_raw and first is not None and float(np.abs(first.master).max()) * part.max() > 1:
        warn(
            f"the features reach {part.max():g} and look like unscaled pixels: pass them as uint8, which is "
            "scaled by 1/255 automatically, or divide them by 255"
        )
