"""Splitting a data set into two parts, such as training and validation."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

X = TypeVar("X", bound=np.generic)
Y = TypeVar("Y", bound=np.generic)
Parts = tuple[tuple[NDArray[X], NDArray[Y]], tuple[NDArray[X], NDArray[Y]]]


def holdout(x: NDArray[X], y: NDArray[Y], n: int, *, seed: int | None = None) -> Parts[X, Y]:
    """Hold out the last n of N examples: ((x[:N-n], y[:N-n]), (x[N-n:], y[N-n:])).

    x (N, ...) and y (N, ...) have any dtype. The parts are views; with a seed, the examples are
    shuffled first, and the parts are copies.

    Raises ValueError unless x and y have the same length and 0 < n < N.
    """
    x, y = _paired(x, y)
    size = len(y)
    if not (isinstance(n, int | np.integer) and 0 < n < size):
        raise ValueError(
            f"n, the number of examples held out, must be an integer from 1 to {size - 1}, not {n!r}"
        )
    if seed is not None:
        order = np.random.default_rng(seed).permutation(size)
        x, y = x[order], y[order]
    first = size - int(n)
    return (x[:first], y[:first]), (x[first:], y[first:])


def stratified(x: NDArray[X], y: NDArray[Y], fraction: float, *, seed: int | None = None) -> Parts[X, Y]:
    """Split each class alike: the first int(fraction * n) of its n examples, and the others.

    x (N, ...) has any dtype; y (N,) holds integer labels. Both parts keep the order of the examples;
    with a seed, the examples are shuffled first. The parts are copies.

    Raises ValueError unless x and y have the same length, 0 < fraction < 1, and the first part gets
    at least one example.
    """
    x, y = _paired(x, y)
    size = len(y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y must hold integer labels (N,), not {y.dtype} {y.shape}")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction, the share of the first part, must be between 0 and 1, not {fraction!r}")
    order = np.arange(size) if seed is None else np.random.default_rng(seed).permutation(size)
    labels = y[order]
    in_first = np.zeros(size, bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        in_first[members[: int(fraction * len(members))]] = True
    if not in_first.any():
        raise ValueError(f"no class has enough examples to give {fraction!r} of them to the first part")
    first, second = order[in_first], order[~in_first]
    return (x[first], y[first]), (x[second], y[second])


def _paired(x: NDArray[X], y: NDArray[Y]) -> tuple[NDArray[X], NDArray[Y]]:
    """x and y as arrays. Raises ValueError unless they have the same length."""
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(
            f"x and y must have one entry per example each, not the shapes {x.shape} and {y.shape}"
        )
    return x, y
