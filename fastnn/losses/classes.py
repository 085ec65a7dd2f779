"""Losses of outputs of which one class each is right: logits (N, C) with labels or rows of targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, contiguous, in_range, labels
from fastnn.kernels import REDUCTIONS, ops
from fastnn.losses.base import Loss, check_numbers, class_weights


class _OfClasses(Loss):
    """What the losses of classes share: their targets, and weights of the classes."""

    expects_logits = True
    name: str

    def __init__(self, weight: npt.ArrayLike | None, reduction: str) -> None:
        super().__init__(reduction)
        self.weight = class_weights(weight)

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        array = np.asarray(target)
        if len(outputs) != 1:
            raise ValueError(f"{self.name} wants outputs of shape (N, classes), the model gives {outputs}")
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
        check_numbers(array)
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
        kernel = getattr(ops, f"{self.name}_{'labels' if target.ndim == 1 else 'soft'}")
        weight = None if self.weight is None else self.weight.astype(y.dtype)
        kernel(y, target, weight, self.number, REDUCTIONS[reduction], losses, loss, dy)

    @property
    def number(self) -> float:
        """The number that the kernel takes beside the weights."""
        raise NotImplementedError


class CrossEntropy(_OfClasses):
    """-sum_c w_c t_c log softmax(z)_c on logits z (N, C), fused with its gradient.

    Targets are integer labels (N,) or rows (N, C), one-hot or soft. `weight` (C,) are class weights (the
    mean over integer labels then divides by the sum of their weights, as in PyTorch); `label_smoothing` s
    replaces t by (1 - s) t + s / C (Szegedy et al. 2016).
    """

    recordable = True
    name = "cross_entropy"

    def __init__(
        self,
        *,
        weight: npt.ArrayLike | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, reduction)
        self.label_smoothing = in_range(label_smoothing, "label_smoothing", 0, 1)

    @property
    def number(self) -> float:
        return self.label_smoothing


class Focal(_OfClasses):
    """-sum_c w_c t_c (1 - p_c)^gamma log p_c with p = softmax(z) on logits z (N, C): Lin et al. 2017.

    The factor (1 - p)^gamma leaves out what is classified well already: `gamma` 0 is `CrossEntropy`, 2 usual.
    Targets and `weight` are as there. For outputs that each say yes or no see `BinaryFocal`.
    """

    recordable = True
    name = "focal"

    def __init__(
        self, *, gamma: float = 2.0, weight: npt.ArrayLike | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.gamma = in_range(gamma, "gamma", 0)

    @property
    def number(self) -> float:
        return self.gamma

    def __repr__(self) -> str:
        return f"Focal(gamma={self.gamma:g})"
