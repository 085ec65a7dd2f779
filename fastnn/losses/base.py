"""What a loss is: its value and its gradient in one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, choose, contiguous
from fastnn.kernels import REDUCTIONS, empty
from fastnn.recording.changes import Noted


class Loss(Noted, ABC):
    """Base class of all losses.

    `targets` checks what the user gave, once; `value` and `value_and_gradient` are then given only
    targets that passed. A user's own loss defines `targets` and `evaluate`.
    """

    # As for layers: whether `evaluate` does nothing but call kernels on arrays from `kernels.empty`.
    recordable = False
    # Whether the outputs are logits, so that a Softmax or Sigmoid layer before this loss is a mistake.
    expects_logits = False
    # Whether each of them says yes or no, so that a positive one means yes.
    binary = False

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


def check_numbers(target: Array) -> None:
    """Raise TypeError for what are no real numbers."""
    if target.dtype.kind not in "buif":
        raise TypeError(f"targets must hold real numbers, but their dtype is {target.dtype}")


def class_weights(weight: npt.ArrayLike | None, what: str = "class weights") -> Array | None:
    """`weight` as a read-only array of finite numbers of at least 0; ValueError for anything else."""
    if weight is None:
        return None
    array = np.array(weight, np.float64)
    array.flags.writeable = False  # so that nobody changes it unnoticed
    if array.ndim != 1 or not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{what} must be a list of finite numbers, at least 0, one per class")
    return array


def with_the_shape(target: npt.ArrayLike, outputs: Shape, loss: str) -> Array:
    """`target` with the shape (N, *outputs); numbers (N,) will do for a single output.

    Raises TypeError for what are no real numbers, ValueError for another shape.
    """
    array = np.asarray(target)
    check_numbers(array)
    if outputs == (1,) and array.ndim == 1:
        array = array[:, None]
    if array.shape[1:] != outputs or array.ndim == 0:
        hint = (
            f": for labels use fn.data.one_hot(y, {outputs[0]})"
            if array.ndim == 1 and len(outputs) == 1
            else ""
        )
        wanted = ", ".join(["N", *map(str, outputs)])
        raise ValueError(f"{loss} wants targets of shape ({wanted}), got {array.shape}{hint}")
    return array
