"""What a forward pass of training changes, random counters and running moments, put back where they must not
have changed."""

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
def kept(model: Layer) -> Iterator[None]:
    """Put the states of the model back after the `with` block."""
    before = _copies(model.states())
    try:
        yield
    finally:
        _put_back(model.states(), before)


@contextmanager
def kept_gradients(model: Layer) -> Iterator[None]:
    """Put the gradients of the parameters back after the `with` block, in which there are none at first."""
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
def kept_on_failure(model: Layer, updates: Array, *more: Array) -> Iterator[None]:
    """The same, and for `more` states, if the `with` block raises before it has counted one in `updates`."""
    count = int(updates[0])
    before = _copies([*model.states(), *more])
    try:
        yield
    except BaseException:
        if updates[0] == count:  # else Ctrl-C came when the step was complete
            _put_back([*model.states(), *more], before)
        raise


def _copies(states: list[Array]) -> list[Array]:
    return [np.array(state) for state in states]


def _put_back(states: list[Array], before: list[Array]) -> None:
    for state, old in zip(states, before, strict=True):
        state[:] = old
