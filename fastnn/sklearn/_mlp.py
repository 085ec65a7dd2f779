"""Multi-layer perceptrons with the parameters and attributes of scikit-learn's."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from fastnn._validation import Array
from fastnn.layers import (
    ELU,
    GELU,
    BatchNorm1d,
    Dropout,
    Identity,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from fastnn.optim.optimizers import SGD, Adam, Optimizer
from fastnn.sklearn._base import Network
from fastnn.sklearn._lbfgs import minimize
from fastnn.sklearn._stopping import Recorder
from fastnn.sklearn._tasks import ClassifierNetwork, RegressorNetwork

# scikit-learn's names first.
ACTIVATIONS: dict[str, type[Layer]] = {
    "identity": Identity,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
}


def _is_stochastic(estimator: Any) -> bool:
    """Whether `partial_fit` is available."""
    if estimator._uses_epochs():
        return True
    raise AttributeError(
        f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
    )


@dataclass(eq=False, repr=False)
class _MLP(Network):
    """Base class of the multi-layer perceptrons."""

    _: KW_ONLY
    loss: Any = None
    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    solver: str = "adam"
    alpha: float = 0.0001
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    max_fun: int = 15000
    dropout: float = 0.0
    batch_norm: bool = False
    optimizer: Optimizer | None = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Network._parameter_constraints,
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "optimizer": [None, Optimizer],
    }

    @property
    def _linear(self) -> list[Linear]:
        if not hasattr(self, "model_"):
            raise AttributeError(f"this {type(self).__name__} has no weights yet: call fit first")
        return [layer for layer in self.model_.layers if isinstance(layer, Linear)]  # type: ignore[attr-defined]

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (inputs, outputs)."""
        return [layer.weight.value for layer in self._linear]

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer, (outputs,)."""
        return [layer.bias.value for layer in self._linear if layer.bias is not None]

    @property
    def n_layers_(self) -> int:
        """The number of layers, with the inputs and the outputs."""
        return len(self._linear) + 1

    def _hidden_sizes(self) -> list[int]:
        sizes = np.atleast_1d(self.hidden_layer_sizes).tolist()
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _activations(self, hidden: int) -> Sequence[str]:
        if isinstance(self.activation, str):
            return [self.activation] * hidden
        names = list(self.activation)
        if len(names) != hidden or not set(names) <= set(ACTIVATIONS):
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, or a list of {hidden} of them, one per "
                f"hidden layer, got {names}"
            )
        return names

    def _build(self, input_shape: tuple[int, ...], outputs: int, random: np.random.RandomState) -> Layer:
        hidden = self._hidden_sizes()
        activations = self._activations(len(hidden))
        layers: list[Layer] = []
        for (fan_in, fan_out), name in zip(
            pairwise([*input_shape, *hidden, outputs]), [*activations, None], strict=True
        ):
            layers.append(self._dense(fan_in, fan_out, random))
            if name is not None:
                layers += [BatchNorm1d(fan_out)] if self.batch_norm else []
                layers.append(ACTIVATIONS[name]())
                layers += [Dropout(self.dropout)] if self.dropout else []
        return Sequential(*layers)

    def _dense(self, fan_in: int, fan_out: int, random: np.random.RandomState) -> Linear:
        """A dense layer whose weights and biases are drawn as scikit-learn draws them, in the same order."""
        bound = np.sqrt((2 if self.activation == "logistic" else 6) / (fan_in + fan_out))
        layer = Linear(fan_in, fan_out, weight_init="zeros", bias_init="zeros", dtype=np.float64)
        layer.weight.value = random.uniform(-bound, bound, (fan_in, fan_out))
        assert layer.bias is not None
        layer.bias.value = random.uniform(-bound, bound, fan_out)
        layer.bias.decay_scale = 0  # alpha is the penalty of the weights only
        return layer

    def _make_optimizer(self, batch_weight: float) -> Optimizer:
        if self.optimizer is not None:
            return copy.deepcopy(self.optimizer)
        rate, decay = self.learning_rate_init, self.alpha / batch_weight
        if self.solver == "sgd":
            nesterov = self.nesterovs_momentum and self.momentum > 0
            return SGD(rate, momentum=self.momentum, nesterov=nesterov, weight_decay=decay)
        return Adam(rate, betas=(self.beta_1, self.beta_2), eps=self.epsilon, weight_decay=decay)

    def _configure(self, recorder: Recorder, batch_weight: float) -> None:
        recorder.penalty = 0.0 if self.optimizer is not None else self.alpha / batch_weight
        if self.solver == "sgd" and self.optimizer is None:
            scaling = self.learning_rate == "invscaling"
            recorder.inverse_scaling = (self.learning_rate_init, self.power_t) if scaling else None
            recorder.divides_rate = self.learning_rate == "adaptive"

    def _uses_epochs(self) -> bool:
        return self.solver != "lbfgs" or self.optimizer is not None

    def _optimize(self, X: Any, target: Array, weight: Array | None, *rest: Any) -> None:
        if self._uses_epochs():
            return super()._optimize(X, target, weight, *rest)
        total = X.shape[0] if weight is None else weight.sum()
        dtype = self.model_.dtype
        result = minimize(
            self.model_.to(np.float64),  # the line search needs more digits than float32 has
            (X, target, weight),
            self._make_loss(),
            penalty=self.alpha / total,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
        )
        self.model_.to(dtype)
        self.n_iter_ = min(result.nit, self.max_iter)
        self.t_ = 0
        self.loss_ = self.best_loss_ = result.fun
        if result.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {result.message}. Increase "
                "max_iter or scale the data.",
                ConvergenceWarning,
                stacklevel=5,
            )


_PARAMETERS = """
    hidden_layer_sizes : int or array-like of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer.
    activation : str or list of str, default="relu"
        Activation of the hidden layers, or one for each: "identity", "logistic", "tanh", "relu",
        "leaky_relu", "elu", "gelu" or "silu".
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        The optimizer of the weights.
    alpha : float, default=0.0001
        Strength of the L2 penalty of the weights. It is divided by `batch_size`, or by the expected sum of
        the sample weights of a batch.
    batch_size : int, default="auto"
        Size of the mini-batches; "auto" is min(200, n_samples). Not used by "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of "sgd": constant, learning_rate_init / t^power_t, or divided by 5 whenever the loss or the
        score has not improved.
    learning_rate_init : float, default=0.001
        The first learning rate of "sgd" and "adam".
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Maximum number of epochs, or of iterations of "lbfgs".
    shuffle : bool, default=True
        Whether each epoch takes the samples in another order.
    random_state : int, RandomState or None, default=None
        Seeds the weights, the order of the samples, dropout and the split of the validation data.
    tol : float, default=1e-4
        Improvement of the loss or score that counts as one.
    verbose : bool, default=False
        Whether to print the loss of each epoch.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the previous call.
    momentum, nesterovs_momentum : float, default=0.9; bool, default=True
        Momentum of "sgd".
    early_stopping : bool, default=False
        Whether to stop when the validation score does not improve, and to return to the best weights. Without
        it the training loss decides.
    validation_fraction : float, default=0.1
        Fraction of the training data to set aside for early stopping.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Parameters of "adam".
    n_iter_no_change : int or inf, default=10
        Number of epochs without improvement before the training stops.
    max_fun : int, default=15000
        Maximum number of evaluations of the loss by "lbfgs".
    dropout : float, default=0.0
        Dropout rate after each hidden layer.
    batch_norm : bool, default=False
        Whether to normalize each hidden layer before its activation (Ioffe & Szegedy 2015).
    optimizer : fastnn optimizer, default=None
        Replaces `solver` and its parameters, for example `fn.AdamW(lr=0.01)`. `alpha` is not used then.
    schedule : fastnn schedule, default=None
        Learning rate of each update, for example `fn.schedules.Cosine()`.
    callbacks : callback or list of callbacks, default=None
        `fn.Callback` objects or functions, called after each epoch.
    n_threads : int, default=None
        Number of threads while it trains and predicts; None keeps the setting of the process.
    precision : {"auto", "float32", "float64", "bf16"}, default="auto"
        Type of the computation; "auto" is the type of X. float32 is up to twice as fast. "bf16" trains in
        float32, but rounds the operands of dense layers to bf16, faster on processors that have AVX512_BF16;
        predictions are in float32. It is not for "lbfgs".
