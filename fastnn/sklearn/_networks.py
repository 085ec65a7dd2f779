"""Estimators around any fastnn model, which a function builds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastnn.augment import Augmentation
from fastnn.layers import Layer
from fastnn.nets.mlp import mlp
from fastnn.optim.optimizers import OPTIMIZERS, Optimizer, optimizer_of
from fastnn.rng import manual_seed
from fastnn.sklearn._base import Network
from fastnn.sklearn._tasks import ClassifierNetwork, RegressorNetwork

Build = Callable[[tuple[int, ...], int], Layer]


@dataclass(eq=False, repr=False)
class Built(Network):
    """Base class of the estimators around a function that builds a model."""

    build: Build | None = None
    _: KW_ONLY
    optimizer: Any = "adam"
    augment: Augmentation | None = None
    clip_norm: float | None = None
    micro_batch: int | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Network._parameter_constraints,
        "build": [None, callable],
        "optimizer": [StrOptions(set(OPTIMIZERS)), Optimizer],
        "augment": [None, Augmentation],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "micro_batch": [None, Interval(Integral, 1, None, closed="left")],
    }

    def _build(self, input_shape: tuple[int, ...], outputs: int, random: np.random.RandomState) -> Layer:
        seed = int(random.randint(2**31))
        build = self.build or self._default_build

        def seeded() -> Layer:
            manual_seed(seed)
            return build(input_shape, outputs)

        model = copy_context().run(seeded)  # the caller's random generator stays as it is
        if not isinstance(model, Layer):
            raise TypeError(
                "build(input_shape, outputs) must return a fastnn model, such as fn.Sequential(...), not "
                f"{model!r}"
            )
        return model

    def _default_build(self, input_shape: tuple[int, ...], outputs: int) -> Layer:
        """One hidden layer of 100 units."""
        return mlp([int(np.prod(input_shape)), 100, outputs])

    def _make_optimizer(self, batch_weight: float) -> Optimizer:
        return copy.deepcopy(optimizer_of(self.optimizer))

    def _options(self) -> dict[str, Any]:
        return {"clip_norm": self.clip_norm, "augment": self.augment, "micro_batch": self.micro_batch}


PARAMETERS = """
    optimizer : str or fastnn optimizer, default="adam"
        The optimizer, for example `fn.SGD(lr=0.1, momentum=0.9)`.
    clip_norm : float, default=None
        Bound of the norm of all gradients together.
    micro_batch : int, default=None
        Samples to compute at once: a larger mini-batch is computed in pieces of this size, whose gradients
        are summed, in less memory.
    batch_size, max_iter, shuffle, random_state, tol, verbose, warm_start : as in `MLPClassifier`
    early_stopping, validation_fraction, n_iter_no_change, schedule, callbacks : as in `MLPClassifier`
    n_threads, precision : as in `MLPClassifier`
"""

ATTRIBUTES = """
    model_ : the fastnn model
    n_features_in_, feature_names_in_ : number and names of the features
    n_iter_, t_ : number of epochs, and of training samples seen
    loss_, best_loss_, loss_curve_ : training loss at the end, at its best, and after each epoch
    validation_loss_curve_ : loss on the validation data after each epoch
    validation_scores_, best_validation_score_ : scores on the validation data; None without early stopping
"""


@dataclass(eq=False, repr=False)
class NNClassifier(Built, ClassifierNetwork):
    __doc__ = f"""Classifier around any fastnn model.

    Parameters
    ----------
    build : callable, default=None
        `build(input_shape, outputs)` returns the untrained model, which maps samples of `input_shape` to
        `outputs` logits: one for two classes, one per class for more. By default
        one hidden layer of 100 units.
    loss : {{"log_loss", "focal"}} or a fastnn loss, default="log_loss"
        The loss to minimize.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" weights them by the inverse of their frequency.{PARAMETERS}
    Attributes
    ----------
    classes_ : array of the class labels{ATTRIBUTES}"""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Built._parameter_constraints,
        **ClassifierNetwork._parameter_constraints,
    }


@dataclass(eq=False, repr=False)
class NNRegressor(Built, RegressorNetwork):
    __doc__ = f"""Regressor around any fastnn model.

    Parameters
    ----------
    build : callable, default=None
        `build(input_shape, outputs)` returns the untrained model, which maps samples of `input_shape` to
        `outputs` numbers. By default one hidden layer of 100 units.
    loss : {{"squared_error", "absolute_error", "huber", "poisson"}} or a loss, default="squared_error"
        The loss to minimize, by name or a fastnn loss. With "poisson" the prediction is the exponential of
        the output.{PARAMETERS}
    Attributes
    ----------{ATTRIBUTES}"""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Built._parameter_constraints,
        **RegressorNetwork._parameter_constraints,
    }
