"""Exponential moving averages of the weights, which often generalise better than the last weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np

from fastnn._attributes import Declared
from fastnn._validation import Array, counter_value, flag, float_type, in_range, writable
from fastnn.kernels import aligned_empty, ops
from fastnn.kernels.guards import Kept
from fastnn.layers import Layer
from fastnn.param import Buffer, Param
from fastnn.states import held_by


def _decay(value: Any, name: str) -> float:
    decay = in_range(value, name, 0, 1)
    if decay == 1:
        raise ValueError("decay must be below 1: with 1 the averages would never change")
    return decay


class EMA(Declared):
    """e = decay e + (1 - decay) p after every update, for each parameter and buffer (Polyak averaging).

    The averages start as the weights at the beginning of every training, also of a second one with the same
    `EMA`; only a training that resumes from a checkpoint continues its averages. With `warmup` the decay is
    min(decay, (1 + t) / (10 + t)) at update t, so that the first weights are soon forgotten. Running
    statistics are averaged like the weights they belong to, as in timm's ModelEma.

    `fit(ema=...)` evaluates the validation set with the averages; afterwards the model holds its own weights,
    as if there were no averages. Use the averages temporarily in `with ema.applied(model):`, or permanently
    after `ema.copy_to(model)`.
    """

    decay: float
    warmup: bool
    counter: Array
    _checks: ClassVar = {"decay": _decay, "warmup": flag}

    def __init__(self, decay: float = 0.999, *, warmup: bool = True) -> None:
        self.decay = decay
        self.warmup = warmup
        self.counter = np.zeros(1, np.int64)  # the number of updates
        self._averages: dict[str, Array] = {}

    # Read-only after joblib has mapped it from a file.
    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self.counter = writable(self.counter)

    def begin(self, model: Layer) -> None:
        """Start the averages afresh, as the weights and buffers of this model."""
        held = held_by(model)
        if self._shapes() != {name: (holder.shape, holder.dtype) for name, holder in held.items()}:
            self._averages = {
                name: aligned_empty(holder.shape, holder.dtype) for name, holder in held.items()
            }
        for name, holder in held.items():  # in place: a recorded step keeps writing to these arrays
            self._averages[name][...] = holder.master
        self.counter[0] = 0

    def update(self, model: Layer) -> None:
        """Update the averages from the weights. Only calls kernels, so it can be recorded."""
        for name, holder in held_by(model).items():
            average = self._averages[name] = writable(self._averages[name])
            ops.ema(holder.master, self.counter, self.decay, self.warmup, average)
        ops.advance(self.counter)

    def applied(self, model: Layer) -> AbstractContextManager[None]:
        """Use the averages as the weights of the model inside the `with` block; no effect before a training.

        Raises ValueError if they are averages of another model.
        """
        if not self._averages:
            return nullcontext()
        held = self._held_by(model)
        weights = [holder.writable_master() for holder in held.values()]
        kept: AbstractContextManager[None] = Kept(weights, [self._averages[name] for name in held])
        return kept

    def copy_to(self, model: Layer) -> None:
        """Replace the weights and buffers of the model by the averages; no effect before a training.

        Raises ValueError if they are averages of another model.
        """
        if self._averages:
            for name, holder in self._held_by(model).items():
                holder.writable_master()[...] = self._averages[name]

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the averages by parameter name, and the number of "updates"."""
        return {"updates": int(self.counter[0]), **{name: a.copy() for name, a in self._averages.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises ValueError if the parameters differ; nothing has changed then.
        """
        arrays = {name: np.asarray(array) for name, array in state.items() if name != "updates"}
        if "updates" not in state:
            raise ValueError("'updates' is missing from the state of the EMA")
        updates = counter_value(state["updates"], "updates")
        if self._averages:
            self._check({name: (array.shape, array.dtype) for name, array in arrays.items()}, "the state has")
        for array in arrays.values():
            float_type(array.dtype)
        for name, array in arrays.items():
            if name not in self._averages:
                self._averages[name] = aligned_empty(array.shape, array.dtype)
            self._averages[name] = writable(self._averages[name])
            self._averages[name][...] = array
        self.counter[0] = updates

    def _held_by(self, model: Layer) -> dict[str, Param | Buffer]:
        """The parameters and buffers of the model. Raises ValueError unless these are their averages."""
        held = held_by(model)
        self._check({name: (holder.shape, holder.dtype) for name, holder in held.items()}, "the model has")
        return held

    def _shapes(self) -> dict[str, object]:
        return {name: (average.shape, average.dtype) for name, average in self._averages.items()}

    def _check(self, others: Mapping[str, object], who: str) -> None:
        own = self._shapes()
        different = [name for name in {**own, **others} if own.get(name) != others.get(name)]
        if different:
            name = different[0]
            raise ValueError(
                f"these are averages of another model: {name[:100]!r} is {own.get(name)} here, but {who} "
                f"{others.get(name)}"
            )

    def __repr__(self) -> str:
        return f"EMA({self.decay:g}{'' if self.warmup else ', warmup=False'})"


def ema_of(ema: float | EMA) -> EMA:
    """The `EMA` itself, or a new one with this decay."""
    return ema if isinstance(ema, EMA) else EMA(ema)
