"""The order of the samples in an epoch: an array of indices, a function of (key, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn import rng
from fastnn._sources.base import WINDOW
from fastnn._validation import Array, choose
from fastnn.metrics import are_pixel_labels, has_classes
from fastnn.training.streams import ORDER_OF_SAMPLES

Generator = np.random.Generator


def order_of(shuffle: bool, order: str | None, *, sequential: bool = False) -> str:
    """The name of the order, from the two arguments of `fit`; `sequential` rows are slow in random order.

    Raises ValueError for an unknown name, and if the arguments contradict each other.
    """
    if not isinstance(shuffle, (bool, np.bool)):
        raise ValueError(f"shuffle must be True or False, not {shuffle!r}")
    if order is None:
        return "fixed" if not shuffle else "blocks" if sequential else "random"
    choose(order, ORDERS, "order")
    if not shuffle and order != "fixed":
        raise ValueError(
            f"shuffle=False means order='fixed', but order={order!r} was passed: drop one of the two"
        )
    if sequential and order not in ("blocks", "fixed"):
        raise ValueError(
            f"order={order!r} would read most of the file for each mini-batch: use order='blocks' or "
            "'fixed', or load the features into memory"
        )
    return order


def check_order(order: str, target: Array) -> None:
    """Raise ValueError if the order needs classes and the targets do not name them."""
    if order in OF_CLASSES:
        _classes(order, target)


def indices(order: str, target: Array, key: int, epoch: int, blocks: Array | None = None) -> Array:
    """The indices of the samples of an epoch, int64 (N,); `target` are checked targets.

    `blocks` are the numbers of the blocks of rows that are read together, ascending (None: a single block).
    """
    generator = rng.counter_generator(key, ORDER_OF_SAMPLES, epoch)
    if order in OF_CLASSES:
        return OF_CLASSES[order](_classes(order, target), generator)
    if order == "blocks":
        return _blocks(np.zeros(len(target), np.int64) if blocks is None else blocks, generator)
    return np.arange(len(target)) if order == "fixed" else generator.permutation(np.arange(len(target)))


def _blocks(numbers: Array, generator: Generator) -> Array:
    """The blocks in random order, and the rows of each `WINDOW` successive ones in random order."""
    blocks = np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers)) + 1)
    mixed = generator.permutation(len(blocks))
    windows = (mixed[first : first + WINDOW] for first in range(0, len(mixed), WINDOW))
    return np.concatenate(
        [generator.permutation(np.concatenate([blocks[number] for number in window])) for window in windows]
    )


def _alternate(labels: Array, generator: Generator) -> Array:
    """One sample of each class in turn, in the order of the classes, without classes that have run out.

    Each sample is used once; which sample of a class comes next is random.
    """
    shuffled = generator.permutation(len(labels))
    by_class = np.argsort(labels[shuffled], kind="stable")
    sizes = np.unique(labels, return_counts=True)[1]
    rank = np.empty(len(labels), np.int64)  # the number of samples of its class before it
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return shuffled[np.lexsort((labels[shuffled], rank))]


def _balanced(labels: Array, generator: Generator) -> Array:
    """Each class equally often, in random order; N samples in total, samples of small classes repeated.

    Within a class, all samples are used equally often, up to one. If N is not a multiple of the number of
    classes, the classes that get one more are drawn at random.
    """
    classes, of_class = np.unique(labels, return_inverse=True)
    members = [np.flatnonzero(of_class == index) for index in range(len(classes))]
    counts = np.full(len(classes), len(labels) // len(classes))
    counts[generator.permutation(len(classes))[: len(labels) % len(classes)]] += 1
    chosen = []
    for own, count in zip(members, counts, strict=True):
        rounds = [generator.permutation(own) for _ in range(-(-count // len(own)))]
        chosen.append(np.concatenate(rounds or [own[:0]])[:count])
    return generator.permutation(np.concatenate(chosen))


OF_CLASSES: dict[str, Callable[[Array, Generator], Array]] = {"alternate": _alternate, "balanced": _balanced}
ORDERS = {
    "random": "all samples in random order",
    "fixed": "all samples in the order of the data",
    "blocks": "blocks of neighbouring rows in random order, rows mixed within a few blocks: for files",
    "alternate": "one sample of each class in turn",
    "balanced": "each class equally often, in random order",
}


def class_labels(target: Array) -> Array | None:
    """The label of each sample; None if the targets do not name classes."""
    if target.ndim == 2 and target.shape[1] == 1 and bool(((target == 0) | (target == 1)).all()):
        return target[:, 0].astype(np.int64)  # targets of a binary loss
    if are_pixel_labels(target) or not has_classes(target):
        return None
    return target if target.ndim == 1 else target.argmax(axis=1)


def _classes(order: str, target: Array) -> Array:
    """The label of each sample. Raises ValueError if the targets do not name classes."""
    labels = class_labels(target)
    if labels is None:
        raise ValueError(
            f"order={order!r} needs classes, but the targets do not name them: pass labels or one-hot rows"
        )
    return labels
