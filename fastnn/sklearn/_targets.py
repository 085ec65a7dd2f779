"""The targets of an estimator: class labels of any type, indicators of several labels, or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit, softmax
from sklearn.utils.multiclass import type_of_target, unique_labels

from fastnn._validation import Array


class ClassTargets:
    """Class labels and how they are encoded for the network.

    Two classes become one output with targets 0 and 1, more classes one output each with integer labels. A
    label indicator matrix (N, C) becomes C outputs with targets 0 and 1.
    """

    def __init__(self, classes: Array, *, multilabel: bool) -> None:
        self.classes = classes
        self.multilabel = multilabel

    @classmethod
    def of(cls, y: Any, classes: Any = None) -> ClassTargets:
        """The encoding for the labels `y`; `classes` names all classes if `y` may lack some."""
        known = unique_labels(y) if classes is None else unique_labels(classes)
        return cls(known, multilabel=type_of_target(y) == "multilabel-indicator")

    @property
    def binary(self) -> bool:
        """Whether each output decides between yes and no."""
        return self.multilabel or len(self.classes) <= 2

    @property
    def outputs(self) -> int:
        """The number of outputs of the network."""
        return 1 if self.binary and not self.multilabel else len(self.classes)

    def encode(self, y: Any) -> Array:
        """The targets of the network for the labels `y`. Raises ValueError for labels that are no classes."""
        if self.multilabel:
            return np.asarray(y.toarray() if issparse(y) else y, np.float64)
        labels = np.ravel(y)
        index = np.searchsorted(self.classes, labels)
        found = np.minimum(index, len(self.classes) - 1)
        unknown = self.classes[found] != labels
        if unknown.any():
            raise ValueError(
                f"`y` has labels that are not in `self.classes_`: {np.unique(labels[unknown])} instead of "
                f"{self.classes}"
            )
        return found.astype(np.float64) if self.binary else found.astype(np.int64)

    def decode(self, outputs: Array) -> Array:
        """The predicted labels for the outputs (N, ...) of the network, which are logits."""
        if self.multilabel:
            return (outputs > 0).astype(np.int64)
        index = (outputs[:, 0] > 0).astype(np.int64) if self.binary else outputs.argmax(axis=1)
        chosen: Array = self.classes[np.minimum(index, len(self.classes) - 1)]
        return chosen

    def probabilities(self, outputs: Array) -> Array:
        """The probability of each class, (N, classes), for the outputs of the network."""
        if self.multilabel:
            return np.asarray(expit(outputs))
        if len(self.classes) == 1:
            return np.ones_like(outputs)
        if self.binary:
            yes = expit(outputs)
            return np.hstack([1 - yes, yes])
        return np.asarray(softmax(outputs, axis=1))
