"""Predictions in batches. Plans make the repeated prediction of a few rows cheap.

The second of two predictions on batches of the same shape and dtype, with no change to anything in between,
is recorded; later ones are replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastnn._arrays import Array
from fastnn._sources import Features, Reader, Rows, Stream, Streamed, feature_rows, is_stream, rows_at_once
from fastnn._validation import Shape, features, positive_int
from fastnn.feeding import feeding_of, follow, usual_factor
from fastnn.gather import gather_rows, kernels_can_read
from fastnn.kernels import active_backend, ops, record_with
from fastnn.kernels.guards import Lock
from fastnn.recording import changes
from fastnn.recording.per_object import PerObject
from fastnn.recording.recorder import (
    Arena,
    HasForward,
    Recorder,
    calls_python,
    checked_forward,
    input_buffer,
    run_layer,
)

MOST_ROWS = 256  # for larger batches the time spent in Python does not matter


class Predictor(HasForward, Protocol):
    """A model, as far as predictions use it."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def index_limit(self) -> int | None: ...

    def output_shape(self, shape: Shape) -> Shape: ...

    def parameters(self) -> Sequence[Any]: ...


def predict(model: Predictor, x: Features | Streamed, scale: float | None, batch_size: int) -> Array:
    """The outputs of the model for the samples `x` (N, ...), computed in batches of `batch_size`.

    `x` may also be a stream of batches, of features alone or with targets.

    Raises ValueError if the shape does not fit the model or `batch_size` is not a positive integer.
    """
    positive_int(batch_size, "batch_size")
    replayed = _replay(model, x, scale)
    if replayed is not None:
        return replayed
    if is_stream(x):
        return _predict_stream(model, Stream(x, batch_size, has_targets=False), scale, batch_size)
    dtype = model.dtype
    array = feature_rows(x, "x")
    rows = features(array, dtype, keep_mapped=True)
    out = np.empty((len(rows), *_output_shape(model, rows)), dtype)
    factor, _ = follow(feeding_of(model), array, scale, model.index_limit)
    batch_size = rows_at_once(rows, batch_size)
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        out[start : start + batch_size] = checked_forward(model, _all_rows(part, factor, dtype), False)[0]
    # An array of the dtype of `rows` is replayed without a look at its factor.
    if scale is None and factor == usual_factor(model, rows.dtype) and kernels_can_read(rows):
        _record_if_repeated(model, rows)
    return out


def _predict_stream(model: Predictor, stream: Stream, scale: float | None, batch_size: int) -> Array:
    outputs: list[Array] = []
    with Reader(stream) as reader:
        while (batch := reader.read(f"batch {len(outputs) + 1}")) is not None:
            outputs.append(predict(model, batch.x, scale, batch_size))
    if not outputs:
        raise ValueError(f"x is empty: {stream.name} gives no batches")
    return np.concatenate(outputs)


def scaled_features(model: Predictor, x: Features, scale: float | None) -> Array:
    """The samples `x` (N, ...) as the model gets them: scaled, and in its dtype.

    Raises ValueError if the shape does not fit the model.
    """
    array = feature_rows(x, "x")
    rows = features(array, model.dtype)
    _output_shape(model, rows)
    factor, _ = follow(feeding_of(model), array, scale, model.index_limit)
    return _all_rows(np.asarray(rows), factor, model.dtype)


def _output_shape(model: Predictor, rows: Rows) -> Shape:
    """The shape of one output. Raises ValueError if the samples do not fit the model."""
    try:
        return model.output_shape(rows.shape[1:])
    except ValueError as error:
        try:
            model.output_shape(rows.shape)
        except ValueError:
            raise error from None
        raise ValueError(f"{error}: x is a single sample of shape {rows.shape}, pass x[None]") from None


def probabilities(outputs: Array, multi_label: bool) -> Array:
    """Return the sigmoid of each logit if there is a single one or `multi_label` is set, else the softmax.

    The outputs are (N, ..., C) with the classes in the last axis; so is the result.
    """
    result: Array = np.empty(outputs.shape, outputs.dtype)
    if multi_label or outputs.shape[-1] == 1:
        ops.sigmoid_forward(outputs, result)
    else:
        rows = -1, outputs.shape[-1]
        ops.softmax_forward(outputs.reshape(rows), result.reshape(rows))
    return result


def classes(outputs: Array, multi_label: bool, threshold: float) -> Array:
    """Return the class of each sample (N, ..., C) -> (N, ...), int64: the index of its largest output.

    For a single output it is whether the output is above `threshold`, 1 or 0. With `multi_label` each output
    has its own 1 or 0, of shape (N, ..., C).
    """
    if multi_label or outputs.shape[-1] == 1:
        chosen: Array = (outputs > threshold).astype(np.int64)
        return chosen if multi_label else chosen[..., 0]
    largest: Array = outputs.argmax(axis=-1)
    return largest


def _all_rows(rows: Array, factor: float, dtype: np.dtype[Any]) -> Array:
    return gather_rows(rows, np.arange(len(rows)), factor, dtype)


class _Prediction:
    """The forward pass of one model on batches of one shape and dtype."""

    def __init__(self, kind: object) -> None:
        self.kind = kind
        self.version = changes.last
        self.recorder: Recorder | None = None
        self.output: Array | None = None  # what the recorded plan writes to
        self.lock = Lock("this prediction is in progress")  # its buffers serve one caller at a time

    def record(self, model: Predictor, rows: Array) -> None:
        """Record a pass on `rows`, unless it calls Python code or computes nothing."""
        recorder, buffer = Recorder(Arena()), input_buffer(rows)
        with record_with(recorder):
            output, _ = run_layer(
                model, _all_rows(buffer, usual_factor(model, rows.dtype), model.dtype), False
            )
        if recorder.has_callbacks or np.may_share_memory(output, buffer):
            return
        loss = np.zeros(1)  # a forward pass has no loss, but a plan reads one
        recorder.keep.append(loss)
        recorder.plan.finish(loss, [buffer], fuse_calls=True, fuse_updates=False)
        self.output = output
        self.recorder = recorder  # last: another thread that sees it uses the output


_predictions: PerObject[_Prediction] = PerObject()


def _replay(model: Predictor, x: object, scale: float | None) -> Array | None:
    """The outputs for `x` by a recorded pass; None if there is none for such a batch."""
    found = _predictions.get(model)
    if found is None or found.recorder is None or found.version is not changes.last:
        return None
    if scale is not None or active_backend() != "aot":
        return None
    # If a check fails, such as that of an index out of range, the pass layer by layer raises the error.
    outputs: Array | None = found.lock.run_if_free(found.recorder.plan.outputs, x, found.output)
    return outputs


def _record_if_repeated(model: Predictor, rows: Array) -> None:
    """Record the prediction of `rows`, just made layer by layer, if it is the second one of its kind."""
    if len(rows) > MOST_ROWS or active_backend() != "aot" or calls_python(model):
        return
    kind = rows.shape, rows.dtype
    found = _predictions.get(model)
    if found is None or found.kind != kind or found.version is not changes.last:
        _predictions.set(model, _Prediction(kind))
    elif found.recorder is None:
        found.lock.run_if_free(found.record, model, rows)
