"""Split a data set into parts, such as training and validation set, and choose a part of it."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastnn._arrays import as_array

X = TypeVar("X", bound=np.generic)
Y = TypeVar("Y", bound=np.generic)
Part = tuple[NDArray[X], NDArray[Y]]
Parts = tuple[Part[X, Y], Part[X, Y]]


def holdout(x: NDArray[X], y: NDArray[Y], n: int, *, seed: int | None = None) -> Parts[X, Y]:
    """Hold out the last n of N samples: returns ((x[:N-n], y[:N-n]), (x[N-n:], y[N-n:])).

    x (N, ...) and y (N, ...) may have any dtype. The parts are views of x and y. With a seed, the samples
    are shuffled first and the parts are copies.

    Raises ValueError unless x and y have the same length and 0 < n < N.
    """
    x, y = _paired(x, y)
    size = len(y)
    if not (isinstance(n, int | np.integer) and 0 < n < size):
        raise ValueError(
            f"n, the number of samples to hold out, must be an integer from 1 to {size - 1}, not {n!r}"
        )
    if seed is not None:
        order = np.random.default_rng(seed).permutation(size)
        x, y = x[order], y[order]
    first = size - int(n)
    return (x[:first], y[:first]), (x[first:], y[first:])


def stratified(x: NDArray[X], y: NDArray[Y], fraction: float, *, seed: int | None = None) -> Parts[X, Y]:
    """Split a data set so that both parts have the same class frequencies.

    The first part gets the first floor(fraction * n) of the n samples of each class, the second part the
    others. Both parts keep the order of the samples. A product that rounding errors alone keep below an
    integer counts as that integer: 0.29 * 100 is 28.999999999999996 in float64.

    Args:
        x: Samples (N, ...) of any dtype.
        y: Labels, integers (N,).
        fraction: Fraction of the samples for the first part, between 0 and 1 (exclusive).
        seed: Shuffle the samples first, with this seed. Default: no shuffling.

    Returns:
        ((x_first, y_first), (x_second, y_second)), copies.

    Raises:
        ValueError: If x and y differ in length, y does not have integer labels, the fraction is out of range,
            or the first part would be empty.
    """
    x, y = _paired(x, y)
    size = len(y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y must be integer labels of shape (N,), not {y.dtype} of shape {y.shape}")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction, for the first part, must be between 0 and 1, not {fraction!r}")
    order = np.arange(size) if seed is None else np.random.default_rng(seed).permutation(size)
    labels = y[order]
    in_first = np.zeros(size, bool)
    rounding = np.finfo(fraction.dtype if isinstance(fraction, np.floating) else np.float64).eps
    rounded_up = float(fraction) * (1 + 4 * float(rounding))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        in_first[members[: math.floor(rounded_up * len(members))]] = True
    if not in_first.any():
        raise ValueError(f"no class has enough samples to give {fraction!r} of them to the first part")
    first, second = order[in_first], order[~in_first]
    return (x[first], y[first]), (x[second], y[second])


def split(
    x: NDArray[X],
    y: NDArray[Y],
    *,
    per_class: Sequence[int],
    seed: int | None = None,
    allow_fewer: bool = False,
) -> tuple[Part[X, Y], ...]:
    """Split a data set into parts with a fixed number of samples of each class.

    >>> train, valid, test = fn.data.split(x, y, per_class=(70, 10, 10), seed=0)

    Each part keeps the order of the samples. Samples beyond the sum of `per_class` are in no part.

    Args:
        x: Samples (N, ...) of any dtype.
        y: Labels (N,), integers or text.
        per_class: Number of samples of each class in each part, at least 1.
        seed: Shuffle the samples first, with this seed. Default: no shuffling.
        allow_fewer: Whether the first part may have fewer samples of a class that has too few for all parts;
            it has at least one.

    Returns:
        (x, y) for each part, copies.

    Raises:
        ValueError: If x and y differ in length, `per_class` or the labels are invalid, or a class has too few
            samples.
    """
    x, y = _labelled(x, y)
    sizes = list(per_class) if isinstance(per_class, (tuple, list, np.ndarray)) else []
    if not sizes or any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in sizes):
        raise ValueError(f"per_class must be a number of at least 1 for each part, not {per_class!r}")
    order = np.arange(len(y)) if seed is None else np.random.default_rng(seed).permutation(len(y))
    labels = y[order]
    part_of = np.full(len(y), -1)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        first = min(int(sizes[0]), len(members) - sum(sizes[1:]))
        if first < (1 if allow_fewer else sizes[0]):
            advice = "" if allow_fewer else ", or pass allow_fewer=True, which takes them from the first part"
            raise ValueError(
                f"class {label} has {len(members)} samples, too few for per_class={tuple(map(int, sizes))}: "
                f"choose fewer{advice}"
            )
        ends = np.cumsum([first, *sizes[1:]])
        for part, (start, end) in enumerate(zip((0, *ends), ends, strict=False)):
            part_of[members[start:end]] = part
    return tuple((x[rows], y[rows]) for rows in (order[part_of == part] for part in range(len(sizes))))


def subset(
    x: NDArray[X],
    y: NDArray[Y],
    *,
    classes: Sequence[Any] | None = None,
    n: int | None = None,
    seed: int | None = None,
) -> Part[X, Y]:
    """Choose the samples of some classes, or a number of them, equally many of each class.

    >>> few = fn.data.subset(x, y, classes=(3, 1), n=31)  # 16 threes and 15 ones

    If `n` is not a multiple of the number of classes, the first of `classes` have one sample more. The labels
    stay as they are, and so does the order of the samples.

    Args:
        x: Samples (N, ...) of any dtype.
        y: Labels (N,), integers or text.
        classes: Labels to keep. Default: all, in increasing order.
        n: Number of samples, at least one for each class. Default: all samples of these classes.
        seed: Shuffle the samples first, with this seed. Default: the first samples of each class.

    Returns:
        (x, y), copies.

    Raises:
        ValueError: If x and y differ in length, a class does not occur or occurs twice in `classes`, or a
            class has too few samples.
    """
    x, y = _labelled(x, y)
    known = np.unique(y).tolist()
    chosen = known if classes is None else _distinct(classes)
    if unknown := [label for label in chosen if label not in known]:
        raise ValueError(f"there are no samples of class {unknown[0]!r}: the labels are {known!r:.80}")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < len(chosen)):
        raise ValueError(f"n must be an integer of at least {len(chosen)}, the number of classes, not {n!r}")
    order = np.arange(len(y)) if seed is None else np.random.default_rng(seed).permutation(len(y))
    labels = y[order]
    kept = np.zeros(len(y), bool)
    for place, label in enumerate(chosen):
        members = np.flatnonzero(labels == label)
        count = len(members) if n is None else (int(n) - place + len(chosen) - 1) // len(chosen)
        if count > len(members):
            raise ValueError(f"n={n} needs {count} samples of class {label!r}, but there are {len(members)}")
        kept[members[:count]] = True
    rows = order[kept]
    return x[rows], y[rows]


def held_out_rows(
    order: NDArray[np.int64], fraction: float, labels: NDArray[np.generic] | None
) -> NDArray[np.int64]:
    """Choose the rounded fraction of the samples, at least 1, to set aside, and return their indices.

    `order` is a random permutation (N,) of the samples, which decides. With `labels` (N,), classes are as
    frequent among the chosen samples as in the data, up to one sample each, and one sample of each class is
    never chosen; otherwise one sample is not. Returns an empty array if this leaves none to choose.
    """
    shuffled = order
    if labels is not None:
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
        shuffled = np.delete(shuffled, np.unique(labels[shuffled], return_index=True)[1])
    else:
        shuffled = shuffled[1:]
    count = min(max(1, round(fraction * len(order))), len(shuffled))
    # Evenly spaced in the order of the classes: each class gives its fraction, up to one sample.
    return shuffled[((np.arange(count) + 0.5) * (len(shuffled) / max(count, 1))).astype(np.int64)]


def _paired(x: NDArray[X], y: NDArray[Y]) -> tuple[NDArray[X], NDArray[Y]]:
    """Convert x and y to arrays. Raises ValueError unless they have the same length, TypeError for masks."""
    x, y = as_array(x, "x"), as_array(y, "y")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(
            f"x and y must have one entry per sample, so shapes (N, ...), not {x.shape} and {y.shape}"
        )
    return x, y


def _labelled(x: NDArray[X], y: NDArray[Y]) -> Part[X, Y]:
    """Check x and y as `_paired` does. Raises ValueError unless y has labels, integers or text, of (N,)."""
    x, y = _paired(x, y)
    if y.ndim != 1 or y.dtype.kind not in "biuU" or not len(y):
        raise ValueError(
            f"y must be at least one label, integers or text of shape (N,), not {y.dtype} of shape {y.shape}"
        )
    return x, y


def _distinct(classes: Sequence[Any]) -> list[Any]:
    """The labels as a list. Raises ValueError unless there is at least one, and each occurs once."""
    labels = np.asarray(classes).tolist() if isinstance(classes, (tuple, list, range, np.ndarray)) else None
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"classes must be labels such as (3, 1), each once, not {classes!r}")
    return list(labels)
