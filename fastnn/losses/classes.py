"""Single-label classification losses: logits (N, C); class indices (N,) or probabilities (N, C).

The logits may also be those of each pixel, (N, H, W, C), or of each step of a sequence, (N, L, C).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._arrays import REAL_KINDS, as_array, label_advice, position
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
        if not outputs:
            raise ValueError(f"{self.name} expects outputs of shape (N, classes), the model returns (N)")
        classes = outputs[-1]
        if classes == 1:
            raise ValueError(
                f"{self.name} needs one output per class, but there is a single output: use "
                f'loss="{self.other_loss}" for targets 0 and 1, loss="squared_error" for real targets, or '
                "2 outputs"
            )
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"there are {len(self.weight)} class weights for {classes} classes")
        if array.ndim == len(outputs) and array.size and array.shape[1:] == outputs[:-1]:
            if array.ndim > 1 and self.ignore_index is not None and self.reduction == "batch_mean":
                raise ValueError(
                    'with ignore_index and several labels per sample, the reduction must be "mean", "sum" or '
                    '"none", not "batch_mean"'
                )
            return self._labels(array, outputs)
        if array.ndim > 1 and array.shape[1:] == outputs and array.dtype.kind in REAL_KINDS:
            rows: Array = contiguous(array, dtype)
            _check_probabilities(rows, self.name)
            return rows
        check_numbers(array)
        soft = ", ".join(map(str, ("N", *outputs)))
        if len(outputs) > 1:
            of_labels = ", ".join(map(str, ("N", *outputs[:-1])))
            raise ValueError(
                f"targets must be labels of shape ({of_labels}), one per pixel or step, or probabilities of "
                f"shape ({soft}), as the outputs, got {array.shape}{_pixel_hint(array, outputs)}"
            )
        hint = ": use np.ravel(y)" if array.ndim == 2 and array.shape[1] == 1 else ""
        raise ValueError(
            f"targets must be labels of shape (N,) or rows of shape ({soft}), got {array.shape}{hint}"
        )

    def class_count(self, outputs: Shape) -> int:
        return outputs[-1] if outputs else 0

    def _labels(self, target: Array, outputs: Shape) -> Array:
        """Return the labels (N, ...) as int64; the kernels ignore those that are the number of classes.

        Raises TypeError unless they are integers, ValueError for one that is not below the number of classes.
        """
        classes = outputs[-1]
        if target.dtype.kind not in "ui":
            if target.dtype.kind == "f" and bool((np.floor(target) < target).any()):
                advice = 'for real targets use loss="squared_error"'
            else:
                soft = ", ".join(map(str, ("N", *outputs)))
                advice = f"{label_advice(target)}, or pass rows of shape ({soft}) for soft targets"
            raise TypeError(f"labels must be integers, not {target.dtype}: {advice}")
        if self.ignore_index is None:
            return labels(target, classes)
        counted = target != self.ignore_index
        checked = labels(np.where(counted, target, 0), classes)
        checked[~counted] = classes
        return checked

    def counted(self, target: npt.ArrayLike, outputs: Shape) -> Array | None:
        array = as_array(target, "y")
        if self.ignore_index is None or array.ndim != len(outputs):
            return None
        return np.asarray(array != self.ignore_index)

    def losses_shape(self, y: Array) -> Shape:
        return y.shape[:-1]

    def divisors(self, target: Array) -> Array | float:
        weights = self._weights_of(target)
        if weights is not None:
            per_sample: Array = weights.reshape(len(target), -1).sum(axis=1)
            return per_sample
        return float(math.prod(target.shape[1:] if _are_labels(target) else target.shape[1:-1]))

    def _weights_of(self, target: Array) -> Array | None:
        """Return the class weights of labels, in their shape; None if they are all 1 or not in the mean."""
        weight, label = self.weights_and_labels(target)
        if weight is None or label is None:
            return None
        # Indexing by [label] reads a label twice, "clip" once: another thread may change it in between.
        return weight.take(label, mode="clip")

    def target_weights(self, target: Array, sample_weight: Array) -> Array:
        weights = self._weights_of(target) if self.reduction == "mean" else None
        return sample_weight if weights is None else sample_weight * weights

    def weighs_targets(self, target: Array) -> bool:
        # The mean divides by the weight of each pixel.
        return target.ndim > 1 and self.reduction == "mean" and self.weights_and_labels(target)[1] is not None

    def weights_and_labels(self, target: Array) -> tuple[Array | None, Array | None]:
        if not _are_labels(target) or self.weight is None:
            return None, None
        return np.append(self.weight, 0), target

    def _kernel_weight(self, y: Array, target: Array) -> Array | None:
        """The class weights as the kernels take them: with a 0 for the label of ignored rows."""
        if not _are_labels(target) or self.ignore_index is None:
            return None if self.weight is None else self.weight.astype(y.dtype)
        return np.append(np.ones(y.shape[-1]) if self.weight is None else self.weight, 0).astype(y.dtype)

    def cause_of_nan(self, target: Array) -> str | None:
        if self.reduction != "mean" or self.divisor(target) != 0:
            return None
        present = ", ".join(map(str, np.unique(target)))
        return f"the weights of all classes in the batch ({present}) are 0, and the mean divides by their sum"

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        kernel = getattr(ops, f"{self.name}_{'labels' if _are_labels(target) else 'soft'}")
        weight = self._kernel_weight(y, target)
        rows, per_sample = (-1, y.shape[-1]), y.ndim > 2 and reduction == "batch_mean"
        kernel(
            y.reshape(rows),
            target.reshape(-1 if _are_labels(target) else rows),
            weight,
            self.kernel_parameter,
            REDUCTIONS["sum" if per_sample else reduction],
            losses.reshape(-1),
            loss,
            None if dy is None else dy.reshape(rows),
        )
        if per_sample:  # the kernel knows the number of pixels alone
            ops.weigh_loss(np.ones(len(y), y.dtype), None, None, REDUCTIONS[reduction], losses, loss, dy)

    @property
    def kernel_parameter(self) -> float:
        """The scalar that the kernel takes after the class weights."""
        raise NotImplementedError


def _are_labels(target: Array) -> bool:
    """Whether targets that were checked are labels, not probabilities."""
    return target.dtype.kind == "i"


def _pixel_hint(target: Array, outputs: Shape) -> str:
    """What was probably meant by targets that do not fit outputs of several pixels."""
    if target.shape[1:] == (*outputs[:-1], 1):
        return ": use y[..., 0]"
    if target.ndim == 1:
        return (
            ": for one label per sample the model must return (N, classes), so add Flatten() or "
            f"GlobalAvgPool2d() and Linear(..., {outputs[-1]})"
        )
    return ""


def _check_probabilities(target: Array, loss: str) -> None:
    """Raise ValueError unless each row of the targets (N, ..., C) is a probability distribution.

    NaN and inf pass here: the check for finite data reports them, as `on_nonfinite` says.
    """
    rows = target.reshape(-1, target.shape[-1])
    sums = rows.sum(axis=1, dtype=np.float64)
    wrong = np.isfinite(sums) & ((rows < 0).any(axis=1) | (np.abs(sums - 1) > SUM_TOLERANCE))
    if not wrong.any():
        return
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
        f"{loss} expects labels, or rows of probabilities that sum to 1, but {_place(index, target)} of y is "
        f"{first_values(row)}: {hint}"
    )


def _place(index: int, target: Array) -> str:
    """The place of the row `index` of targets (N, ..., C), such as "row 5" or "element [5, 0, 3]"."""
    return position(tuple(map(int, np.unravel_index(index, target.shape[:-1]))))


class CrossEntropy(_SingleLabelLoss):
    """Cross-entropy -sum_c w_c t_c log softmax(z)_c of logits z (N, C).

    Targets t are integer labels (N,) or rows of probabilities (N, C), one-hot or soft, which sum to 1. There
    are at least 2 classes. The softmax is part of the loss.

    For images, the logits are (N, H, W, C) and the targets labels per pixel (N, H, W), or probabilities
    (N, H, W, C); for sequences they are (N, L, C), and (N, L) or (N, L, C). The mean is over all pixels. A
    sample weight counts for each pixel of its sample.

    Args:
        weight: Class weights w (C,), at least 0; by default all 1. The mean over integer labels then divides
            by the sum of the weights of the labels, as in PyTorch.
        label_smoothing: s in [0, 1]: replaces t by (1 - s) t + s / C (Szegedy et al. 2016).
        ignore_index: Label of samples or pixels that do not count, such as -1 for missing labels or 255 for
            the border of a mask: they have loss and gradient 0, and are left out of means and of the
            accuracy. None: every label is a class. Labels per pixel do not allow it with "batch_mean".
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per sample or pixel).

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
    Takes the same targets as `CrossEntropy`, also per pixel. For multi-label outputs see `BinaryFocal`.

    Args:
        gamma: Focusing parameter, at least 0. 0 gives `CrossEntropy`; 2 is usual.
        weight: Class weights w (C,), at least 0; by default all 1. See `CrossEntropy`.
        ignore_index: Label of samples or pixels that do not count. See `CrossEntropy`.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per sample or pixel).

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
    are integer labels (N,) or one-hot rows (N, C), also per pixel as for `CrossEntropy`. Of several equal
    largest scores, the first gets the gradient. For a single output or several labels per sample see
    `BinaryHinge`.

    Args:
        margin: How far the score of the label must be above all others, at least 0.
        weight: Class weights w (C,), at least 0; by default all 1. See `CrossEntropy`.
        ignore_index: Label of samples or pixels that do not count. See `CrossEntropy`.
        reduction: "mean", "sum", "batch_mean" or "none" (one loss per sample or pixel).

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
        if _are_labels(checked):
            return checked
        soft = (np.sort(checked, axis=-1) != [*[0] * (checked.shape[-1] - 1), 1]).any(axis=-1)
        if soft.any():
            index = int(soft.argmax())
            row = checked.reshape(-1, checked.shape[-1])[index]
            raise ValueError(
                f"hinge expects labels or one-hot rows, but {_place(index, checked)} of y is "
                f'{first_values(row)}: for probabilities use loss="cross_entropy"'
            )
        largest: Array = checked.argmax(axis=-1)
        return largest

    @property
    def kernel_parameter(self) -> float:
        return self.margin

    def __repr__(self) -> str:
        return f"Hinge(margin={self.margin:g})"
