"""Losses of outputs that each say yes or no: logits of any shape, targets in [0, 1] of the same shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, contiguous, in_range
from fastnn.kernels import REDUCTIONS, ops
from fastnn.losses.base import Loss, class_weights, with_the_shape


class _OfLogits(Loss):
    """What binary losses share: their targets. Classes, of which there may be weights, are the last axis."""

    expects_logits = True
    binary = True
    name: str

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        array = with_the_shape(target, outputs, self.name)
        numbers = contiguous(array, dtype)
        low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)
        if not (math.isnan(low) or (low >= 0 and high <= 1)):
            raise ValueError(
                f"{self.name} wants targets from 0 (no) to 1 (yes), but they reach from {low:g} to {high:g}"
            )
        return numbers


def _fits(weight: Array | None, classes: int) -> None:
    """Raise ValueError unless there is one weight for each class."""
    if weight is not None and len(weight) not in (1, classes):
        raise ValueError(f"there are {len(weight)} weights for {classes} outputs in the last axis")


class _Elementwise(_OfLogits):
    """A loss of each logit by itself: binary cross-entropy with the factors of focal loss."""

    gamma = 0.0

    def __init__(self, if_one: Array | None, if_zero: Array | None, reduction: str) -> None:
        super().__init__(reduction)
        self._if_one, self._if_zero = if_one, if_zero  # weights of targets 1 and 0, per class or one for all

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        for weight in (self._if_one, self._if_zero):
            _fits(weight, outputs[-1])
        return super().targets(target, outputs, dtype)

    def losses_shape(self, y: Array) -> Shape:
        return y.shape

    def divisor(self, target: Array) -> float:
        return float(target.size)

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        weight = None
        if self._if_one is not None or self._if_zero is not None:
            weight = np.ones((2, y.shape[-1]), y.dtype)
            for row, given in zip(weight, (self._if_one, self._if_zero), strict=True):
                row[:] = 1 if given is None else given
        ops.binary_cross_entropy(y, target, weight, self.gamma, REDUCTIONS[reduction], losses, loss, dy)


class BinaryCrossEntropy(_Elementwise):
    """-w (v t log p + (1 - t) log(1 - p)) with p = sigmoid(z) on logits z, fused with its gradient.

    PyTorch's `BCEWithLogitsLoss`: outputs of any shape (N, ...), targets in [0, 1] of the same shape (or (N,)
    for a single output); the mean is over all elements. `weight` w and `pos_weight` v, of the targets 1, are
    numbers for each output of the last axis, or one for all. Stable for any logit.
    """

    recordable = True
    name = "binary_cross_entropy"

    def __init__(
        self,
        *,
        weight: npt.ArrayLike | None = None,
        pos_weight: npt.ArrayLike | None = None,
        reduction: str = "mean",
    ) -> None:
        all_of_them, ones = _weights(weight, "weight"), _weights(pos_weight, "pos_weight")
        if_one = all_of_them if ones is None else ones if all_of_them is None else all_of_them * ones
        super().__init__(if_one, all_of_them, reduction)


class BinaryFocal(_Elementwise):
    """-a t (1 - p)^gamma log p - b (1 - t) p^gamma log(1 - p) with p = sigmoid(z) on logits z.

    The focal loss of Lin et al. 2017: with `alpha` a = alpha and b = 1 - alpha, times `weight` (numbers for
    each output of the last axis, or one for all); without it both are 1. `gamma` 0 is `BinaryCrossEntropy`,
    bit for bit; the gradient is finite for every gamma of at least 0. Targets and mean are as there.
    """

    recordable = True
    name = "binary_focal"

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        weight: npt.ArrayLike | None = None,
        reduction: str = "mean",
    ) -> None:
        if_one = if_zero = _weights(weight, "weight")
        if alpha is not None:
            share = in_range(alpha, "alpha", 0, 1)
            every = np.ones(1) if if_one is None else if_one
            if_one, if_zero = every * share, every * (1 - share)
        super().__init__(if_one, if_zero, reduction)
        self.gamma = in_range(gamma, "gamma", 0)

    def __repr__(self) -> str:
        return f"BinaryFocal(gamma={self.gamma:g})"


class Dice(_OfLogits):
    """1 - (2 sum p t + smooth) / (sum (p + t) + smooth) with p = sigmoid(z) on logits z, for each sample.

    The sums are over all outputs of a sample, (N, F) or (N, H, W), and of images (N, H, W, C) over the pixels
    for each of the C classes, whose `weight` (C,) multiplies their losses; the mean is over samples and
    classes. `smooth`, at least 0, keeps the loss of empty samples defined; with 0 and nothing there nor
    predicted it is 0. For a single output and smooth 0 it is 1 - 2 p t / (p + t). (Milletari et al. 2016,
    with sums that are not squared.)
    """

    recordable = True
    name = "dice"

    def __init__(
        self, *, smooth: float = 1.0, weight: npt.ArrayLike | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.smooth = in_range(smooth, "smooth", 0)
        self.weight = class_weights(weight)

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        _, classes = _pixels_and_classes(outputs)
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"there are {len(self.weight)} class weights for {classes} classes")
        return super().targets(target, outputs, dtype)

    def losses_shape(self, y: Array) -> Shape:
        return (len(y), _pixels_and_classes(y.shape[1:])[1])

    def divisor(self, target: Array) -> float:
        return float(len(target) * _pixels_and_classes(target.shape[1:])[1])

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
    """Over how many numbers the sums of a sample go, and of how many classes there are such sums."""
    if len(outputs) < 3:
        return math.prod(outputs), 1
    return math.prod(outputs[:-1]), outputs[-1]


def _weights(weight: npt.ArrayLike | None, name: str) -> Array | None:
    """Weights of classes, or a single one."""
    return class_weights(weight if weight is None else np.atleast_1d(np.asarray(weight, np.float64)), name)
