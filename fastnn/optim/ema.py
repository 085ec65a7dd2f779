"""Averages of the weights along the training, which often do better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn._validation import Array, in_range
from fastnn.kernels import aligned_empty, ops
from fastnn.layers import Layer
from fastnn.states import held_by


class EMA:
    """e = decay e + (1 - decay) p after every update, for each parameter and buffer (Polyak averaging).

    They begin as the weights when training begins. With `warmup` the decay is min(decay, (1 + t) / (10 + t))
    at update t, so that the first weights are forgotten soon. Running moments are averaged like the weights
    to which they belong, as timm's ModelEma does.

    In `fit(ema=...)` the validation data are evaluated with the averages; afterwards the model holds its own
    weights, as if there had been no averages: `with ema.applied(model):` for a while, or for good by
    `ema.copy_to(model)`.
    """

    def __init__(self, decay: float = 0.999, *, warmup: bool = True) -> None:
        if in_range(decay, "decay", 0, 1) == 1:
            raise ValueError("decay must be below 1, or the averages would never move")
        self.decay = float(decay)
        self.warmup = bool(warmup)
        self.counter = np.zeros(1, np.int64)  # the updates so far
        self._averages: dict[str, Array] = {}

    def begin(self, model: Layer) -> None:
        """Make place for the averages of this model. Raises ValueError if they are those of another one."""
        held = held_by(model)
        if not self._averages:
            for name, holder in held.items():
                self._averages[name] = aligned_empty(holder.shape, holder.dtype)
                self._averages[name][...] = holder.master
        self._check({name: (holder.shape, holder.dtype) for name, holder in held.items()}, "the model has")

    def update(self, model: Layer) -> None:
        """Average the weights in. It only calls kernels, so it is part of a recorded step."""
        for name, holder in held_by(model).items():
            ops.ema(holder.master, self.counter, self.decay, self.warmup, self._averages[name])
        ops.advance(self.counter)

    @contextmanager
    def applied(self, model: Layer) -> Iterator[None]:
        """In the `with` block the model has the averages as its weights. Without updates nothing changes."""
        if not self._averages:
            yield
            return
        self.begin(model)
        held = held_by(model)
        own = {name: holder.master.copy() for name, holder in held.items()}
        try:
            self.copy_to(model)
            yield
        finally:
            for name, holder in held.items():
                holder.master[...] = own[name]

    def copy_to(self, model: Layer) -> None:
        """Replace the weights and buffers of the model by the averages."""
        self.begin(model)
        for name, holder in held_by(model).items():
            holder.master[...] = self._averages[name]

    def state_dict(self) -> dict[str, Any]:
        """The averages by the names of their parameters, and "updates"; all copies."""
        return {"updates": int(self.counter[0]), **{name: a.copy() for name, a in self._averages.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises ValueError if it is not about the same parameters, and changes nothing then.
        """
        arrays = {name: np.asarray(array) for name, array in state.items() if name != "updates"}
        if "updates" not in state:
            raise ValueError("the state of an EMA has its number of 'updates'")
        if self._averages:
            self._check({name: (array.shape, array.dtype) for name, array in arrays.items()}, "the state has")
        for name, array in arrays.items():
            if name not in self._averages:
                self._averages[name] = aligned_empty(array.shape, array.dtype)
            self._averages[name][...] = array
        self.counter[0] = state["updates"]

    def _check(self, others: Mapping[str, object], who: str) -> None:
        own = {name: (average.shape, average.dtype) for name, average in self._averages.items()}
        different = [name for name in {**own, **others} if own.get(name) != others.get(name)]
        if different:
            name = different[0]
            raise ValueError(
                f"these are averages of another model: {name!r} is {own.get(name)} here, {who} "
                f"{others.get(name)}"
            )

    def __repr__(self) -> str:
        return f"EMA({self.decay:g}{'' if self.warmup else ', warmup=False'})"


def ema_of(ema: float | EMA) -> EMA:
    """The `EMA` itself, or a new one with this decay."""
    return ema if isinstance(ema, EMA) else EMA(ema)
