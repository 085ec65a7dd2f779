"""What all estimators share: checks of the data, training by `fn.fit`, and predictions."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from fastnn._validation import Array
from fastnn.kernels import check_bf16
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.optimizers import Optimizer
from fastnn.optim.schedules import Schedule
from fastnn.sklearn._callbacks import CallbackSupport, FitCallbacks
from fastnn.sklearn._stopping import Recorder
from fastnn.training.callbacks import Callback, Training
from fastnn.training.finite import NonFiniteError
from fastnn.training.fit import fit
from fastnn.training.options import check_precision

FLOATS = [np.float64, np.float32]
NONFINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed."
)


@dataclass(eq=False, repr=False)
class Network(CallbackSupport, BaseEstimator, ABC):
    """Base class of all estimators. A subclass builds the model, the loss and the optimizer.

    The fields are the parameters that all estimators have; each class describes its own.
    """

    _: KW_ONLY
    batch_size: Any = "auto"
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: Any = False
    warm_start: bool = False
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: float = 10
    schedule: Schedule | None = None
    callbacks: Any = None
    n_threads: int | None = None
    precision: str = "auto"

    # The formats of sparse X that are accepted; False: none.
    _sparse_formats: ClassVar[Any] = ("csr", "csc")

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "n_iter_no_change": [Interval(Real, 1, None, closed="both")],
        "schedule": [None, Schedule],
        "callbacks": [None, Callback, callable, "array-like"],
        "n_threads": [None, Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"auto", "float32", "float64", "bf16"})],
    }

    # --- what a subclass defines ---

    @abstractmethod
    def _build(self, input_shape: tuple[int, ...], outputs: int, random: np.random.RandomState) -> Layer:
        """Return the untrained model for samples of `input_shape`."""

    @abstractmethod
    def _make_loss(self) -> Loss:
        """Return the loss, which reduces to the sum over the outputs and the mean over the samples."""

    @abstractmethod
    def _make_optimizer(self, batch_weight: float) -> Optimizer:
        """Return the optimizer for batches whose samples have this total weight."""

    def _configure(self, recorder: Recorder, batch_weight: float) -> None:
        """Set what the recorder needs beyond the parameters of all estimators."""

    def _shaped(self, X: Any) -> Any:
        """The samples in the shape that the model takes."""
        shape = self._input_shape(X.shape[1])
        return X if len(shape) == 1 else X.reshape(len(X), *shape)

    def _input_shape(self, features: int) -> tuple[int, ...]:
        """The shape of a sample of `features` features as the model takes it."""
        return (features,)

    @abstractmethod
    def _encode_targets(self, y: Any, classes: Any, first: bool, partial: bool) -> Array:
        """Return the targets of the network, and set the attributes that describe them if `first`."""

    @abstractmethod
    def _encode_known(self, y: Any) -> Array:
        """Return the targets of the network for the targets `y` of a validation set."""

    @property
    @abstractmethod
    def _outputs(self) -> int:
        """The number of outputs of the network."""

    def _weights(self, y: Any, sample_weight: Any) -> Array | None:
        """Return the weight of each sample, or None if all are 1."""
        return None if sample_weight is None else np.asarray(sample_weight)

    @abstractmethod
    def _score_of(self, outputs: Array, target: Array, weight: Array | None) -> float:
        """Return the score of the outputs of the network, as `score` defines it."""

    # --- training ---

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] | None,
        *,
        classes: Any = None,
        partial: bool = False,
    ) -> Self:
        self._validate_params()
        first = not hasattr(self, "model_") or not (partial or self.warm_start)
        if self.precision == "bf16":
            self._check_bf16(first)
        X, y = self._check_data(X, y, reset=first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if partial and self.early_stopping and validation is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True without validation data: pass X_val and "
                "y_val"
            )
        told: FitCallbacks | None = None
        if getattr(self, "_skl_callbacks", None):  # set by set_callbacks, from scikit-learn 1.9 on
            epochs = 0 if not self._uses_epochs() else 1 if partial else self.max_iter
            told = FitCallbacks(self, X, y, sample_weight, epochs)
        random = check_random_state(self.random_state)
        target = self._encode_targets(y, classes, first, partial)
        X = self._shaped(X)
        weight = self._weights(y, sample_weight)
        held_out: tuple[Any, Array, Array | None] | None = None
        if validation is not None:
            X_val, y_val = self._check_data(*validation, reset=False)
            held_out = (self._shaped(X_val), self._encode_known(y_val), None)
        elif self.early_stopping and self._uses_epochs():
            X, target, weight, held_out = self._split(X, target, weight, random)
        if first:
            dtype = {"auto": X.dtype, "bf16": "float32"}.get(self.precision, self.precision)
            self.model_ = self._build(X.shape[1:], self._outputs, random).to(dtype)
            self._reset()
        with self._thread_limit():
            self._optimize(X, target, weight, held_out, random, partial, told)
        if not all(np.isfinite(param.master).all() for param in self.model_.parameters()):
            raise ValueError(NONFINITE)
        if told is not None:
            told.end()
        return self

    def _check_bf16(self, first: bool) -> None:
        """Raise an error unless solver, processor and model, if it is not the `first`, can train in bf16."""
        if not self._uses_epochs():
            raise ValueError(
                "precision='bf16' is for mini-batches, but solver='lbfgs' needs all digits of float64: pass "
                "precision='auto', or another solver"
            )
        check_bf16()
        if not first:
            check_precision(self.precision, self.model_)

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        return validate_data(  # type: ignore[no-any-return]
            self, X, y, reset=reset, accept_sparse=self._sparse_formats, multi_output=True, dtype=FLOATS
        )

    def _split(
        self, X: Any, target: Array, weight: Array | None, random: np.random.RandomState
    ) -> tuple[Any, Array, Array | None, tuple[Any, Array, Array | None]]:
        """Set a part of the samples aside for validation, stratified by class."""
        arrays = [X, target] if weight is None else [X, target, weight]
        parts = train_test_split(
            *arrays, random_state=random, test_size=self.validation_fraction, stratify=self._strata(target)
        )
        if parts[1].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        X, X_val, target, target_val, *weights = parts
        weight, weight_val = weights or (None, None)
        return X, target, weight, (X_val, target_val, weight_val)

    def _strata(self, target: Array) -> Array | None:
        """The classes by which a split is stratified; None without classes."""
        return None

    def _uses_epochs(self) -> bool:
        """Whether the training makes several passes over mini-batches."""
        return True

    def _reset(self) -> None:
        self._recorder = Recorder(scored=self.early_stopping)

    def _thread_limit(self) -> Any:
        return nullcontext() if self.n_threads is None else threadpool_limits(self.n_threads)

    def _optimize(
        self,
        X: Any,
        target: Array,
        weight: Array | None,
        validation: tuple[Any, Array, Array | None] | None,
        random: np.random.RandomState,
        partial: bool,
        told: FitCallbacks | None,
    ) -> None:
        """Train by mini-batches and record the attributes that scikit-learn's networks have."""
        samples = X.shape[0]
        batch_size = min(200, samples) if self.batch_size == "auto" else min(self.batch_size, samples)
        if self.batch_size != "auto" and self.batch_size > samples:
            warnings.warn(
                f"batch_size={self.batch_size} is larger than the number of samples: it is now {samples}",
                stacklevel=4,
            )
        batch_weight = batch_size * (1.0 if weight is None else float(weight.mean()))
        if not partial or not hasattr(self, "optimizer_"):
            self.optimizer_ = self._make_optimizer(batch_weight)
        recorder = self._recorder
        recorder.configure(self)
        self._configure(recorder, batch_weight)
        try:
            fit(
                self.model_,
                (X, target, weight),
                validation=validation,
                metrics={} if validation is None else {"score": self._validation_score(validation[2])},
                loss=self._make_loss(),
                optimizer=self.optimizer_,
                batch_size=batch_size,
                epochs=1 if partial else self.max_iter,
                order="random" if self.shuffle else "fixed",
                seed=int(random.randint(2**31)),
                schedule=self.schedule,
                precision="bf16" if self.precision == "bf16" else None,
                callbacks=[recorder, *([] if told is None else [told]), *self._user_callbacks()],
                on_nonfinite="raise",
                progress=False,
                watch=False,
                **self._options(),
            )
        except NonFiniteError as error:
            if not recorder.scored:
                raise ValueError(f"{NONFINITE} ({error})") from error
            recorder.scores.append(np.nan)  # as scikit-learn: the best weights so far are restored
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        self._end(partial)

    def _options(self) -> dict[str, Any]:
        """Further options of `fit`."""
        return {}

    def _user_callbacks(self) -> list[Callback | Callable[[Training], object]]:
        if self.callbacks is None:
            return []
        given = self.callbacks
        return [given] if isinstance(given, Callback) or callable(given) else list(given)

    def _validation_score(self, weight: Array | None) -> Callable[[Array, Array], float]:
        def score(outputs: Array, target: Array) -> float:
            return self._score_of(outputs, target, weight) if np.isfinite(outputs).all() else np.nan

        return score

    def _end(self, partial: bool) -> None:
        """Set the attributes, restore the best weights and warn if the training has not converged."""
        recorder = self._recorder
        self.n_iter_ = recorder.epochs
        self.t_ = recorder.samples
        self.loss_curve_ = recorder.losses
        self.loss_ = recorder.losses[-1] if recorder.losses else np.nan
        self.best_loss_ = None if recorder.scored else recorder.best_loss
        self.validation_loss_curve_ = recorder.validation_losses
        self.validation_scores_ = recorder.scores if recorder.scored else None
        self.best_validation_score_ = recorder.best_score if recorder.scored else None
        if recorder.scored:
            recorder.restore_best(self.model_)
        if not partial and recorder.epochs >= self.max_iter and not recorder.converged:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                "hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )

    # --- predictions ---

    def _raw_outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse=self._sparse_formats, dtype=FLOATS)
        with self._thread_limit():
            return self.model_.predict(self._shaped(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(self._sparse_formats)
        return tags
