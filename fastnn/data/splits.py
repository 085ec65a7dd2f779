"""Split a data set into two parts, such as training and validation set."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastnn._arrays import as_array

X = TypeVar("X", bound=np.generic)
Y = TypeVar("Y", bound=np.generic)
Parts = tuple[tuple[NDArray[X], NDArray[Y]], tuple[NDArray[X], NDArray[Y]]]


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
