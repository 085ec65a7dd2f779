"""A data set, checked once against model and loss, then cut into mini-batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fastnn._arrays import Array, as_array
from fastnn._sources import (
    Features,
    ItemRows,
    Items,
    Rows,
    Selection,
    Streamed,
    feature_rows,
    has_items,
    is_stream,
)
from fastnn._validation import Shape, contiguous, features, is_mapped, same_length, sample_weights, warn
from fastnn.augment import Together
from fastnn.classes import Classes, classes_of, encode
from fastnn.feeding import Feeding, feeding_of, follow
from fastnn.gather import gather_rows, gather_targets, kernels_can_read
from fastnn.layers import Layer, Sigmoid, Softmax
from fastnn.layers.base import check_unshared, last_layer
from fastnn.losses import Loss, loaded
from fastnn.metrics import are_pixel_labels

Data = tuple[Features, npt.ArrayLike] | tuple[Features, npt.ArrayLike, npt.ArrayLike | None] | Items
DataOrBatches = Data | Streamed

CHANGED_MEANWHILE = (
    "the data changed while a training step read them, and the step was not made: do not write to x and y "
    "from another thread during a training"
)


@dataclass(frozen=True)
class Samples:
    """Checked features and targets, and how they become a mini-batch."""

    x: Rows
    target: Array
    scale: float
    dtype: np.dtype[Any]  # of the model
    feeding: Feeding  # of a model that is trained on them
    given: tuple[Features, npt.ArrayLike]  # what the user passed as x and y
    where: str = ""  # how messages about them begin
    weight: Array | None = None  # (N,), or of the shape of the targets for a loss that ignores some
    classes: Classes | None = None  # of a model that is trained on them

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Array) -> tuple[Array, Array]:
        """The mini-batch of the samples `index`: features in the model's dtype, targets."""
        return gather_rows(self.x, index, self.scale, self.dtype), self._targets(index)

    def subset(self, index: Array) -> Samples:
        """The samples `index`: copies, except for features in a file or a sparse matrix."""
        weight = None if self.weight is None else self.weight[index]
        in_memory = isinstance(self.x, np.ndarray) and not is_mapped(self.x)
        x = self.x[index] if in_memory else Selection(self.x, index)
        target = self.target[index]
        if is_mapped(self.target):
            target = contiguous(target, self._target_dtype)
        return replace(self, x=x, target=target, weight=weight)

    def part(self, start: int, stop: int) -> Samples:
        """The samples from `start` to before `stop`, without copying; only for samples in memory."""
        weight = None if self.weight is None else self.weight[start:stop]
        return replace(self, x=self.x[start:stop], target=self.target[start:stop], weight=weight)

    def gathered(self, index: Array) -> Samples:
        """The mini-batch of the samples `index`, not yet scaled, in arrays that the kernels can read."""
        x = contiguous(self.x[index], np.uint8 if self.x.dtype == np.uint8 else self.dtype)
        return replace(self, x=x, target=self._targets(index), weight=self.weights(index))

    def counted(self) -> Samples:
        """The samples whose weight is not 0."""
        if self.weight is None:
            return self
        return self.subset(np.flatnonzero(self.weight.reshape(len(self), -1).any(axis=1)))

    def check_again(self, model: Layer, loss: Loss) -> None:
        """Check data that have changed since they were checked. Raises ValueError if they are invalid now."""
        counted = self.counted()
        ignores = loss.counted(self.target, model.output_shape(self.x.shape[1:])) is not None
        # A loss that ignores some targets has copied them, so that nobody else can change them.
        labels = np.zeros_like(counted.target) if ignores else counted.labels
        check_data(model, loss, (counted.x, labels), counted.scale, may_weigh_nothing=True)

    def arrays(self) -> list[Array]:
        """Features, targets and, if there are any, weights, of samples in memory."""
        arrays = (self.x, self.target, self.weight)
        return [array for array in arrays if isinstance(array, np.ndarray)]

    def weights(self, index: Array | None) -> Array | None:
        """The weights of the samples `index` (None: all of them), or None if all are 1."""
        if self.weight is None or index is None:
            return self.weight
        rows = self.weight.reshape(len(self.weight), -1)
        return gather_rows(rows, index, 1.0, rows.dtype).reshape(len(index), *self.weight.shape[1:])

    def check_augmented(self, augment: Together) -> None:
        """Raise ValueError if the samples are not images, or if their targets are masks of labels."""
        augment.check_images(self.x.shape[1:])
        if are_pixel_labels(self.target):
            raise ValueError(
                f"augment={augment!r} moves the pixels of images, but not their labels: change images and "
                "masks together before the training, or leave augment out"
            )

    def mini_batch(self, index: Array | None, augment: Together | None, state: Array) -> tuple[Array, Array]:
        """Features and targets of the samples `index` (None: all), augmented unless `augment` is None.

        `state` is that of `augmented`.
        """
        if augment is None:
            return self.all() if index is None else self.batch(index)
        return self.augmented(np.arange(len(self)) if index is None else index, augment, state)

    def augmented(self, index: Array, augment: Together, state: Array) -> tuple[Array, Array]:
        """The same mini-batch with augmented images; `state` = (key, number of batches) is advanced."""
        images, chosen = self.x, index
        if not kernels_can_read(images):
            images, chosen = contiguous(images[index], self.dtype), np.arange(len(index))
        return augment.gather(images, chosen, state, self.scale, self.dtype), self._targets(index)

    def _targets(self, index: Array) -> Array:
        return gather_targets(self.target, index, self._target_dtype)

    @property
    def _target_dtype(self) -> np.dtype[Any]:
        """The dtype of targets in a mini-batch; a memory-mapped file may have any."""
        return self.dtype if is_mapped(self.target) and self.target.ndim > 1 else self.target.dtype

    @property
    def has_encoded_labels(self) -> bool:
        """Whether the targets are other numbers than the labels that the user passed."""
        return self.classes is not None and not self.classes.numbered

    @property
    def labels(self) -> npt.ArrayLike:
        """The targets, or the labels of the user that they encode."""
        return self.given[1] if self.has_encoded_labels else self.target

    @property
    def readable(self) -> bool:
        """Whether the compiled kernels can gather mini-batches."""
        are_labels = self.target.ndim == 1 or self._target_dtype == np.int64
        return kernels_can_read(self.x) and (are_labels or kernels_can_read(self.target))

    def all(self) -> tuple[Array, Array]:
        """All samples as one mini-batch; the arrays themselves if they need no conversion."""
        if isinstance(self.x, np.ndarray) and self.x.dtype == self.dtype and self.scale == 1:
            return self.x, self.target
        return self.batch(np.arange(len(self)))[0], self.target


