"""Mini-batches of a stream, each checked against model and loss when it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np

from fastnn._sources import Batch, Reader, Stream
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.training.finite import check_finite
from fastnn.training.samples import Samples, check_data


class Batches:
    """The mini-batches of a stream, in epochs.

    Without `steps`, an epoch is one pass through the stream. With `steps`, it has that many mini-batches, and
    the next epoch goes on where the last one stopped; `epochs` is None if it is not known. The first mini-
    batch is read and checked at once, as `first`. Later ones must have the shape and the dtype of its
    features, and are scaled as it was. `what` names the data in messages, `like` are data that were checked
    before them, and `on_nonfinite` is a training option. A context manager, which ends the reading.

    Raises ValueError if the stream has no mini-batches, or cannot be read as often as `epochs` says.
    """

    def __init__(
        self,
        stream: Stream,
        model: Layer,
        loss: Loss,
        scale: float | None,
        on_nonfinite: str = "ignore",
        *,
        what: str,
        epochs: int | None = 1,
        steps: int | None = None,
        like: Samples | None = None,
    ) -> None:
        if epochs != 1 and steps is None and not stream.is_restartable:
            reason = "each validation reads it" if epochs is None else f"there are {epochs} epochs"
            raise ValueError(
                f"{what}: {stream.name} can be read only once, but {reason}: pass a "
                "function that returns a new iterator for each epoch, such as the generator function itself"
                + (", or steps_per_epoch=..." if what == TRAINING else "")
            )
        self.stream, self.steps = stream, steps
        self._model, self._loss, self._scale, self._what = model, loss, scale, what
        self._on_nonfinite = on_nonfinite
        self._limit = None if steps is None or epochs is None else epochs * steps
        self._passed = 0  # epochs
        self._first: Samples | None = None
        self._kinds: list[str] | None = None
        self._reader = self._new_reader()
        try:
            self._next = self._reader.read(self._where(0, 0))
            if self._next is None:
                raise ValueError(f"{what}: {stream.name} gives no batches")
            self.first = self._first = self._checked(self._next, self._where(0, 0), like=like)
        except BaseException as error:
            self._reader.__exit__(type(error))
            raise

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind)

    @property
    def per_epoch(self) -> int | None:
        """The number of mini-batches of an epoch; None if it is unknown."""
        return self.steps or self.stream.length

    def describe(self) -> dict[str, object]:
        """What a checkpoint can say of them: their kind, not their values."""
        assert self._kinds is not None
        kinds = dict(zip(Batch._fields, self._kinds, strict=True))
        return {"batches": kinds, "steps_per_epoch": self.steps}

    def epoch(self, epoch: int, check: Callable[[], None] = lambda: None) -> Iterator[Samples]:
        """Yield the mini-batches of an epoch, counted from 0; `check` is called while waiting for them.

        Epochs that were left out, since a training resumes, are read and dropped if the stream goes on from
        epoch to epoch. Raises ValueError for mini-batches that do not fit, or if the stream ends early.
        """
        if self.steps is None:
            yield from self._pass(epoch, check)
            return
        for number in range(self._passed, epoch + 1):
            for done in range(self.steps):
                where = self._where(number, done)
                batch = self._read(where, check)
                if batch is None:
                    raise ValueError(
                        f"{self.stream.name} ended after {done} of the {self.steps} batches of epoch "
                        f"{number + 1}: pass a function that returns a new iterator, or reduce epochs or "
                        "steps_per_epoch"
                    )
                if number == epoch:
                    yield self._finite(batch, where)
        self._passed = epoch + 1

    def _pass(self, epoch: int, check: Callable[[], None]) -> Iterator[Samples]:
        if self._next is None:
            self._reader.__exit__(None)
            self._reader = self._new_reader()
        done = 0
        while (batch := self._read(where := self._where(epoch, done), check)) is not None:
            yield self._finite(batch, where)
            done += 1
        if done == 0:
            raise ValueError(
                f"{self._what}: {self.stream.name} gives no batches in epoch {epoch + 1}: it must return a "
                "new iterator for each epoch, not the same one again"
            )

    def _new_reader(self) -> Reader:
        return Reader(self.stream, limit=self._limit, repeat=self.steps is not None)

    def _read(self, where: str, check: Callable[[], None]) -> Batch | None:
        batch, self._next = self._next, None
        return self._reader.read(where, check) if batch is None else batch

    def _where(self, epoch: int, done: int) -> str:
        return f"batch {done + 1} of " + (f"epoch {epoch + 1}" if self._what == TRAINING else self._what)

    def _finite(self, batch: Batch, where: str) -> Samples:
        samples = self._checked(batch, where)
        smallest = self._model.smallest_batch(samples.x.shape[1:]) if self._what == TRAINING else 1
        if len(samples) < smallest:
            raise ValueError(
                f"the size of {where} is {len(samples)}, but layers of the model, such as batch norm, need "
                f"at least {smallest} in training: leave out a smaller last batch, as drop_last=True does"
            )
        check_finite([samples], self._on_nonfinite)
        return samples

    def _checked(self, batch: Batch, where: str, like: Samples | None = None) -> Samples:
        kinds = _kinds_of(batch)
        self._kinds = self._kinds or kinds
        for name, first, now in zip(Batch._fields, self._kinds, kinds, strict=True):
            if now != first:
                raise ValueError(f"{where}, from {self.stream.name}: {name} has {now}, but at first {first}")
        return check_data(
            self._model,
            self._loss,
            batch,
            self._scale,
            like=like,
            where=f"{where}: ",
            batch_of=self._first,
            may_weigh_nothing=True,
        )


def _kinds_of(batch: Batch) -> list[str]:
    """What x, y and weights of all mini-batches of a stream have in common; the sizes may differ."""
    shapes = [
        "no values" if part is None else f"shape {('N', *np.shape(part)[1:])}".replace("'N'", "N")
        for part in batch
    ]
    return [f"{shapes[0]} and dtype {batch.x.dtype}", *shapes[1:]]


# The names of data in messages.
TRAINING, DATA = "training data", "the data"
