"""Remember which label each output of a model stands for.

Labels may be integers, text or bools. `fit` learns the classes of a model from the first labels that it is
trained on, and `predict_classes` returns labels of the same kind:

- integers from 0 to C - 1, for C outputs, are the numbers of the outputs;
- C other labels, such as 1..C or text, become the classes in sorted order;
- a pandas categorical keeps the order of its categories; bools are the classes False and True.

The classes are fixed then: other labels are an error, in training as in `evaluate`. They are stored with the
last parameter, which belongs to the output layer, so a model with a new output layer learns new ones, and a
copy, a pickle, a weight file and a checkpoint keep them.
"""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._arrays import Array, as_array, position
from fastnn._validation import positive_int

# More classes are a mistake: the labels are numbers of something else, such as customers.
MOST_CLASSES = 2**20

SHOWN = 5  # labels in a message
KINDS = {"U": "text", "i": "integers", "b": "bools"}


class HasParameters(Protocol):
    def parameters(self) -> Sequence[Any]: ...


@dataclass(frozen=True, eq=False)
class Classes:
    """The labels of the outputs of a model, (C,): text, int64 or bools, all different."""

    labels: Array
    numbered: bool = False
    """Whether each label is the number of its output."""

    def __len__(self) -> int:
        return len(self.labels)

    def encode(self, labels: Array) -> Array:
        """The outputs (N,), int64, that the labels (N,) stand for. Raises ValueError for unknown labels."""
        order = np.argsort(self.labels)
        near = np.searchsorted(self.labels, labels, sorter=order)
        found: Array = order[np.minimum(near, len(self) - 1)]
        unknown = self.labels[found] != labels
        if unknown.any():
            raise ValueError(
                f"y has labels that are no classes of the model: {_listed(np.unique(labels[unknown]))}, "
                f"first in {position((int(unknown.argmax()),))}; its classes are {_listed(self.labels)}. A "
                "model learns its classes in its first training: set model.classes to name others"
            )
        return found

    def decode(self, found: Array, outputs: int) -> Array:
        """The labels of the outputs `found`, of `outputs` in all. Raises ValueError for another number."""
        self.check_count(max(outputs, 2))
        labels: Array = found if self.numbered else self.labels[found]
        return labels

    def check_count(self, count: int) -> None:
        """Raise ValueError unless there are `count` classes."""
        if len(self) != count:
            raise ValueError(
                f"the outputs of the model decide between {count} classes, but model.classes has {len(self)} "
                f"labels: {_listed(self.labels)}. Set model.classes to {count} labels, or to None"
            )


@lru_cache
def numbered(count: int) -> Classes:
    """The classes 0, 1, ..., count - 1."""
    return Classes(np.arange(count), numbered=True)