"""

_ATTRIBUTES = """
    model_ : the fastnn model
    coefs_, intercepts_ : lists of arrays, the weights and biases of each layer
    n_layers_, n_outputs_, out_activation_ : as in scikit-learn
    n_features_in_, feature_names_in_ : number and names of the features
    n_iter_, t_ : number of epochs, and of training samples seen
    loss_, best_loss_, loss_curve_ : training loss, with the L2 penalty, at the end, at its best, per epoch
    validation_loss_curve_ : loss on the validation data after each epoch
    validation_scores_, best_validation_score_ : scores on the validation data; None without early stopping
"""


@dataclass(eq=False, repr=False)
class MLPClassifier(_MLP, ClassifierNetwork):
    __doc__ = f"""Multi-layer perceptron classifier with the interface of scikit-learn's.

    Labels may be numbers, strings or booleans, or an indicator matrix of several labels for each sample. The
    same `random_state` gives the same first weights as in scikit-learn.

    Parameters
    ----------{_PARAMETERS}    loss : {{"log_loss", "focal"}} or a fastnn loss, default="log_loss"
        The loss to minimize.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" weights them by the inverse of their frequency.

    Attributes
    ----------
    classes_ : array of the class labels{_ATTRIBUTES}"""

    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    loss: Any = "log_loss"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_MLP._parameter_constraints,
        **ClassifierNetwork._parameter_constraints,
    }

    partial_fit = available_if(_is_stochastic)(ClassifierNetwork.partial_fit)

    @property
    def n_outputs_(self) -> int:
        """The number of outputs of the network."""
        return self._targets.outputs

    @property
    def out_activation_(self) -> str:
        """The activation of the outputs, which `predict_proba` applies."""
        return "logistic" if self._targets.binary else "softmax"


@dataclass(eq=False, repr=False)
class MLPRegressor(_MLP, RegressorNetwork):
    __doc__ = f"""Multi-layer perceptron regressor with the interface of scikit-learn's.

    The same `random_state` gives the same first weights as in scikit-learn.

    Parameters
    ----------
    loss : {{"squared_error", "absolute_error", "huber", "poisson"}} or a loss, default="squared_error"
        The loss to minimize, by name or a fastnn loss. With "poisson" the prediction is the exponential of
        the output.{_PARAMETERS}
    Attributes
    ----------{_ATTRIBUTES}"""

    loss: Any = "squared_error"
    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_MLP._parameter_constraints,
        **RegressorNetwork._parameter_constraints,
    }

    partial_fit = available_if(_is_stochastic)(RegressorNetwork.partial_fit)

    @property
    def out_activation_(self) -> str:
        """The activation of the outputs, which `predict` applies."""
        return "exp" if self._predicts_logarithms else "identity"
