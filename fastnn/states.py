"""Everything a model holds: parameters and buffers by name, and its training state, which can be restored.

The training state is what a forward pass with `train=True` changes: random counters and running statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.param import Buffer, Param


def held_by(model: Layer) -> dict[str, Param | Buffer]:
    """The parameters and buffers of a model by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@contextmanager
def restored(model: Layer) -> Iterator[None]:
    """Restore the training state of the model after the `with` block."""
    before = _copies(model.states())
    try:
        yield
    finally:
        _restore(model.states(), before)


@contextmanager
def restored_gradients(model: Layer) -> Iterator[None]:
    """Restore the gradients of the parameters after the `with` block, which starts without gradients."""
    params = model.parameters()
    before = [param.grad_buffer() if param.has_grad else None for param in params]
    for param in params:
        param.drop_grad()
    try:
        yield
    finally:
        for param, gradient in zip(params, before, strict=True):
            if gradient is None:
                param.drop_grad()
            else:
                param.use_grad_buffer(gradient)


@contextmanager
def restored_on_failure(model: Layer, updates: Array, *more: Array) -> Iterator[None]:
    """Restore the training state and the arrays `more` if the `with` block raises before its update is done.

    The update is done when it is counted in `updates` (1,).
    """
    with arrays_restored_on_failure([*model.states(), *more], updates):
        yield


@contextmanager
def arrays_restored_on_failure(arrays: list[Array], updates: Array) -> Iterator[None]:
    """Restore the arrays if the `with` block raises before its update is counted in `updates` (1,)."""
    count, before = int(updates[0]), _copies(arrays)
    try:
        yield
    except BaseException:
        if updates[0] == count:  # otherwise Ctrl-C came after the update
            _restore(arrays, before)
        raise


def _copies(states: list[Array]) -> list[Array]:
    return [np.array(state) for state in states]


def _restore(states: list[Array], before: list[Array]) -> None:
    for state, old in zip(states, before, strict=True):
        state[:] = old