def class_count(labels: Array, classes: int | None, *, most: int = MOST_CLASSES) -> int:
    """Return the number of classes of integer labels: `classes`, or else the largest label + 1.

    Raises ValueError unless `classes` is a positive integer, all labels are in [0, classes), and there are at
    most `most` classes.
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, -1)
    if classes is None and low < 0:
        raise ValueError(f"labels must be at least 0, not {low}")
    count = high + 1 if classes is None else positive_int(classes, "classes")
    if low < 0 or high >= count:
        raise ValueError(f"labels must be from 0 to {count - 1}, not from {low} to {high}")
    check_count(count, f"the label {high}" if classes is None else f"classes={classes}", most)
    return count


def check_count(count: int, cause: str, most: int) -> None:
    """Raise ValueError, which names the cause, if there are more than `most` classes."""
    if count > most:
        raise ValueError(
            f"{cause} makes {count:,} classes, but at most {most:,} are possible here: are labels numbers of "
            "classes, from 0? Number others with np.unique(y, return_inverse=True)"
        )


def classes_from(labels: Any) -> Classes:
    """The classes with these labels, in this order.

    Raises TypeError or ValueError unless there are at least 2 labels, all text, all integers or all bools,
    and all different.
    """
    values = labels if isinstance(labels, Iterable) and not isinstance(labels, str) else None
    some = [] if values is None else list(itertools.islice(values, MOST_CLASSES + 1))
    if len(some) > MOST_CLASSES:
        raise ValueError(f"classes must be at most {MOST_CLASSES:,} labels, got more")
    found = None if values is None else _labels(np.array(some, object))
    if found is None or len(found) < 2:
        raise TypeError(
            "classes must be a list of at least 2 labels, one per output, all text, all integers or all "
            f"bools, got {reprlib.repr(labels)}"
        )
    unique, counts = np.unique(found, return_counts=True)
    if len(unique) < len(found):
        raise ValueError(f"the labels of classes must differ: {_listed(unique[counts > 1])} occurs twice")
    plain = numbered(len(found))
    return plain if found.dtype.kind == "i" and np.array_equal(found, plain.labels) else Classes(found)


def classes_of(model: HasParameters) -> Classes | None:
    """The classes of the model; None if it was not trained on labels yet."""
    params = model.parameters()
    return params[-1].classes if params else None


def set_classes(model: HasParameters, classes: Classes | None) -> None:
    """Set what `classes_of` returns; a model without parameters remembers nothing."""
    for last in model.parameters()[-1:]:
        if last.classes is not classes:
            last.classes = classes


def classes_to_list(model: HasParameters) -> list[Any] | None:
    """The classes of the model for a file, which `classes_from` reads; None if it has none."""
    classes = classes_of(model)
    return None if classes is None else classes.labels.tolist()


def encode(
    y: npt.ArrayLike, known: Classes | None, count: int, *, learn: bool
) -> tuple[npt.ArrayLike, Classes | None]:
    """The targets of a classification loss for the labels `y`, and the classes of a model trained on them.

    `known` are the classes of the model so far, and its outputs decide between `count` classes. With `learn`,
    a model without classes takes those in `y`; otherwise, as a mini-batch may lack some, only the categories
    of a pandas categorical and bools. Soft targets, and whatever the loss rejects, are returned as they are.

    Raises TypeError or ValueError for labels of another kind or number, and for missing or unknown ones.
    """
    if known is not None:
        known.check_count(count)
    categories = _categories(y)
    labels = _labels(_array_of(y)) if categories is None else _labels_of_categorical(y, categories)
    if labels is None or not len(labels):
        return y, known or numbered(count)
    chosen = known or _learned(labels, categories, count, learn)
    if chosen.numbered and labels.dtype.kind == "i":
        return y if categories is None else labels, chosen
    kinds = {labels.dtype.kind, chosen.labels.dtype.kind}
    if len(kinds) > 1 and not (kinds == {"b", "i"} and count == 2):
        raise TypeError(
            f"labels must be {KINDS[chosen.labels.dtype.kind]}, as the classes of the model are "
            f"({_listed(chosen.labels)}), not {KINDS[labels.dtype.kind]} such as {labels[0].item()!r}"
        )
    return chosen.encode(labels), chosen


def numbers_of_text(predicted: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Array, Array, list[str]] | None:
    """Two arrays of text labels (N,) as indices of all names, and the names; None for other labels."""
    first, second = as_array(predicted, "outputs"), as_array(true, "targets")
    if not all(array.ndim == 1 and array.dtype.kind in "UTO" for array in (first, second)):
        return None
    labels = [array for array in (_labels(first), _labels(second)) if array is not None]
    if [array.dtype.kind for array in labels] != ["U", "U"]:
        return None
    names, index = np.unique(np.concatenate(labels), return_inverse=True)
    return index[: len(first)], index[len(first) :], names.tolist()


def _learned(labels: Array, categories: Array | None, count: int, learn: bool) -> Classes:
    """The classes that a model of `count` classes learns from its first labels."""
    kind = labels.dtype.kind
    if categories is not None:
        values = categories
    elif kind == "b":
        values = np.array([False, True])
    elif kind == "i" and ((labels.min() >= 0 and labels.max() < count) or not learn):
        return numbered(count)  # if a label is out of range, the loss says so
    elif not learn:
        raise ValueError(
            "y has text as labels, and the model does not know its classes yet: name them with "
            "model.classes = [...], one label per output, or train it with fn.fit on arrays"
        )
    else:
        values = np.unique(labels)
    if len(values) == count:
        return classes_from(values)
    if kind == "i" and categories is None:
        return numbered(count)
    unused = "" if categories is None else " (y.cat.remove_unused_categories() drops unused ones)"
    raise ValueError(
        f"y has {len(values)} classes, {_listed(values)}, but the outputs of the model decide between "
        f"{count}: change the number of outputs, or name {count} classes with model.classes = [...]{unused}"
    )


def _categories(y: object) -> Array | None:
    """The categories of a pandas categorical; None for anything else. Raises TypeError for floats, dates."""
    found = getattr(getattr(y, "dtype", None), "categories", None)
    if found is None or not (hasattr(y, "cat") or hasattr(y, "codes")):
        return None
    categories = _labels(np.array(list(found), object))
    if categories is None:
        raise TypeError(
            f"the categories of y must be text, integers or bools, got {reprlib.repr(list(found))}: convert "
            "them with y.astype(str).astype('category')"
        )
    return categories


def _labels_of_categorical(y: Any, categories: Array) -> Array:
    codes = np.asarray(y.cat.codes if hasattr(y, "cat") else y.codes)
    if (codes < 0).any():
        where = position((int((codes < 0).argmax()),))
        raise TypeError(f"the label in {where} of y is missing: drop such samples")
    labels: Array = categories[codes]
    return labels


def _array_of(y: npt.ArrayLike) -> Array:
    """The labels as an array, in which NumPy has not turned the NaN of ["a", nan] into text."""
    array = as_array(y, "y")
    return np.array(y, object) if array.dtype.kind == "U" and isinstance(y, (list, tuple)) else array


def _labels(array: Array) -> Array | None:
    """The labels (N,) as text, int64 or bools; None if the array has no labels.

    Raises TypeError if text is mixed with other values, such as None for a missing label.
    """
    kind = array.dtype.kind
    if array.ndim != 1:
        return None
    if kind in "iu":
        fits = kind == "i" or array.dtype.itemsize < 8 or not len(array) or int(array.max()) < 2**63
        return array.astype(np.int64, copy=False) if fits else None
    if kind in "bU":
        return array
    return _labels_of_objects(array.astype(object)) if kind in "OT" else None


def _labels_of_objects(array: Array) -> Array | None:
    """The same for an array of Python objects."""
    kinds = np.array([_kind_of(value) for value in array], "U1")
    if not len(kinds) or (kinds != kinds[0]).any():
        if "U" in kinds:
            odd = int((kinds != "U").argmax())
            raise TypeError(
                f"labels must be all text, but {array[odd]!r} in {position((odd,))} is missing or no text: "
                "drop such samples, or use y.astype(str)"
            )
        return None
    try:
        return array.astype({"U": str, "b": bool, "i": np.int64}[str(kinds[0])])
    except (KeyError, OverflowError):
        return None


def _kind_of(value: object) -> str:
    """The kind of a label: a key of `KINDS`, or "" for anything else."""
    if isinstance(value, str):
        return "U"
    if isinstance(value, (bool, np.bool)):
        return "b"
    return "i" if isinstance(value, (int, np.integer)) else ""


def _listed(labels: Array) -> str:
    """The labels for a message: the first ones, and how many there are."""
    shown = ", ".join(reprlib.repr(label) for label in labels[:SHOWN].tolist())
    return shown if len(labels) <= SHOWN else f"{shown}, ... ({len(labels)} in all)"
