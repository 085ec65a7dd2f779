"""Loss functions. Each computes its value and its gradient in one pass.

Reductions ("mean", "sum", "batch_mean", "none") and conventions follow PyTorch, except that `squared_error`
has a factor of 1/2. Each loss exists as a class, to pass to `fit` and `Trainer`, and as a function of outputs
and targets. May import `layers` and the modules below it.
"""

from __future__ import annotations

import inspect
import typing as _typing

import numpy.typing as npt

from fastnn._validation import Array, choose
from fastnn.losses.base import Loss, loaded
from fastnn.losses.binary import BinaryCrossEntropy, BinaryFocal, BinaryHinge, Dice
from fastnn.losses.classes import CrossEntropy, Focal, Hinge
from fastnn.losses.regression import AbsoluteError, Huber, Poisson, SquaredError

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "BinaryHinge",
    "CrossEntropy",
    "Dice",
    "Focal",
    "Hinge",
    "Huber",
    "Loss",
    "Poisson",
    "SquaredError",
    "absolute_error",
    "binary_cross_entropy",
    "binary_focal",
    "binary_hinge",
    "cross_entropy",
    "dice",
    "focal",
    "hinge",
    "huber",
    "loaded",
    "loss_function",
    "poisson",
    "reducing_loss",
    "squared_error",
]

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "poisson": Poisson,
    "binary_cross_entropy": BinaryCrossEntropy,
    "dice": Dice,
    "focal": Focal,
    "binary_focal": BinaryFocal,
    "hinge": Hinge,
    "binary_hinge": BinaryHinge,
}

# Names of the same losses in Keras, PyTorch and scikit-learn, in lower case without "_" and "loss".
OTHER_NAMES = {
    **dict.fromkeys(
        ("mse", "meansquarederror", "squared", "l2"), '"squared_error", which is half the square'
    ),
    **dict.fromkeys(("mae", "meanabsoluteerror", "absolute", "l1"), '"absolute_error"'),
    **dict.fromkeys(("smoothl1",), '"huber", which is the same for beta=1'),
    **dict.fromkeys(("poissonnll",), '"poisson", for outputs that are logarithms of the mean'),
    **dict.fromkeys(
        ("categoricalhinge", "multimargin", "multiclasshinge"),
        '"hinge", whose largest other score counts',
    ),
    **dict.fromkeys(
        (
            *("categoricalcrossentropy", "sparsecategoricalcrossentropy", "softmaxcrossentropy"),
            *("crossentropy", "ce", "nll", "log", "softmax"),
        ),
        '"cross_entropy", which takes logits',
    ),
    **dict.fromkeys(
        ("bce", "binarycrossentropy", "bcewithlogits", "sigmoidcrossentropy"),
        '"binary_cross_entropy", which takes logits',
    ),
}


def loss_function(loss: str | Loss) -> Loss:
    """Return the loss named `loss`, with its default arguments, or `loss` itself if it is an object.

    Raises ValueError if the name is unknown, and TypeError if `loss` is a class.
    """
    if isinstance(loss, Loss):
        return loss
    if inspect.isclass(loss) and issubclass(loss, Loss):
        raise TypeError(f"pass an instance, {loss.__name__}(), not the class")
    if isinstance(loss, str) and loss not in LOSSES:
        plain = loss.lower().replace("_", "").replace(" ", "").replace("loss", "")
        if plain in OTHER_NAMES:
            raise ValueError(f"unknown loss {loss!r}: pass {OTHER_NAMES[plain]}")
    return choose(loss, LOSSES, "loss")()


def reducing_loss(loss: str | Loss) -> Loss:
    """Return the loss as `loss_function` does. Raises ValueError if its reduction is "none"."""
    chosen = loss_function(loss)
    if chosen.reduction == "none":
        raise ValueError('the loss must be a scalar here: choose the reduction "mean", "batch_mean" or "sum"')
    return chosen


def cross_entropy(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Return the cross-entropy of logits (N, ..., C), -sum_c w_c t_c log softmax(z)_c. See `CrossEntropy`."""
    loss = CrossEntropy(
        weight=weight, label_smoothing=label_smoothing, ignore_index=ignore_index, reduction=reduction
    )
    return loss(logits, target)


def squared_error(y: npt.ArrayLike, target: npt.ArrayLike, *, reduction: str = "mean") -> float | Array:
    """Return the squared error of outputs (N, ...), (y - t)^2 / 2. See `SquaredError`."""
    return SquaredError(reduction)(y, target)


def absolute_error(y: npt.ArrayLike, target: npt.ArrayLike, *, reduction: str = "mean") -> float | Array:
    """Return the absolute error of outputs (N, ...), |y - t|. See `AbsoluteError`."""
    return AbsoluteError(reduction)(y, target)


def huber(
    y: npt.ArrayLike, target: npt.ArrayLike, *, delta: float = 1.0, reduction: str = "mean"
) -> float | Array:
    """Return the Huber loss of outputs (N, ...), quadratic up to `delta` and linear beyond. See `Huber`."""
    return Huber(delta=delta, reduction=reduction)(y, target)


def poisson(
    y: npt.ArrayLike, target: npt.ArrayLike, *, deviance: bool = False, reduction: str = "mean"
) -> float | Array:
    """Return the Poisson loss of outputs (N, ...), exp(y) - t y. See `Poisson`."""
    return Poisson(deviance=deviance, reduction=reduction)(y, target)


def binary_cross_entropy(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    pos_weight: npt.ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Return the binary cross-entropy of logits (N, ...), -w (v t log p + (1 - t) log(1 - p)).

    See `BinaryCrossEntropy`.
    """
    loss = BinaryCrossEntropy(
        weight=weight, pos_weight=pos_weight, ignore_index=ignore_index, reduction=reduction
    )
    return loss(logits, target)


def dice(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    smooth: float = 1.0,
    weight: npt.ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Return the Dice loss of logits (N, ...), 1 - (2 sum p t + smooth) / (sum (p + t) + smooth).

    See `Dice`.
    """
    loss = Dice(smooth=smooth, weight=weight, ignore_index=ignore_index, reduction=reduction)
    return loss(logits, target)


def focal(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    gamma: float = 2.0,
    weight: npt.ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Return the focal loss of logits (N, ..., C), -sum_c w_c t_c (1 - p_c)^gamma log p_c. See `Focal`."""
    return Focal(gamma=gamma, weight=weight, ignore_index=ignore_index, reduction=reduction)(logits, target)


def hinge(
    scores: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    margin: float = 1.0,
    weight: npt.ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Return the hinge loss of scores (N, ..., C), w_c max(0, margin + max_{k != c} z_k - z_c).

    See `Hinge`.
    """
    return Hinge(margin=margin, weight=weight, ignore_index=ignore_index, reduction=reduction)(scores, target)


def binary_hinge(
    scores: npt.ArrayLike, target: npt.ArrayLike, *, margin: float = 1.0, reduction: str = "mean"
) -> float | Array:
    """Return the hinge loss of scores (N, ...) of targets 0 and 1. See `BinaryHinge`."""
    return BinaryHinge(margin=margin, reduction=reduction)(scores, target)


def binary_focal(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    weight: npt.ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Return the binary focal loss of logits (N, ...). See `BinaryFocal`."""
    loss = BinaryFocal(
        gamma=gamma, alpha=alpha, weight=weight, ignore_index=ignore_index, reduction=reduction
    )
    return loss(logits, target)


if not _typing.TYPE_CHECKING:  # a type checker would accept any name
    from fastnn._attributes import names_of_module as _names_of_module

    __getattr__ = _names_of_module(__name__)
