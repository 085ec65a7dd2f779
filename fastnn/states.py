"""Everything a model holds: parameters and buffers by name, and its training state, which can be restored.

The training state is what a forward pass with `train=True` changes: random counters and running statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from fastnn._validation import Array
from fastnn.kernels.guards import Kept
from fastnn.layers import Layer
from fastnn.param import Buffer, Param


def held_by(model: Layer) -> dict[str, Param | Buffer]:
    """The parameters and buffers of a model by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def restored(model: Layer) -> AbstractContextManager[None]:
    """Restore the training state of the model after the `with` block."""
    kept: AbstractContextManager[None] = Kept(model.states())
    return kept


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


def restored_on_failure(model: Layer, updates: Array, *more: Array) -> AbstractContextManager[None]:
    """Restore the training state and the arrays `more` if the `with` block raises before its update is done.

    The update is done when it is counted in `updates` (1,).
    """
    return arrays_restored_on_failure([*model.states(), *more], updates)


def arrays_restored_on_failure(arrays: list[Array], updates: Array) -> AbstractContextManager[None]:
    """Restore the arrays if the `with` block raises before its update is counted in `updates` (1,)."""
    kept: AbstractContextManager[None] = Kept(arrays, done=updates)
    return kept
