"""scikit-learn's own callbacks (`sklearn.callback`, scikit-learn 1.9 and later) in `fit` of an estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from fastnn.training.callbacks import Callback, Training

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    _callbacks: Any = import_module("sklearn.callback")
except ImportError:
    _callbacks = None

# The base class that adds `set_callbacks`; before scikit-learn 1.9, a class that adds nothing.
CallbackSupport: Any = (
    type("CallbackSupport", (), {}) if _callbacks is None else _callbacks.CallbackSupportMixin
)


def with_callbacks(method: Method) -> Method:
    """Return the method `fit` with a guarantee that callbacks are torn down, also if it raises."""
    decorated: Method = method if _callbacks is None else _callbacks.with_callbacks(method)
    return decorated


class FitCallbacks(Callback):
    """Calls the callbacks that `estimator.set_callbacks` has set: around `fit`, and around each epoch.

    The task "fit" has a subtask "epoch" for each epoch. A callback that returns True at the end of an epoch
    ends the training.
    """

    _estimator: Any
    _context: Any
    _epoch: Any
    _data: dict[str, Any]

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, epochs: int) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._estimator = estimator
        self._data = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._context = estimator._init_callback_context(max_subtasks=epochs)
        self._context.call_on_fit_task_begin(**self._data)

    def end(self) -> None:
        """Tell the callbacks that `fit` has ended."""
        self._context.call_on_fit_task_end(**self._data, reconstruction_attributes=self._fitted)

    def on_epoch_begin(self, training: Training) -> None:
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._data, reconstruction_attributes=self._fitted)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        if self._epoch.call_on_fit_task_end(**self._data, reconstruction_attributes=self._fitted):
            training.stop("a callback of scikit-learn stopped it")

    def _fitted(self) -> dict[str, Any]:
        """The attributes of an estimator that was trained until now, for callbacks that ask for it."""
        return {"model_": copy.deepcopy(self._estimator.model_)}