def check_model(model: Layer) -> None:
    """Raise TypeError unless `model` is a layer."""
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer such as fn.Sequential(...), not {model!r}")


def trainable_model(model: Layer, name: str) -> Layer:
    """Return `model`. Raises TypeError unless it is a layer, and ValueError if a parameter occurs twice."""
    check_model(model)
    check_unshared(model)  # it may have been assigned after the model was built
    return model


def warn_if_not_logits(model: Layer, loss: Loss) -> None:
    """Warn if the model ends with the activation that the loss applies itself."""
    last = last_layer(model)
    if loss.expects_logits and isinstance(last, (Softmax, Sigmoid)):
        own = "sigmoid" if loss.binary else "softmax"
        warn(
            f"the model ends with {last!r}, but {loss!r} expects logits and applies {own} itself: training "
            "will be slower and less accurate; remove that layer"
        )


def check_data(
    model: Layer,
    loss: Loss,
    data: Data,
    scale: float | None,
    *,
    like: Samples | None = None,
    where: str = "",
    keep_mapped: bool = False,
    learn_classes: bool = False,
    batch_of: Samples | None = None,
    may_weigh_nothing: bool = False,
) -> Samples:
    """Check the data set (x, y) or (x, y, sample_weight) against model and loss; no array is changed.

    The features are scaled as in the training of the model, or, before it, as those of `like`; so are the
    labels encoded. `where` begins every error message. With `keep_mapped`, memory-mapped arrays and sources
    such as sparse matrices are read batch by batch. With `learn_classes`, the labels may become the classes
    of a model that has none. A later mini-batch of a stream is scaled like the first one, `batch_of`; with
    `may_weigh_nothing`, all its samples may have weight 0.

    Raises TypeError or ValueError for data that do not fit.
    """
    check_model(model)
    try:
        x, y, weight = _parts(data)
        array = feature_rows(x, "x")
        rows = features(array, model.dtype, keep_mapped=keep_mapped)
        same_length(rows, as_array(y, "y"))
        if weight is not None:
            weight = sample_weights(weight, len(rows), model.dtype, may_all_be_0=may_weigh_nothing)
        outputs = model.output_shape(rows.shape[1:])
        classes = classes_of(model) or (None if like is None else like.classes)
        counted = loss.counted(y, outputs)
        if counted is None:
            labels, classes = _encoded(loss, y, outputs, classes, learn_classes)
        else:  # the labels that count are the numbers of the outputs
            labels, classes = y, None
        target = loss.targets(labels, outputs, model.dtype)
        if weight is not None and counted is None and loss.weighs_targets(target):
            counted = np.ones(target.shape, bool)
        weight = _weights_of_counted(weight, counted, model.dtype, may_all_be_0=may_weigh_nothing)
        if not keep_mapped:
            target = loaded(target, model.dtype)
        if batch_of is None:
            fed = feeding_of(model) or (None if like is None else like.feeding)
            factor, feeding = follow(fed, array, scale, model.index_limit)
        else:
            factor, feeding = batch_of.scale, batch_of.feeding
    except (TypeError, ValueError) as error:
        error.args = (f"{where}{error}",)
        raise
    return Samples(rows, target, factor, model.dtype, feeding, (x, y), where, weight, classes)


