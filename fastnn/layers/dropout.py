"""The dropout layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import rng
from fastnn._validation import Array, in_range, writable
from fastnn.kernels import empty, ops
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class Dropout(Layer):
    """Dropout: in training, y = 0 with probability `rate`, else y = x / (1 - rate). Otherwise y = x.

    This is the inverted form of Srivastava et al. 2014 that PyTorch uses. The mask is a function of (key,
    number of draws, element index), so no mask is stored: the backward function generates the same bits
    again. Raises ValueError unless `rate` is in [0, 1].
    """

    recordable = True
    rate: float
    state: Array

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = in_range(rate, "rate", 0, 1)
        # (key, number of draws): the kernel `random_next` reads it and advances it; `Trainer` sets the key.
        self.state = np.array([rng.key(None), 0], np.uint64)

    # Read-only after joblib has mapped it from a file.
    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self.state = writable(self.state)

    def random_states(self) -> Iterator[Array]:
        yield self.state

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        def identity(dy: Array, *, need_dx: bool = True) -> Array | None:
            return dy if need_dx else None

        if not train or self.rate == 0:
            return x, identity
        bits = empty((1,), np.uint64)
        ops.random_next(self.state, bits)
        y: Array = empty(x.shape, x.dtype)
        ops.dropout(x, bits, self.rate, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.dropout(dy, bits, self.rate, dx)
            return dx

        return y, backward
