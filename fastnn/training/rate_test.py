"""The learning-rate range test: train a copy of a model while the rate rises; see where the loss falls."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload

import numpy as np

from fastnn._attributes import declared_dataclass
from fastnn._validation import Array, in_range, positive_int
from fastnn.history import picture_html
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.optimizers import Optimizer, optimizer_of
from fastnn.optim.schedules import Length, Schedule
from fastnn.tables import html_text
from fastnn.training.callbacks import Callback, Training
from fastnn.training.fit import fit
from fastnn.training.options import TrainingKeywords, takes_options
from fastnn.training.samples import DataOrBatches, check_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_UPDATES = 20
MEMORY = 0.9  # of the running mean of the loss that decides about divergence
DIVERGED = 3.0  # stop when the loss has risen by this many times its lowest value, and the fall before
FALL = 0.75  # of the fall of the loss, at the suggested rate
WIDTH = 1 / 40  # standard deviation of the smoothing, as a fraction of the updates


@dataclass(frozen=True)
class RateTest:
    """The losses of a learning-rate range test; print it, or `.plot("find_lr.png")`.

    Args:
        rates: Learning rate of each update.
        losses: Loss of each update, before its change of the weights.
        smoothed: The losses, smoothed.
        suggestion: The rate at which the smoothed loss has made 3/4 of its fall; None if it does not fall.
        stopped: Why the test ended before the highest rate; None if it did not.
    """

    rates: Array
    losses: Array
    smoothed: Array
    suggestion: float | None
    stopped: str | None

    def __str__(self) -> str:
        low, high = self.rates[0], self.rates[-1]
        if self.suggestion is None:
            found = f"the loss does not fall between lr={low:.2g} and lr={high:.2g}"
        else:
            best = self.rates[self.smoothed.argmin()]
            found = f"try lr={self.suggestion:.2g}; the loss is lowest at lr={best:.2g}"
        ended = f"; stopped at lr={high:.2g}: {self.stopped}" if self.stopped else ""
        return f"{found} ({len(self.rates)} updates{ended})"

    def _repr_html_(self) -> str:
        """The suggestion and the picture for notebooks."""
        try:
            return html_text(str(self)) + picture_html(self.plot())
        except ImportError:
            return html_text(str(self))

    @overload
    def plot(self, path: None = None) -> Figure: ...

    @overload
    def plot(self, path: str | os.PathLike[str]) -> Path: ...

    def plot(self, path: str | os.PathLike[str] | None = None) -> Path | Figure:
        """Draw the loss over the learning rate, with the suggestion.

        Writes the image file `path` (.png, .svg, .pdf) and returns its path. Without a path, returns the
        matplotlib figure, which a notebook shows. Needs matplotlib (the extra `demo`).
        """
        from fastnn.viz._drawing import finish
        from fastnn.viz.rates import draw_rates

        return finish(draw_rates(self.rates, self.losses, self.smoothed, self.suggestion), path)


@takes_options
def find_lr(
    model: Layer,
    data: DataOrBatches,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    updates: int = 200,
    loss: str | Loss = "cross_entropy",
    optimizer: str | Optimizer | None = None,
    batch_size: int = 32,
    seed: int = 0,
    **options: Unpack[TrainingKeywords],
) -> RateTest:
    """Find a learning rate by a range test (Smith 2017, arXiv:1506.01186, section 3.3).

    A copy of the model is trained by a copy of the optimizer, while the rate rises from update to update, in
    equal factors, from `low` to `high`. Too small a rate changes nothing, too large a one makes the loss
    rise; in between, the loss falls. The suggestion is the rate at which the smoothed loss has made 3/4 of
    its fall, well before the lowest loss. The test ends early when the loss is much larger than before.
    Model, optimizer and default generator do not change:

    >>> found = fn.find_lr(model, (x, y), optimizer=fn.SGD(momentum=0.9))
    >>> print(found)
    >>> found.plot("find_lr.png")
    >>> fn.fit(model, (x, y), optimizer=fn.SGD(found.suggestion, momentum=0.9))

    Args:
        model: The model, usually untrained.
        data: Training data, as for `fn.fit`.
        low: The first rate, above 0.
        high: The last rate, above `low`.
        updates: Number of updates, at least 20. If the data have fewer mini-batches, they are used again.
        loss: The loss, as for `fn.fit`.
        optimizer: The optimizer, as for `fn.fit`; its `lr` is not used.
        batch_size: Samples per mini-batch.
        seed: Seed of the order of the samples and of dropout.
        **options: Other options of `fn.fit`, such as `clip_norm` and `augment`, but no `schedule`.

    Returns:
        The rates, the losses and the suggestion, a `RateTest`.

    Raises:
        ValueError: For invalid arguments.
        TypeError: For arguments of a wrong type.
    """
    check_model(model)
    low, high = in_range(low, "low", 0), in_range(high, "high", 0)
    if not 0 < low < high:
        raise ValueError(f"low and high must be rates with 0 < low < high, not {low:g} and {high:g}")
    if positive_int(updates, "updates") < FEWEST_UPDATES:
        raise ValueError(f"updates must be at least {FEWEST_UPDATES}, not {updates}")
    if isinstance(data, Iterator):
        raise ValueError(
            "find_lr may use the batches several times: pass a function that returns a new iterator, not "
            f"{type(data).__name__}"
        )
    if options.get("schedule") is not None:
        raise ValueError("find_lr sets the learning rate of each update itself: leave out schedule")
    twin, own = copy.deepcopy(model), copy.deepcopy(optimizer_of(optimizer))
    own.lr = low
    history = fit(
        twin,
        data,
        loss=loss,
        optimizer=own,
        batch_size=batch_size,
        epochs=updates,  # each has at least one update: the callback stops
        seed=seed,
        callbacks=_Stop(updates),
        progress=False,
        watch=False,
        **{"on_nonfinite": "stop", **options, "schedule": _Rising(high / low, updates)},  # type: ignore[arg-type]
    )
    losses = np.array(history.updates["loss"])
    losses = losses[np.isfinite(losses)]
    if not len(losses):
        raise ValueError(f"the first update failed already: {history.stopped}")
    rates = low * (high / low) ** (np.arange(len(losses)) / (updates - 1))
    smoothed = _smooth(losses, WIDTH * updates)
    stopped = history.stopped if len(losses) < updates else None
    noise = float(np.std((losses - smoothed)[: updates // 10]))
    return RateTest(rates, losses, smoothed, _suggestion(rates, smoothed, noise), stopped)


@declared_dataclass
class _Rising(Schedule):
    """Factors from 1 to `ratio` in equal steps of the logarithm."""

    ratio: float
    updates: int

    def factor(self, update: int, length: Length) -> float:
        return float(self.factors(update, 1, length)[0])

    def factors(self, first: int, count: int, length: Length) -> Array:
        factors: Array = self.ratio ** np.minimum(np.arange(first, first + count) / (self.updates - 1), 1)
        return factors


class _Stop(Callback):
    """Stops after a number of updates, or when the loss has risen far above its lowest value."""

    def __init__(self, updates: int) -> None:
        self._updates = updates
        self._mean = self._weight = 0.0
        self._top, self._best = -math.inf, math.inf

    def on_update(self, training: Training, loss: float) -> None:
        self._weight = MEMORY * self._weight + 1 - MEMORY
        self._mean += (1 - MEMORY) * (loss - self._mean)
        mean = self._mean / self._weight  # Adam's correction of the bias towards 0
        if training.updates <= self._updates // 10:  # at rates so small that only the batches differ
            self._top = max(self._top, loss)
        self._best = min(self._best, mean)
        if training.updates >= self._updates:
            training.stop("all updates are made")
        elif mean - self._best > DIVERGED * max(abs(self._best), self._top - self._best):
            training.stop("the loss has risen far above its lowest value")


def _smooth(values: Array, width: float) -> Array:
    """The means of the values under a Gaussian of standard deviation `width` around each place."""
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places) / width) ** 2)
    smoothed: Array = weights @ values / weights.sum(axis=1)
    return smoothed


def _suggestion(rates: Array, losses: Array, noise: float) -> float | None:
    """The rate at which the loss has made `FALL` of its fall; None if it falls by less than `noise`.

    The steepest place of the curve, which others choose, is hard to tell where the loss falls over several
    powers of ten: on digits, it varied by a factor of 10 from seed to seed.
    """
    lowest = int(losses.argmin())
    fall = losses[0] - losses[lowest]
    if fall <= noise:
        return None
    above = np.flatnonzero(losses[: lowest + 1] > losses[0] - FALL * fall)
    return float(rates[above[-1] + 1])
