"""Classification and regression: targets, scores and predictions of an estimator."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, unique_labels
from sklearn.utils.validation import column_or_1d

from fastnn._validation import Array
from fastnn.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Focal,
    Huber,
    Loss,
    Poisson,
    SquaredError,
)
from fastnn.sklearn._base import Network
from fastnn.sklearn._callbacks import with_callbacks
from fastnn.sklearn._targets import ClassTargets

# For single-label and for binary or multi-label classification.
CLASS_LOSSES: dict[str, tuple[type[Loss], type[Loss]]] = {
    "log_loss": (CrossEntropy, BinaryCrossEntropy),
    "focal": (Focal, BinaryFocal),
}

REGRESSION_LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "poisson": Poisson,
}


def _pair(X: Any, y: Any) -> tuple[Any, Any] | None:
    """Return the validation data of `fit`, or None. Raises ValueError if one of the two is missing."""
    if (X is None) != (y is None):
        raise ValueError("pass both X_val and y_val, or neither")
    return None if X is None else (X, y)


@dataclass(eq=False, repr=False)
class ClassifierNetwork(ClassifierMixin, Network):
    """Base class of the classifiers."""

    _: KW_ONLY
    loss: Any = "log_loss"
    class_weight: Any = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Network._parameter_constraints,
        "loss": [StrOptions(set(CLASS_LOSSES)), Loss],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on samples X (N, features) with labels y: (N,), or an indicator matrix (N, labels).

        With `X_val` and `y_val`, `early_stopping` uses them instead of a part of the training set, and
        `validation_loss_curve_` holds their loss after each epoch. Raises ValueError for unsuitable data.
        """
        return self._train(X, y, sample_weight, _pair(X_val, y_val))

    @with_callbacks
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Self:
        """Train for one more epoch on X, y, with the state of the optimizer kept from call to call.

        `classes` names all classes; only the first call needs it, unless `y` holds all of them. With
        `early_stopping`, `X_val` and `y_val` are required, and the model keeps the weights of its best score.
        """
        validation = _pair(X_val, y_val)
        return self._train(X, y, sample_weight, validation, classes=classes, partial=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted label of each sample: (N,), or an indicator matrix (N, labels)."""
        outputs = self._raw_outputs(X)
        return self._targets.decode(outputs)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (N, classes); of each label for multi-label targets."""
        outputs = self._raw_outputs(X)
        return self._targets.probabilities(outputs)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):  # a probability may be 0
            return np.log(self.predict_proba(X))

    def _make_loss(self) -> Loss:
        if isinstance(self.loss, Loss):
            return self.loss
        return CLASS_LOSSES[self.loss][self._targets.binary](reduction="batch_mean")

    def _encode_targets(self, y: Any, classes: Any, first: bool, partial: bool) -> Array:
        if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if first:
            self._targets: ClassTargets = ClassTargets.of(y, classes)
            self.classes_ = self._targets.classes
        elif classes is not None and not np.array_equal(self._targets.classes, unique_labels(classes)):
            _check_partial_fit_first_call(self, classes)  # raises
        elif not partial and not np.array_equal(self._targets.classes, unique_labels(y)):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self._targets.classes}, `y` has {unique_labels(y)}"
            )
        return self._encode_known(y)

    def _encode_known(self, y: Any) -> Array:
        return self._targets.encode(y)

    @property
    def _outputs(self) -> int:
        return self._targets.outputs

    def _weights(self, y: Any, sample_weight: Any) -> Array | None:
        weight = super()._weights(y, sample_weight)
        if self.class_weight is None:
            return weight
        by_class = compute_sample_weight(self.class_weight, y)
        return np.asarray(by_class if weight is None else by_class * weight)

    def _strata(self, target: Array) -> Array | None:
        if self._targets.multilabel:
            return None
        return target > 0.5 if self._targets.binary else target

    def _score_of(self, outputs: Array, target: Array, weight: Array | None) -> float:
        if self._targets.binary:
            hits = (outputs > 0) == (target > 0.5).reshape(outputs.shape)
            return float(np.average(hits.all(axis=1), weights=weight))
        return float(accuracy_score(target, outputs.argmax(axis=1), sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False)
class RegressorNetwork(RegressorMixin, Network):
    """Base class of the regressors."""

    _: KW_ONLY
    loss: Any = "squared_error"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Network._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES)), Loss],
    }

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on samples X (N, features) with targets y, (N,) or (N, outputs).

        With `X_val` and `y_val`, `early_stopping` uses them instead of a part of the training set, and
        `validation_loss_curve_` holds their loss after each epoch. Raises ValueError for unsuitable data.
        """
        return self._train(X, y, sample_weight, _pair(X_val, y_val))

    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Train for one more epoch on X, y, with the state of the optimizer kept from call to call.

        With `early_stopping`, `X_val` and `y_val` are required, and the model keeps the weights of its best
        score.
        """
        return self._train(X, y, sample_weight, _pair(X_val, y_val), partial=True)

    def predict(self, X: Any) -> Array:
        """Return the predictions, (N,) or (N, outputs)."""
        outputs = self._transformed(self._raw_outputs(X))
        return outputs.ravel() if self._one_dimensional else outputs

    @property
    def _predicts_logarithms(self) -> bool:
        return self.loss == "poisson" or isinstance(self.loss, Poisson)

    def _transformed(self, outputs: Array) -> Array:
        """The predictions for the outputs of the network."""
        return np.exp(outputs) if self._predicts_logarithms else outputs

    def _make_loss(self) -> Loss:
        if isinstance(self.loss, Loss):
            return self.loss
        if self.loss == "poisson":
            return Poisson(deviance=True, reduction="batch_mean")  # the value of scikit-learn
        return REGRESSION_LOSSES[self.loss](reduction="batch_mean")

    def _encode_targets(self, y: Any, classes: Any, first: bool, partial: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if first:
            self._one_dimensional = y.ndim == 1
            self.n_outputs_ = 1 if self._one_dimensional else y.shape[1]
        return self._encode_known(y)

    def _encode_known(self, y: Any) -> Array:
        return np.asarray(y, np.float64)

    @property
    def _outputs(self) -> int:
        return self.n_outputs_

    def _score_of(self, outputs: Array, target: Array, weight: Array | None) -> float:
        outputs = self._transformed(outputs)
        return float(r2_score(target.reshape(outputs.shape), outputs, sample_weight=weight))
