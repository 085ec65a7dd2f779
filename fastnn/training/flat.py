"""What the processes of a training add up in each update, in a flat array, so that one call sums it."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.kernels import aligned_empty
from fastnn.layers import Layer
from fastnn.layers.shared_batch import ROWS_OF_MOMENTS
from fastnn.recording import changes
from fastnn.recording.recorder import calls_python
from fastnn.training.processes import COUNTS

LINE = 64  # bytes of a cache line, at which the part of each parameter starts


def _are_the_same(ones: Sequence[object], others: Sequence[object]) -> bool:
    """Whether both hold the same objects in the same order."""
    return len(ones) == len(others) and all(map(operator.is_, ones, others))


class FlatGradients:
    """The gradients of all parameters that are not frozen, the changes of all buffers, and the counts.

    With `sums_moments`, the counts are in an array of their own, behind room for the moments of any batch
    norm (`processes.Flat`).

    The gradients are computed in the flat array itself: its parts are the gradient buffers of the parameters,
    and, where several pieces are summed, the buffers of their sums. Running statistics differ between the
    processes after a step, since each normalises its own rows. They become the averages over the processes,
    weighted by the numbers of rows: the update running = (1 - momentum) running + momentum batch is linear,
    so that these are the running statistics of the average batch statistics.
    """

    def __init__(self, model: Layer, sums_moments: bool) -> None:
        dtype = model.dtype
        self.params = [param for param in model.parameters() if not param.frozen]
        self.buffers = model.buffers()
        self._random_states = [*model.random_states()]
        self.states = [*self._random_states, *(buffer.writable_master() for buffer in self.buffers)]
        line = LINE // dtype.itemsize
        sizes = [held.size for held in (*self.params, *self.buffers)]
        starts = np.cumsum([0] + [-(-size // line) * line for size in sizes])
        array: Array = aligned_empty((int(starts[-1]) + COUNTS,), dtype)
        array.fill(0)  # also what lies between the parts
        self.first, self.rest = array, array[:0]
        self.sums_moments = sums_moments
        if sums_moments:
            # No layer has more channels than its running mean, which is one of the buffers.
            channels = max((buffer.size for buffer in self.buffers), default=0)
            self.first, self.rest = np.zeros(ROWS_OF_MOMENTS * channels + COUNTS), array
        self.counts = self.first[-COUNTS:]
        parts = [array[start : start + size] for start, size in zip(starts, sizes, strict=False)]
        shapes = [held.shape for held in (*self.params, *self.buffers)]
        views = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        self._gradients, self._changes = views[: len(self.params)], views[len(self.params) :]
        self._before = [np.empty_like(view) for view in self._changes]
        # Python code may leave a gradient out; then it would find the sum of the last update.
        self._calls_python = calls_python(model)
        for param, view in zip(self.params, self._gradients, strict=True):
            param.use_grad_sum_buffer(view)
        self._model, self._last_change = model, changes.last
        self._smallest: dict[Shape, int] = {}

    def is_of(self, model: Layer, sums_moments: bool) -> bool:
        """Whether it still fits the trained parameters and the states of the model, and `sums_moments`."""
        if sums_moments != self.sums_moments:
            return False
        last = changes.last
        # Python code may have changed something that reports no changes, as for plans.
        if (model is self._model and last is self._last_change) and not self._calls_python:
            return True
        self._last_change = last
        moving = [param for param in model.parameters() if not param.frozen]
        if not (_are_the_same(moving, self.params) and _are_the_same(model.states(), self.states)):
            return False
        views = zip(moving, self._gradients, strict=True)
        return all(param.grad_sum_buffer() is view for param, view in views)

    def smallest_share(self, shape: Shape) -> int:
        """The fewest samples of this shape that the model accepts in training."""
        if shape not in self._smallest:
            self._smallest[shape] = self._model.smallest_batch(shape)
        return self._smallest[shape]

    def begin_update(self, counter: int, augment_state: Array) -> None:
        """Prepare for an update whose random numbers start at `counter`, which is the same everywhere."""
        for state in (*self._random_states, augment_state):
            state[1] = counter
        for buffer, before in zip(self.buffers, self._before, strict=True):
            before[...] = buffer.master

    def use_gradients(self) -> None:
        """Let the parameters use their parts of the array as gradients."""
        for param, view in zip(self.params, self._gradients, strict=True):
            param.use_grad_buffer(view)

    def clear_gradients(self, *, if_python: bool = False) -> None:
        """Set the gradients to 0; with `if_python`, only where Python code may leave some of them out."""
        if self._calls_python or not if_python:
            for view in self._gradients:
                view.fill(0)

    def put_changes(self, weight: float) -> None:
        """Write the changes of the buffers in this update to the array, multiplied by `weight`."""
        for buffer, before, view in zip(self.buffers, self._before, self._changes, strict=True):
            np.subtract(buffer.master, before, out=view)
            view *= weight

    def take_changes(self) -> None:
        """Change the buffers by what the array holds now; one that nobody changed keeps its bits."""
        for buffer, before, view in zip(self.buffers, self._before, self._changes, strict=True):
            np.add(before, view, out=buffer.writable_master())
