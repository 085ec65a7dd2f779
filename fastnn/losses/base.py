"""The base class of all losses, and the target checks that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._arrays import REAL_KINDS, as_array, label_advice, real_array
from fastnn._foreign_names import LOSS_ATTRIBUTES
from fastnn._validation import Array, Shape, contiguous, is_mapped, one_of
from fastnn.kernels import REDUCTIONS, empty, ops
from fastnn.recording.changes import Noted


class Loss(Noted, ABC):
    """Base class of all losses.

    A subclass defines `targets`, which checks and converts the user's targets once, and `evaluate`. The other
    methods expect targets that `targets` returned.

    `reduction` is "mean" (default), "sum", "batch_mean" (the sum divided by the number of samples) or "none".
    Raises ValueError for any other.
    """

    # Whether `evaluate` only calls kernels, on arrays from `kernels.empty`, so that a plan may record it.
    recordable = False
    # Whether the outputs are logits, so that a Softmax or Sigmoid layer before this loss is a mistake.
    expects_logits = False
    # Whether `targets` rejects some values of floats, so that every batch must be checked.
    limits_targets = False
    # Whether each output is the logit of a yes/no decision of its own, where a positive one means yes.
    binary = False

    reduction: str
    _checks: ClassVar = {"reduction": one_of(*REDUCTIONS)}
    _hints = LOSS_ATTRIBUTES

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    @abstractmethod
    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        """Check `target` and return it as a contiguous array for outputs `(N, *outputs)` of `dtype`.

        Memory-mapped targets (N, ...) may stay as they are: their rows are converted batch by batch.

        Raises TypeError or ValueError if the dtype, the shape or the values do not fit.
        """

    def counted(self, target: npt.ArrayLike, outputs: Shape) -> Array | None:
        """Return which samples (N,) or single targets (N, ...) of the user count, bool; None for all.

        The outputs have the shape `(N, *outputs)`.
        """
        return None

    @abstractmethod
    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        """Compute the loss and, unless `dy` is None, its gradient, into the given arrays.

        Args:
            y: Outputs (N, ...), float32 or float64.
            target: Targets that `targets` returned.
            reduction: "mean", "sum", "batch_mean" or "none".
            losses: Output: the unreduced losses, of shape `losses_shape(y)` and the dtype of `y`.
            loss: Output: the reduced loss, (1,) float64.
            dy: Output: the gradient of the reduced loss with respect to `y`, or None.
        """

    def class_count(self, outputs: Shape) -> int:
        """Return between how many classes the outputs of a sample decide; 0 if targets (N,) are no labels."""
        return 0

    def losses_shape(self, y: Array) -> Shape:
        """Return the shape of the unreduced losses: one per sample, unless a subclass overrides it."""
        return y.shape[:1]

    def divisors(self, target: Array) -> Array | float:
        """Return how much each sample adds to the divisor of the mean: 1, unless a subclass overrides it."""
        return 1.0

    def divisor(self, target: Array, sample_weight: Array | None = None) -> float:
        """Return the divisor of the reduction for all samples together."""
        if self.reduction in ("sum", "none"):
            return 1.0
        weight = np.ones(len(target)) if sample_weight is None else sample_weight
        if weight.ndim > 1:
            return float(self.target_weights(target, weight).sum(dtype=np.float64))
        return float((weight * (self.divisors(target) if self.reduction == "mean" else 1)).sum())

    def weighs_targets(self, target: Array) -> bool:
        """Whether sample weights must be repeated for each target of a sample; never, unless overridden."""
        return False

    def target_weights(self, target: Array, sample_weight: Array) -> Array:
        """Return how much each target adds to the divisor of the mean, for weights of their shape."""
        return sample_weight

    def cause_of_nan(self, target: Array) -> str | None:
        """Why the loss of these targets is NaN for any outputs; None if it is not."""
        return None

    def value(
        self,
        y: Array,
        target: Array,
        reduction: str | None = None,
        sample_weight: Array | None = None,
    ) -> Array:
        """Return the loss of outputs `y`: (1,) float64, or the unreduced losses for the reduction "none".

        `sample_weight` (N,) of the dtype of `y` multiplies the losses of the samples; a mean is divided by
        the sum of the weights; it is 0 if all weights are. Losses of several targets per sample also take
        weights of the shape of `losses_shape`, and need them if `weighs_targets`.
        """
        return self._evaluate(y, target, reduction or self.reduction, None, sample_weight)

    def value_and_gradient(
        self,
        y: Array,
        target: Array,
        sample_weight: Array | None = None,
        reduction: str | None = None,
    ) -> tuple[Array, Array]:
        """Return the loss as `value` does, and its gradient with respect to `y`."""
        dy: Array = empty(y.shape, y.dtype)
        return self._evaluate(y, target, reduction or self.reduction, dy, sample_weight), dy

    def __call__(self, y: npt.ArrayLike, target: npt.ArrayLike) -> float | Array:
        """Return the loss of outputs `y` (N, ...): a float, or an array for the reduction "none".

        Raises TypeError or ValueError if `target` does not fit `y`, and ValueError if `y` is empty.
        """
        outputs = real_array(y, "outputs")
        if outputs.dtype not in (np.float32, np.float64):
            outputs = outputs.astype(np.float64)
        outputs = contiguous(outputs, outputs.dtype.newbyteorder("="))
        if outputs.ndim < 2 or len(outputs) == 0:
            raise ValueError(f"outputs must have shape (N, ...) with at least 1 sample, got {outputs.shape}")
        checked = loaded(self.targets(target, outputs.shape[1:], outputs.dtype), outputs.dtype)
        if len(checked) != len(outputs):
            raise ValueError(f"there are {len(outputs)} outputs, but {len(checked)} targets")
        counted = self.counted(target, outputs.shape[1:])
        weights = () if counted is None else (None, counted.astype(outputs.dtype))
        value = self.value(outputs, checked, *weights)
        return value if self.reduction == "none" else float(value[0])

    def _evaluate(
        self, y: Array, target: Array, reduction: str, dy: Array | None, sample_weight: Array | None
    ) -> Array:
        losses: Array = empty(self.losses_shape(y), y.dtype)
        loss: Array = empty((1,), np.float64)
        self.evaluate(y, target, reduction if sample_weight is None else "sum", losses, loss, dy)
        if sample_weight is not None:
            weight, label = self.weights_and_labels(target)
            weight = None if weight is None else weight.astype(y.dtype)
            rows, dy_rows = losses, dy
            if sample_weight.ndim > 1:
                rows = losses.reshape(-1)
                label = None if label is None else label.reshape(-1)
                dy_rows = None if dy is None else dy.reshape(rows.size, -1)
            elif label is not None and label.ndim > 1 and reduction != "mean":
                weight = label = None
            ops.weigh_loss(
                sample_weight.reshape(-1), weight, label, REDUCTIONS[reduction], rows, loss, dy_rows
            )
        return losses if reduction == "none" else loss

    def weights_and_labels(self, target: Array) -> tuple[Array | None, Array | None]:
        """Return the class weights (C,) and the labels (N, ...) that select them, if they are in the mean."""
        return None, None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PointwiseLoss(Loss):
    """Base class of losses of each output alone; targets and losses have the shape of the outputs.

    `name` is that of the loss and of its kernel, which takes `kernel_parameters` after the targets.
    """

    name: str

    @property
    def kernel_parameters(self) -> tuple[float, ...]:
        return ()

    def targets(self, target: npt.ArrayLike, outputs: Shape, dtype: np.dtype[Any]) -> Array:
        return floats(with_the_shape(target, outputs, self.name), dtype)

    def losses_shape(self, y: Array) -> Shape:
        return y.shape

    def divisors(self, target: Array) -> Array | float:
        return target.size / len(target)

    def evaluate(
        self, y: Array, target: Array, reduction: str, losses: Array, loss: Array, dy: Array | None
    ) -> None:
        kernel = getattr(ops, self.name)
        kernel(y, target, *self.kernel_parameters, REDUCTIONS[reduction], losses, loss, dy)


def check_numbers(target: Array) -> None:
    """Raise TypeError unless `target` holds real numbers."""
    if target.dtype.kind not in REAL_KINDS:
        raise TypeError(
            f"targets must hold real numbers, but their dtype is {target.dtype}: {label_advice(target)}"
        )


def floats(target: Array, dtype: np.dtype[Any]) -> Array:
    """Return the targets (N, ...) as contiguous `dtype`; a memory-mapped file is returned as it is."""
    return target if is_mapped(target) else contiguous(target, dtype)


def loaded(target: Array, dtype: np.dtype[Any]) -> Array:
    """Return the targets with the rows of a memory-mapped file (N, ...) as contiguous `dtype`."""
    return contiguous(target, dtype) if target.ndim > 1 and is_mapped(target) else target


def first_values(row: Array) -> str:
    """The first values of a row, for a message."""
    return f"[{', '.join(f'{value:.4g}' for value in row[:6])}{', ...' if len(row) > 6 else ''}]"


def class_weights(weight: npt.ArrayLike | None, name: str = "class weights") -> Array | None:
    """Return `weight` (C,) as a read-only float64 copy. Raises ValueError unless all are finite and >= 0."""
    if weight is None:
        return None
    try:
        array = np.array(as_array(weight, name), np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    array.flags.writeable = False  # a recorded plan would not notice a change
    if array.ndim != 1 or not (np.isfinite(array).all() and (array >= 0).all()):
        got = "" if type(weight) is np.ndarray else f", not {weight!r}"
        raise ValueError(f"{name} must be a list of finite numbers, at least 0, one per class{got}")
    return array


def class_weights_of(value: Any, name: str) -> Array | None:
    """The check of the attribute `weight`."""
    return class_weights(value)


def with_the_shape(target: npt.ArrayLike, outputs: Shape, loss: str) -> Array:
    """Return `target` with shape `(N, *outputs)`. Shape (N,) is accepted for a single output.

    Raises TypeError if the values are not real numbers, and ValueError if the shape does not fit.
    """
    array = as_array(target, "y")
    check_numbers(array)
    if outputs == (1,) and array.ndim == 1:
        array = array[:, None]
    if array.shape[1:] != outputs or array.ndim == 0:
        expected = ", ".join(["N", *map(str, outputs)])
        raise ValueError(
            f"{loss} expects targets of shape ({expected}), got {array.shape}{_shape_hint(array, outputs)}"
        )
    return array


def _shape_hint(target: Array, outputs: Shape) -> str:
    """What was probably meant by targets that do not have the shape of the outputs."""
    if len(outputs) != 1:
        return ""
    if target.ndim == 1 and target.dtype.kind in "bui":
        return f': for labels use fn.data.one_hot(y, {outputs[0]}), or loss="cross_entropy"'
    if target.ndim == 1 or (target.ndim == 2 and target.shape[1] == 1):
        return ": the model needs one output, as there is one target per sample"
    if outputs == (1,) and target.ndim == 2:
        one_hot = ", or pass the column y[:, 1]" if target.shape[1] == 2 else ""
        return f": the model needs {target.shape[1]} outputs{one_hot}"
    return ""
