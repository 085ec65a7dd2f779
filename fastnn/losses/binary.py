"""Binary and multi-label losses: logits of any shape (N, ...); targets in [0, 1] of the same shape."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._arrays import as_array
from fastnn._validation import Array, Shape, in_range, optional, whole_number, within
from fastnn.kernels import REDUCTIONS, ops
from fastnn.losses.base import Loss, PointwiseLoss, class_weights, class_weights_of, floats, with_the_shape


class _BinaryLoss(Loss):
    """Base class of binary losses: target checks. The last axis of the outputs holds the classes."""

    expects_logits = True
    binary = True
    limits_targets = True
    name: str

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        array = with_the_shape(target, outputs, self.name)
        values = floats(array, dtype)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        # NaN passes here: the check for finite data reports it, as `on_nonfinite` says.
        if not (math.isnan(low) or (low >= 0 and high <= 1)):
            raise ValueError(
                f"{self.name} expects targets from 0 (no) to 1 (yes), got values from {low:g} to {high:g}"
                f"{_range_hint(array, low, high)}"
            )
        return values

    def class_count(self, outputs: Shape) -> int:
        return 2 if outputs == (1,) else 0


def _range_hint(target: Array, low: float, high: float) -> str:
    """What was probably meant by targets outside [0, 1]."""
    whole = bool((np.floor(target) == target).all())
    if whole and bool(((target == low) | (target == high)).all()):
        return f": use (y == {high:g})"
    if low >= 0 and whole and high < 100:
        return f': for {high + 1:g} classes use loss="cross_entropy" and a model with one output per class'
    return ': for real targets use loss="squared_error"'


def _no_target(value: Any, name: str) -> int:
    """Return `value` as an int. Raises TypeError or ValueError unless it is an integer other than 0 and 1."""
    number = whole_number(value, name)
    if number in (0, 1):
        raise ValueError(f"{name} must not be {number}, which is a target: choose -1 or 255")
    return number


class _ElementwiseLoss(_BinaryLoss, PointwiseLoss):
    """Base class of losses of single logits: binary cross-entropy with the factors of focal loss.

    `if_one` and `if_zero` are the weights of targets 1 and 0: (C,) for C outputs in the last axis, (1,) for
    all outputs, or None for 1.
    """

    gamma = 0.0
    ignore_index: int | None
    _checks: ClassVar = {"gamma": within(0), "ignore_index": optional(_no_target)}

    def __init__(
        self, if_one: Array | None, if_zero: Array | None, ignore_index: int | None, reduction: str
    ) -> None:
        super().__init__(reduction)
        self._if_one, self._if_zero = if_one, if_zero
        self.ignore_index = ignore_index

    def _checked_attribute(self, name: str, value: Any) -> Any:
        value = super()._checked_attribute(name, value)
        chosen = {"ignore_index": None, **vars(self), name: value}
        if chosen["ignore_index"] is not None and chosen["reduction"] == "batch_mean":
            raise ValueError('ignore_index needs the reduction "mean", "sum" or "none", not "batch_mean"')
        return value

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        for weight in (self._if_one, self._if_zero):
            if weight is not None and len(weight) not in (1, outputs[-1]):
                raise ValueError(
                    f"there are {len(weight)} weights for {outputs[-1]} outputs in the last axis"
                )
        counted = self.counted(target, outputs)
        given = target if counted is None else np.where(counted, as_array(target, "y"), 0)
        return super().targets(given, outputs, dtype)

    def counted(self, target: npt.ArrayLike, outputs: Shape) -> Array | None:
        if self.ignore_index is None:
            return None
        return np.asarray(as_array(target, "y") != self.ignore_index)

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        weight = None
        if self._if_one is not None or self._if_zero is not None:
            weight = np.ones((2, y.shape[-1]), y.dtype)
            for row, given in zip(weight, (self._if_one, self._if_zero), strict=True):
                row[:] = 1 if given is None else given
        ops.binary_cross_entropy(y, target, weight, self.gamma, REDUCTIONS[reduction], losses, loss, dy)


class BinaryCrossEntropy(_ElementwiseLoss):
    """Binary cross-entropy -w (v t log p + (1 - t) log(1 - p)) with p = sigmoid(z), of logits z (N, ...).

    The same as PyTorch's `BCEWithLogitsLoss`, and numerically stable for any logit. Targets t are in [0, 1],
    of the shape of the outputs, or (N,) for a single output. The mean is over all elements.

    Args:
        weight: Weights w, at least 0: (C,), one per output of the last axis, or a scalar; by default 1.
        pos_weight: Weights v of the targets 1, in the same form; by default 1.
        ignore_index: Value of targets that do not count, such as 255 for the border of a mask or -1 for a
            missing label: they have loss and gradient 0, and are left out of the mean and of the accuracy of
            `evaluate`. None: every target counts. Not with "batch_mean".
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per element).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    name = "binary_cross_entropy"

    def __init__(
        self,
        *,
        weight: npt.ArrayLike | None = None,
        pos_weight: npt.ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        w, v = _output_weights(weight, "weight"), _output_weights(pos_weight, "pos_weight")
        if_one = w if v is None else v if w is None else w * v
        super().__init__(if_one, w, ignore_index, reduction)


class BinaryFocal(_ElementwiseLoss):
    """Binary focal loss -w (a t (1 - p)^gamma log p + b (1 - t) p^gamma log(1 - p)) with p = sigmoid(z).

    The focal loss of Lin et al. 2017 for logits z (N, ...). The gradient is finite for all gamma of at least
    0. Targets and the mean are as in `BinaryCrossEntropy`.

    Args:
        gamma: Focusing parameter, at least 0. 0 gives `BinaryCrossEntropy`, bit for bit.
        alpha: In [0, 1]: a = alpha and b = 1 - alpha balance targets 1 and 0. None: a = b = 1.
        weight: Weights w, at least 0: (C,), one per output of the last axis, or a scalar; by default 1.
        ignore_index: Value of targets that do not count. See `BinaryCrossEntropy`.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per element).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    name = "binary_focal"

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        weight: npt.ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        if_one = if_zero = _output_weights(weight, "weight")
        if alpha is not None:
            alpha = in_range(alpha, "alpha", 0, 1)
            w = np.ones(1) if if_one is None else if_one
            if_one, if_zero = w * alpha, w * (1 - alpha)
        super().__init__(if_one, if_zero, ignore_index, reduction)
        self.gamma = gamma

    def __repr__(self) -> str:
        return f"BinaryFocal(gamma={self.gamma:g})"


class BinaryHinge(_BinaryLoss, PointwiseLoss):
    """Binary hinge loss max(0, margin - s y) with s = 2 t - 1, of scores y (N, ...).

    The loss of a linear support vector machine, for targets t of 0 and 1, which it turns into signs s of -1
    and 1. A positive score means 1, as for the logits of `BinaryCrossEntropy`; a score is not the logit of a
    probability. Targets and the mean are as there. For one class of several see `Hinge`.

    Args:
        margin: Score from which an output on the right side has no loss, at least 0.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per element).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    expects_logits = False
    name = "binary_hinge"
    margin: float
    _checks: ClassVar = {"margin": within(0)}

    def __init__(self, *, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    @property
    def kernel_parameters(self) -> tuple[float, ...]:
        return (self.margin,)

    def __repr__(self) -> str:
        return f"BinaryHinge(margin={self.margin:g})"


class Dice(_BinaryLoss):
    """Dice loss 1 - (2 sum p t + smooth) / (sum (p + t) + smooth) with p = sigmoid(z), of logits z.

    For outputs (N, F) or (N, H, W) the sums are over all outputs of a sample. For images (N, H, W, C) they
    are over the pixels, for each of the C classes. The mean is over samples and classes. For a single output
    and smooth 0, the loss is 1 - 2 p t / (p + t). (Milletari et al. 2016, but without squares in the sums.)

    Args:
        smooth: At least 0; keeps the loss defined where targets and predictions are empty. With smooth 0 the
            loss is 0 there.
        weight: Class weights (C,), at least 0, which multiply the losses of the classes; by default all 1.
        ignore_index: Value of targets that do not count, such as 255 for the border of a mask: the sums, the
            gradient and the accuracy leave them out. Samples of which nothing counts are left out of the
            mean. None: every target counts.
        reduction: "mean", "sum", "batch_mean" or "none" (losses (N, C), with C = 1 unless the outputs are
            (N, H, W, C)).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    name = "dice"
    smooth: float
    weight: Array | None
    ignore_index: int | None
    _checks: ClassVar = {
        "smooth": within(0),
        "weight": class_weights_of,
        "ignore_index": optional(_no_target),
    }

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        weight: npt.ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.smooth = smooth
        self.weight = weight  # type: ignore[assignment]  # the check makes an array
        self.ignore_index = ignore_index

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        _, classes = _pixels_and_classes(outputs)
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"there are {len(self.weight)} class weights for {classes} classes")
        if self.ignore_index is None:
            return super().targets(target, outputs, dtype)
        array = as_array(target, "y")
        ignored = array == self.ignore_index
        values = super().targets(np.where(ignored, 0, array), outputs, dtype)
        values[ignored.reshape(values.shape)] = -1  # the kernels leave negative targets out
        return values

    def counted(self, target: npt.ArrayLike, outputs: Shape) -> Array | None:
        if self.ignore_index is None:
            return None
        array = as_array(target, "y")
        return np.asarray((array.reshape(len(array), -1) != self.ignore_index).any(axis=1))

    def losses_shape(self, y: Array) -> Shape:
        return (len(y), _pixels_and_classes(y.shape[1:])[1])

    def divisors(self, target: Array) -> Array | float:
        return float(_pixels_and_classes(target.shape[1:])[1])

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        shape = (len(y), *_pixels_and_classes(y.shape[1:]))
        weight = None if self.weight is None else self.weight.astype(y.dtype)
        flat_dy = None if dy is None else dy.reshape(shape)
        ops.dice(
            y.reshape(shape),
            target.reshape(shape),
            weight,
            self.smooth,
            REDUCTIONS[reduction],
            losses,
            loss,
            flat_dy,
        )


def _pixels_and_classes(outputs: Shape) -> tuple[int, int]:
    """Return the number of elements in each sum of a sample, and the number of sums (classes)."""
    if len(outputs) < 3:
        return math.prod(outputs), 1
    return math.prod(outputs[:-1]), outputs[-1]


def _output_weights(weight: npt.ArrayLike | None, name: str) -> Array | None:
    """Return weights (C,) for the last axis, or (1,) from a scalar, checked as by `class_weights`."""
    return class_weights(weight if weight is None else np.atleast_1d(as_array(weight, name)), name)
