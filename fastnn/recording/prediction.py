"""Forward passes by a plan: what makes the prediction of a few rows cheap.

The second of two calls of `predict` that are alike, without a change to anything in between, is recorded;
those after it are replayed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from fastnn._validation import Array
from fastnn.kernels import active_backend, record_with
from fastnn.recording import changes
from fastnn.recording.per_object import PerObject
from fastnn.recording.recorder import Arena, HasForward, Recorder, calls_python, run_layer, slot_for

MOST_ROWS = 256  # from here on, what Python takes does not count


class _Prediction:
    """The forward pass of one model on one kind of batch."""

    def __init__(self, kind: object) -> None:
        self.kind = kind
        self.version = changes.count
        self.recorder: Recorder | None = None
        self.output: Array | None = None
        self.lock = threading.Lock()  # its buffers serve one caller at a time

    def record(self, model: HasForward, rows: Array, to_batch: Callable[[Array], Array]) -> None:
        """Record a pass on `rows`, unless it goes through Python code or computes nothing."""
        recorder, slot = Recorder(Arena()), slot_for(rows)
        with record_with(recorder):
            output, _ = run_layer(model, to_batch(slot), False)
        if recorder.has_call_backs or np.may_share_memory(output, slot):
            return
        loss = np.zeros(1)  # there is none, but a plan reads one
        recorder.keep.append(loss)
        recorder.plan.finish(loss, [slot], fuse_calls=True, fuse_updates=False)
        self.recorder, self.output = recorder, output


_predictions: PerObject[_Prediction] = PerObject()


def replay(model: HasForward, x: object, scale: float | None) -> Array | None:
    """The outputs for `x` by a recorded pass; None if there is none for such a batch."""
    found = _predictions.get(model)
    if found is None or found.output is None or found.version != changes.count or scale is not None:
        return None
    if active_backend() != "aot" or not found.lock.acquire(blocking=False):
        return None
    try:
        assert found.recorder is not None
        return found.output.copy() if found.recorder.plan.forward(x) else None
    finally:
        found.lock.release()


def offer(model: HasForward, rows: Array, scale: float | None, to_batch: Callable[[Array], Array]) -> None:
    """`rows`, through the door, were predicted layer by layer: record it if they are not the first such."""
    if len(rows) > MOST_ROWS or scale is not None or active_backend() != "aot" or calls_python(model):
        return
    kind = rows.shape, rows.dtype
    found = _predictions.get(model)
    if found is None or found.kind != kind or found.version != changes.count:
        _predictions.set(model, _Prediction(kind))
    elif found.recorder is None and found.lock.acquire(blocking=False):
        try:
            found.record(model, rows, to_batch)
        finally:
            found.lock.release()
