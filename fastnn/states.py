"""What a forward pass of training changes, random counters and running moments, put back where they must not
have changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastnn._door import Array
from fastnn.layers import Layer


@contextmanager
def kept(model: Layer) -> Iterator[None]:
    """Put the states of the model back after the `with` block."""
    before = _copies(model)
    try:
        yield
    finally:
        _put_back(model, before)


@contextmanager
def kept_on_failure(model: Layer, updates: Array) -> Iterator[None]:
    """The same if the `with` block raises before it has counted an update in `updates` (1,)."""
    count = int(updates[0])
    before = _copies(model)
    try:
        yield
    except BaseException:
        if updates[0] == count:  # else Ctrl-C came when the step was complete
            _put_back(model, before)
        raise


def _copies(model: Layer) -> list[Array]:
    return [np.array(state) for state in model.states()]


def _put_back(model: Layer, before: list[Array]) -> None:
    for state, old in zip(model.states(), before, strict=True):
        state[:] = old
