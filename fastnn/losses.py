"""Losses. Each gives its value and its gradient in one pass.

Reductions and conventions are PyTorch's, except that `squared_error` has the factor 1/2.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._door import Array, Shape, choose, contiguous, in_range, labels
from fastnn.changes import Noted
from fastnn.kernels import REDUCTIONS, empty, ops


class Loss(Noted, ABC):
    """Base class of all losses.

    `targets` checks what the user gave, once; `value` and `value_and_gradient` are then given only
    targets that passed. A user's own loss defines `targets` and `evaluate`.
    """

    # As for layers: whether `evaluate` does nothing but call kernels on arrays from `kernels.empty`.
    recordable = False
    # Whether the outputs are logits, so that a Softmax layer before this loss is a mistake.
    expects_logits = False

    def __init__(self, reduction: str = "mean") -> None:
        choose(reduction, REDUCTIONS, "reduction")
        self.reduction = reduction

    @abstractmethod
    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        """`target` as a contiguous array that fits outputs of shape (N, *outputs) and type `dtype`.

        Raises TypeError or ValueError where it does not fit.
        """

    @abstractmethod
    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        """Write the unreduced `losses`, the reduced `loss` (1,) float64 and, unless None, the gradient."""

    def losses_shape(self, y: Array) -> Shape:
        """The shape of the unreduced losses: one per sample unless a subclass says otherwise."""
        return y.shape[:1]

    def divisor(self, target: Array) -> float:
        """What the sum over `target` is divided by to give the mean."""
        return float(len(target))

    def value(self, y: Array, target: Array, reduction: str | None = None) -> Array:
        """The loss of the outputs `y`: shape (1,), or unreduced for the reduction "none"."""
        return self._evaluate(y, target, reduction or self.reduction, None)

    def value_and_gradient(self, y: Array, target: Array) -> tuple[Array, Array]:
        """The reduced loss (1,) float64 and its gradient with respect to `y`."""
        dy: Array = empty(y.shape, y.dtype)
        return self._evaluate(y, target, self.reduction, dy), dy

    def __call__(self, y: npt.ArrayLike, target: npt.ArrayLike) -> float | Array:
        """The loss of outputs `y` (N, ...): a float, or an array for the reduction "none"."""
        outputs = np.asarray(y)
        if outputs.dtype not in (np.float32, np.float64):
            outputs = outputs.astype(np.float64)
        outputs = contiguous(outputs, outputs.dtype.newbyteorder("="))
        if outputs.ndim < 2 or len(outputs) == 0:
            raise ValueError(f"outputs must have the shape (samples, ...), at least one, got {outputs.shape}")
        checked = self.targets(target, outputs.shape[1:], outputs.dtype)
        if len(checked) != len(outputs):
            raise ValueError(f"there are {len(outputs)} outputs, but {len(checked)} targets")
        value = self.value(outputs, checked)
        return value if self.reduction == "none" else float(value[0])

    def _evaluate(self, y: Array, target: Array, reduction: str, dy: Array | None) -> Array:
        losses: Array = empty(self.losses_shape(y), y.dtype)
        loss: Array = empty((1,), np.float64)
        self.evaluate(y, target, reduction, losses, loss, dy)
        return losses if reduction == "none" else loss

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropy(Loss):
    """-sum_c w_c t_c log softmax(z)_c on logits z (N, C), fused with its gradient.

    Targets are integer labels (N,) or rows (N, C), one-hot or soft. `weight` (C,) are class weights (the
    mean over integer labels then divides by the sum of their weights, as in PyTorch); `label_smoothing` s
    replaces t by (1 - s) t + s / C (Szegedy et al. 2016).
    """

    recordable = True
    expects_logits = True

    def __init__(
        self,
        *,
        weight: npt.ArrayLike | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.label_smoothing = in_range(label_smoothing, "label_smoothing", 0, 1)
        self.weight: Array | None = None
        if weight is not None:
            self.weight = np.array(weight, np.float64)
            self.weight.flags.writeable = False  # so that nobody changes it unnoticed
            if self.weight.ndim != 1 or not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
                raise ValueError("class weights must be a list of finite numbers, at least 0, one per class")

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        array = np.asarray(target)
        if len(outputs) != 1:
            raise ValueError(f"cross_entropy wants outputs of shape (N, classes), the model gives {outputs}")
        classes = outputs[0]
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"there are {len(self.weight)} class weights for {classes} classes")
        if array.ndim == 1 and array.size and array.dtype.kind in "ui":
            return labels(array, classes)
        if array.ndim == 2 and array.shape[1] == classes and array.dtype.kind in "buif":
            return contiguous(array, dtype)
        if array.ndim == 1 and array.dtype.kind not in "ui":
            raise TypeError(
                f"labels must be integers, not {array.dtype}: use y.astype(int), or rows of shape "
                f"(N, {classes}) for soft targets"
            )
        _check_numbers(array)
        raise ValueError(
            f"targets must be labels of shape (N,) or rows of shape (N, {classes}), got {array.shape}"
        )

    def divisor(self, target: Array) -> float:
        if target.ndim == 2 or self.weight is None:
            return float(len(target))
        return float(self.weight[target].sum())

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        kernel = ops.cross_entropy_labels if target.ndim == 1 else ops.cross_entropy_soft
        weight = None if self.weight is None else self.weight.astype(y.dtype)
        kernel(y, target, weight, self.label_smoothing, REDUCTIONS[reduction], losses, loss, dy)


class SquaredError(Loss):
    """(y - t)^2 / 2, the mean taken over all elements. Targets have the shape of the outputs."""

    recordable = True

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        array = np.asarray(target)
        _check_numbers(array)
        if outputs == (1,) and array.ndim == 1:
            array = array[:, None]
        if array.shape[1:] != outputs or array.ndim == 0:
            hint = (
                f": for labels use fn.data.one_hot(y, {outputs[0]})"
                if array.ndim == 1 and len(outputs) == 1
                else ""
            )
            wanted = ", ".join(["N", *map(str, outputs)])
            raise ValueError(f"squared_error wants targets of shape ({wanted}), got {array.shape}{hint}")
        return contiguous(array, dtype)

    def losses_shape(self, y: Array) -> Shape:
        return y.shape

    def divisor(self, target: Array) -> float:
        return float(target.size)

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        ops.squared_error(y, target, REDUCTIONS[reduction], losses, loss, dy)


def _check_numbers(target: Array) -> None:
    if target.dtype.kind not in "buif":
        raise TypeError(f"targets must hold real numbers, but their dtype is {target.dtype}")


LOSSES: dict[str, type[Loss]] = {"cross_entropy": CrossEntropy, "squared_error": SquaredError}


def loss_function(loss: str | Loss) -> Loss:
    """The loss of that name (with its defaults), or the object itself."""
    if isinstance(loss, Loss):
        return loss
    if inspect.isclass(loss) and issubclass(loss, Loss):
        raise TypeError(f"pass an instance, {loss.__name__}(), not the class")
    return choose(loss, LOSSES, "loss")()


def reducing_loss(loss: str | Loss) -> Loss:
    """The loss, if it gives one number."""
    chosen = loss_function(loss)
    if chosen.reduction == "none":
        raise ValueError('one number is wanted here: choose the reduction "mean" or "sum"')
    return chosen


def cross_entropy(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> float | Array:
    """-sum_c w_c t_c log softmax(z)_c of logits (N, C): see `CrossEntropy`."""
    return CrossEntropy(weight=weight, label_smoothing=label_smoothing, reduction=reduction)(logits, target)


def squared_error(y: npt.ArrayLike, target: npt.ArrayLike, *, reduction: str = "mean") -> float | Array:
    """(y - t)^2 / 2 of outputs (N, ...): see `SquaredError`."""
    return SquaredError(reduction)(y, target)
