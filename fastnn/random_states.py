"""The counters of random layers, put back after what must not have drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastnn._door import Array
from fastnn.layers import Layer


@contextmanager
def kept(model: Layer) -> Iterator[None]:
    """Put the random states of the model back after the `with` block."""
    before = [state.copy() for state in model.random_states()]
    try:
        yield
    finally:
        for state, old in zip(model.random_states(), before, strict=True):
            state[:] = old


@contextmanager
def kept_on_failure(model: Layer, updates: Array) -> Iterator[None]:
    """The same if the `with` block raises before it has counted an update in `updates` (1,)."""
    count = int(updates[0])
    before = [state.copy() for state in model.random_states()]
    try:
        yield
    except BaseException:
        if updates[0] == count:  # else Ctrl-C came when the step was complete
            for state, old in zip(model.random_states(), before, strict=True):
                state[:] = old
        raise
