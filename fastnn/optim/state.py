"""The optimizer state of one parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._validation import Array, writable
from fastnn.kernels import aligned_empty
from fastnn.recording.changes import note


class State(dict[str, Array]):
    """The optimizer state of one parameter: arrays by name, and the number of updates."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = np.zeros(1, np.int64)
        # The hyper-parameters that the kernels read, the learning rate first.
        self.hyper = np.empty(0)
        self.decay_scale = 1.0  # the parameter's factor on the weight decay

    # Plans hold the arrays, so replacing one must be reported.
    def __setitem__(self, name: str, array: Array) -> None:
        super().__setitem__(name, array)
        note()

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        note()

    def clear(self) -> None:
        super().clear()
        note()

    def pop(self, name: str, *default: Any) -> Any:
        note()
        return super().pop(name, *default)

    def update(self, *others: Any, **items: Array) -> None:
        super().update(*others, **items)
        note()

    def popitem(self) -> tuple[str, Array]:
        note()
        return super().popitem()

    # Both are read-only after joblib has mapped them from a file.
    def __setstate__(self, attributes: dict[str, Any]) -> None:
        vars(self).update(attributes)
        self.counter, self.hyper = writable(self.counter), writable(self.hyper)

    @property
    def steps(self) -> int:
        """The number of updates, including the current one."""
        return int(self.counter[0])

    def array(self, name: str, like: Array) -> Array:
        """Return the array `name` with the shape and dtype of `like`; it starts as zeros."""
        if name not in self or self[name].dtype != like.dtype or not self[name].flags.writeable:
            before = self.get(name, 0)
            self[name] = aligned_empty(like.shape, like.dtype)
            self[name][...] = before
        return self[name]

    def set_hyper(self, *values: float) -> Array:
        """Write the hyper-parameters to the memory that plans read; returns that array."""
        if len(self.hyper) != len(values):
            self.hyper = np.empty(len(values))
        self.hyper[:] = values
        return self.hyper
