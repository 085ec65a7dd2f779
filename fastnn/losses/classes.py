"""Single-label classification losses: logits (N, C); class indices (N,) or probabilities (N, C)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._arrays import REAL_KINDS, as_array, label_advice
from fastnn._validation import Array, Shape, contiguous, labels, optional, whole_number, within
from fastnn.kernels import REDUCTIONS, ops
from fastnn.losses.base import Loss, check_numbers, class_weights_of, first_values

SUM_TOLERANCE = 1e-3  # of the probabilities of a sample


class _SingleLabelLoss(Loss):
    """Base class of single-label classification losses: target checks and class weights."""

    expects_logits = True
    limits_targets = True
    name: str
    other_loss = "binary_cross_entropy"  # for a single output
    weight: Array | None
    ignore_index: int | None
    _checks: ClassVar = {"weight": class_weights_of, "ignore_index": optional(whole_number)}

    def __init__(self, weight: npt.ArrayLike | None, ignore_index: int | None, reduction: str) -> None:
        super().__init__(reduction)
        self.weight = weight  # type: ignore[assignment]  # the check makes an array
        self.ignore_index = ignore_index

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        array = as_array(target, "y")
        if len(outputs) != 1:
            got = ", ".join(["N", *map(str, outputs)])
            raise ValueError(f"{self.name} expects outputs of shape (N, classes), the model returns ({got})")
        classes = outputs[0]
        if classes == 1:
            raise ValueError(
                f"{self.name} needs one output per class, but there is a single output: use "
                f'loss="{self.other_loss}" for targets 0 and 1, loss="squared_error" for real targets, or '
                "2 outputs"
            )
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"there are {len(self.weight)} class weights for {classes} classes")
        if array.ndim == 1 and array.size and array.dtype.kind in "ui":
            return self._labels(array, classes)
        if array.ndim == 2 and array.shape[1] == classes and array.dtype.kind in REAL_KINDS:
            return _probabilities(contiguous(array, dtype), self.name)
        if array.ndim == 1 and array.dtype.kind not in "ui":
            if array.dtype.kind == "f" and bool((np.floor(array) < array).any()):
                advice = 'for real targets use loss="squared_error"'
            else:
                advice = f"{label_advice(array)}, or pass rows of shape (N, {classes}) for soft targets"
            raise TypeError(f"labels must be integers, not {array.dtype}: {advice}")
        check_numbers(array)
        hint = ": use np.ravel(y)" if array.ndim == 2 and array.shape[1] == 1 else ""
        raise ValueError(
            f"targets must be labels of shape (N,) or rows of shape (N, {classes}), got {array.shape}{hint}"
        )

    def class_count(self, outputs: Shape) -> int:
        return outputs[0] if len(outputs) == 1 else 0

    def _labels(self, target: Array, classes: int) -> Array:
        """Return the labels (N,) as int64; the kernels ignore the rows with the label `classes`."""
        counted = self.counted(target)
        if counted is None:
            return labels(target, classes)
        checked = labels(np.where(counted, target, 0), classes)
        checked[~counted] = classes
        return checked

    def counted(self, target: npt.ArrayLike) -> Array | None:
        array = as_array(target, "y")
        if self.ignore_index is None or array.ndim != 1:
            return None
        return np.asarray(array != self.ignore_index)

    def divisors(self, target: Array) -> Array | float:
        weight, label = self.weights_and_labels(target)
        if weight is None or label is None:
            return 1.0
        # Indexing by [label] reads a label twice, "clip" once: another thread may change it in between.
        return weight.take(label, mode="clip")

    def weights_and_labels(self, target: Array) -> tuple[Array | None, Array | None]:
        if target.ndim == 2 or self.weight is None:
            return None, None
        return np.append(self.weight, 0), target

    def _kernel_weight(self, y: Array, target: Array) -> Array | None:
        """The class weights as the kernels take them: with a 0 for the label of ignored rows."""
        if target.ndim == 2 or self.ignore_index is None:
            return None if self.weight is None else self.weight.astype(y.dtype)
        return np.append(np.ones(y.shape[1]) if self.weight is None else self.weight, 0).astype(y.dtype)

    def cause_of_nan(self, target: Array) -> str | None:
        if self.reduction != "mean" or self.divisor(target) != 0:
            return None
        present = ", ".join(map(str, np.unique(target)))
        return f"the weights of all classes in the batch ({present}) are 0, and the mean divides by their sum"

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        kernel = getattr(ops, f"{self.name}_{'labels' if target.ndim == 1 else 'soft'}")
        weight = self._kernel_weight(y, target)
        kernel(y, target, weight, self.kernel_parameter, REDUCTIONS[reduction], losses, loss, dy)

    @property
    def kernel_parameter(self) -> float:
        """The scalar that the kernel takes after the class weights."""
        raise NotImplementedError


def _probabilities(rows: Array, loss: str) -> Array:
    """Return the targets (N, C). Raises ValueError unless each row is a probability distribution.

    NaN and inf pass here: the check for finite data reports them, as `on_nonfinite` says.
    """
    sums = rows.sum(axis=1, dtype=np.float64)
    wrong = np.isfinite(sums) & ((rows < 0).any(axis=1) | (np.abs(sums - 1) > SUM_TOLERANCE))
    if not wrong.any():
        return rows
    index = int(wrong.argmax())
    row = rows[index]
    is_zero_or_one = bool(((rows == 0) | (rows == max(1, rows.max()))).all())
    if is_zero_or_one and bool(((rows > 0).sum(axis=1) != 1).any()):
        hint = 'if several classes, or none, may be true, use loss="binary_cross_entropy"'
    elif row.min() >= 0 and bool(np.allclose(sums, sums[0])):
        hint = f"divide y by {sums[0]:g}"
    else:
        hint = 'for real targets use loss="squared_error"'
    raise ValueError(
        f"{loss} expects labels, or rows of probabilities that sum to 1, but row {index} of y is "
        f"{first_values(row)}: {hint}"
    )


class CrossEntropy(_SingleLabelLoss):
    """Cross-entropy -sum_c w_c t_c log softmax(z)_c of logits z (N, C).

    Targets t are integer labels (N,) or rows of probabilities (N, C), one-hot or soft, which sum to 1. There
    are at least 2 classes. The softmax is part of the loss.

    Args:
        weight: Class weights w (C,), at least 0; by default all 1. The mean over integer labels then divides
            by the sum of the weights of the labels, as in PyTorch.
        label_smoothing: s in [0, 1]: replaces t by (1 - s) t + s / C (Szegedy et al. 2016).
        ignore_index: Label of samples that do not count, such as -1 for missing labels: they have loss and
            gradient 0, and are left out of means and of the accuracy. None: every label is a class.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per sample).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    name = "cross_entropy"
    label_smoothing: float
    _checks: ClassVar = {"label_smoothing": within(0, 1)}

    def __init__(
        self,
        *,
        weight: npt.ArrayLike | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = label_smoothing

    @property
    def kernel_parameter(self) -> float:
        return self.label_smoothing


class Focal(_SingleLabelLoss):
    """Focal loss -sum_c w_c t_c (1 - p_c)^gamma log p_c with p = softmax(z), of logits z (N, C).

    The factor (1 - p)^gamma reduces the loss of samples that are classified well already (Lin et al. 2017).
    Takes the same targets as `CrossEntropy`. For multi-label outputs see `BinaryFocal`.

    Args:
        gamma: Focusing parameter, at least 0. 0 gives `CrossEntropy`; 2 is usual.
        weight: Class weights w (C,), at least 0; by default all 1. See `CrossEntropy`.
        ignore_index: Label of samples that do not count. See `CrossEntropy`.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per sample).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    name = "focal"
    gamma: float
    _checks: ClassVar = {"gamma": within(0)}

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        weight: npt.ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.gamma = gamma

    @property
    def kernel_parameter(self) -> float:
        return self.gamma

    def __repr__(self) -> str:
        return f"Focal(gamma={self.gamma:g})"


class Hinge(_SingleLabelLoss):
    """Multi-class hinge loss w_c max(0, margin + max_{k != c} z_k - z_c), c the label, of scores z (N, C).

    The loss of Crammer & Singer 2001, as in scikit-learn's `hinge_loss` and Keras' `CategoricalHinge`;
    PyTorch's `MultiMarginLoss` takes the mean over all other classes in place of their largest score. Targets
    are integer labels (N,) or one-hot rows (N, C). Of several equal largest scores, the first gets the
    gradient. For a single output or several labels per sample see `BinaryHinge`.

    Args:
        margin: How far the score of the label must be above all others, at least 0.
        weight: Class weights w (C,), at least 0; by default all 1. See `CrossEntropy`.
        ignore_index: Label of samples that do not count. See `CrossEntropy`.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per sample).

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    expects_logits = False
    name = "hinge"
    other_loss = "binary_hinge"
    margin: float
    _checks: ClassVar = {"margin": within(0)}

    def __init__(
        self,
        *,
        margin: float = 1.0,
        weight: npt.ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.margin = margin

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        checked = super().targets(target, outputs, dtype)
        if checked.ndim == 1:
            return checked
        soft = (np.sort(checked, axis=1) != [*[0] * (checked.shape[1] - 1), 1]).any(axis=1)
        if soft.any():
            index = int(soft.argmax())
            raise ValueError(
                f"hinge expects labels or one-hot rows, but row {index} of y is "
                f'{first_values(checked[index])}: for probabilities use loss="cross_entropy"'
            )
        largest: Array = checked.argmax(axis=1)
        return largest

    @property
    def kernel_parameter(self) -> float:
        return self.margin

    def __repr__(self) -> str:
        return f"Hinge(margin={self.margin:g})"
