"""Check the data of a training and its validation data; begin to read those that come in mini-batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np

from fastnn._sources import Source, Stream, is_stream
from fastnn._validation import positive_int
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.training.batches import TRAINING, Batches
from fastnn.training.held_out import split
from fastnn.training.options import TrainingOptions
from fastnn.training.orders import order_of
from fastnn.training.samples import Data, DataOrBatches, Samples, check_data
from fastnn.training.validation_sets import words_for

BATCH_SIZE = 32  # the default of `fit`


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How `fit` was told to read its data; `steps_per_epoch`, `shuffle` and `order` are not checked yet."""

    batch_size: int
    drop_last: bool
    epochs: int
    steps_per_epoch: object
    shuffle: bool
    order: str | None
    seed: int | None
    has_checkpoint: bool
    validate_every: int | None


@dataclass(frozen=True)
class OpenData:
    """The checked data of a training. `samples` are all of them or, with `batches`, the first mini-batch.

    `validation` holds the validation sets by name.
    """

    samples: Samples
    batches: Batches | None
    validation: dict[str, Samples | Batches]
    order: str

    @property
    def held_out(self) -> dict[str, Samples]:
        """The validation sets by name, or the first mini-batches of them."""
        return {
            name: data.first if isinstance(data, Batches) else data for name, data in self.validation.items()
        }

    @property
    def known(self) -> list[Samples]:
        """What is in memory already of training and validation data."""
        return [self.samples, *self.held_out.values()]


@contextmanager
def opened(
    model: Layer,
    loss: Loss,
    options: TrainingOptions,
    data: DataOrBatches,
    validation: Mapping[str, DataOrBatches | float],
    how: Reading,
) -> Iterator[OpenData]:
    """The checked data; the reading of mini-batches ends with the context.

    `validation` holds data sets, or the fraction of the data to set aside, by name.

    Raises TypeError or ValueError for data that do not fit, and for arguments that do not fit them.
    """
    order = order_of(how.shuffle, how.order)
    with ExitStack() as readers:
        batches: Batches | None = None
        if is_stream(data):
            batches = readers.enter_context(_batches(model, loss, options, data, validation.values(), how))
            samples, order = batches.first, "fixed"
        else:
            if how.steps_per_epoch is not None:
                raise ValueError(
                    "steps_per_epoch is for batches from an iterator; an epoch of arrays uses all samples"
                )
            samples = check_data(
                model, loss, cast(Data, data), options.scale, keep_mapped=True, learn_classes=True
            )
            is_sequential = isinstance(samples.x, Source) and samples.x.is_sequential
            order = order_of(how.shuffle, how.order, sequential=is_sequential)
        fractions = [name for name, each in validation.items() if isinstance(each, (int, float, np.number))]
        if len(fractions) > 1:
            raise ValueError(
                f"the validation sets {', '.join(map(repr, fractions))} are all fractions of the data: pass "
                "one fraction, and (x, y) for the others (fn.data.split makes several)"
            )
        held_out: dict[str, Samples | Batches] = {}
        for name, each in validation.items():
            if name in fractions:
                samples, held_out[name] = split(samples, each, how.seed)
            elif is_stream(each):
                held_out[name] = readers.enter_context(
                    Batches(
                        Stream(each, how.batch_size),
                        *(model, loss, options.scale, options.on_nonfinite),
                        what=f"the {words_for(name)}",
                        epochs=how.epochs if how.validate_every is None else None,
                        like=samples,
                    )
                )
            else:
                held_out[name] = check_data(
                    *(model, loss, cast(Data, each), options.scale),
                    like=samples,
                    where=f"{words_for(name)}: ",
                    keep_mapped=True,
                )
        yield OpenData(samples, batches, held_out, order)


def _batches(
    model: Layer,
    loss: Loss,
    options: TrainingOptions,
    data: DataOrBatches,
    validation: Iterable[object],
    how: Reading,
) -> Batches:
    """The mini-batches of a training on a stream. Raises ValueError for arguments that need arrays."""
    stream = Stream(data, how.batch_size, drop_last=how.drop_last)
    if how.order not in (None, "fixed"):
        raise ValueError(f"order={how.order!r} needs arrays: {stream.name} has an order of its own")
    if not stream.gives_samples and (how.drop_last or how.batch_size != BATCH_SIZE):
        raise ValueError(
            f"batch_size and drop_last do not apply: {stream.name} gives batches of its own size. Leave them "
            "out, or set them there"
        )
    if fraction := [each for each in validation if isinstance(each, (int, float, np.number))]:
        raise ValueError(
            f"validation={fraction[0]} needs arrays to choose from: {stream.name} gives one batch after the "
            "other. Pass validation data"
        )
    if how.has_checkpoint and not stream.is_restartable:
        raise ValueError(
            f"a training on {stream.name} could not be resumed, as it can be read only once: pass a function "
            "that returns a new iterator, or leave out checkpoint"
        )
    steps = None if how.steps_per_epoch is None else positive_int(how.steps_per_epoch, "steps_per_epoch")
    return Batches(
        *(stream, model, loss, options.scale, options.on_nonfinite),
        what=TRAINING,
        epochs=how.epochs,
        steps=steps,
    )