def _encoded(
    loss: Loss, y: npt.ArrayLike, outputs: Shape, known: Classes | None, learn: bool
) -> tuple[npt.ArrayLike, Classes | None]:
    """Encode labels for a loss that classifies; a loss that converts its targets in its own way gets `y`."""
    count = loss.class_count(outputs)
    if count < 2 or not type(loss).targets.__module__.startswith("fastnn."):
        return y, None
    if len(outputs) > 1 and (array := as_array(y, "y")).ndim == len(outputs):  # labels per pixel
        labels, classes = encode(array.reshape(-1), known, count, learn=learn)
        return np.reshape(labels, array.shape), classes
    return encode(y, known, count, learn=learn)


def _weights_of_counted(
    weight: Array | None, counted: Array | None, dtype: np.dtype[Any], *, may_all_be_0: bool
) -> Array | None:
    """Return the weights, in the shape of `counted`, 0 for what does not count; None if all are 1.

    Raises ValueError if all are 0, unless they may be.
    """
    if counted is None:
        return weight
    kept = counted.astype(dtype)
    if weight is not None:
        kept *= weight.reshape(-1, *(1,) * (counted.ndim - 1))
    if not (may_all_be_0 or kept.any()):
        raise ValueError("no sample counts: all labels are the ignore_index of the loss, or have weight 0")
    return kept


def _parts(data: object) -> tuple[Features, npt.ArrayLike, npt.ArrayLike | None]:
    """Features, targets and sample weights, or None without weights.

    `data` are two or three arrays, or a data set whose items are samples. Raises TypeError for anything else;
    an array of two rows is no pair.
    """
    if has_items(data):
        rows = ItemRows(cast(Items, data))
        return rows, rows.targets, rows.weights
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return data[0], data[1], data[2] if len(data) == 3 else None
    hint = ""
    if isinstance(data, Mapping):
        hint = ': pass data["train"]' if "train" in data else ': pass (data["x"], data["y"])'
    elif isinstance(data, type):
        hint = " (add parentheses to make an instance)"
    elif is_stream(data):
        hint = ": only fit, evaluate and predict take batches one after the other"
    raise TypeError(
        f"data must be a pair of arrays (x, y), or (x, y, sample_weight), not {_kind_of(data)}{hint}"
    )


def _kind_of(data: object) -> str:
    size = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
    return f"{type(data).__name__}{size}"
