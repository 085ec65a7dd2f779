"""The order in which an epoch takes the samples: an array of indices, drawn from (key, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn import rng
from fastnn._validation import Array, choose
from fastnn.metrics import has_classes

Generator = np.random.Generator

# What is drawn for the orders, apart from all else that is drawn from a training key.
ORDER_OF_SAMPLES = 0


def order_of(shuffle: bool, order: str | None) -> str:
    """The name of an order, from the two arguments of `fit`.

    Raises ValueError for an unknown name, and where they contradict each other.
    """
    if order is None:
        return "random" if shuffle else "fixed"
    choose(order, ORDERS, "order")
    if not shuffle and order != "fixed":
        raise ValueError(
            f"shuffle=False means order='fixed', but order={order!r} is asked for: drop one of them"
        )
    return order


def check_order(order: str, target: Array) -> None:
    """Raise ValueError if the order is one of classes, and the targets name none."""
    if order in OF_CLASSES:
        _classes(order, target)


def indices(order: str, target: Array, key: int, epoch: int) -> Array:
    """The indices of all samples, or as many, in this order, int64; targets as they passed the door."""
    generator = rng.counter_generator(key, ORDER_OF_SAMPLES, epoch)
    if order in OF_CLASSES:
        return OF_CLASSES[order](_classes(order, target), generator)
    return np.arange(len(target)) if order == "fixed" else generator.permutation(np.arange(len(target)))


def _alternate(labels: Array, generator: Generator) -> Array:
    """One of each class in turn, in the order of the classes; those that have run out are left out.

    Each sample comes once; which one of a class is drawn.
    """
    shuffled = generator.permutation(len(labels))
    by_class = np.argsort(labels[shuffled], kind="stable")
    sizes = np.unique(labels, return_counts=True)[1]
    rank = np.empty(len(labels), np.int64)  # how many of its class come before
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return shuffled[np.lexsort((labels[shuffled], rank))]


def _balanced(labels: Array, generator: Generator) -> Array:
    """Each class equally often, in random order: as many samples as there are, small classes repeated.

    Of a class no sample comes once more than another before all have come as often. Where the number of
    samples is no multiple of that of the classes, which classes get one more is drawn.
    """
    classes, of_class = np.unique(labels, return_inverse=True)
    members = [np.flatnonzero(of_class == index) for index in range(len(classes))]
    wanted = np.full(len(classes), len(labels) // len(classes))
    wanted[generator.permutation(len(classes))[: len(labels) % len(classes)]] += 1
    chosen = []
    for own, count in zip(members, wanted, strict=True):
        rounds = [generator.permutation(own) for _ in range(-(-count // len(own)))]
        chosen.append(np.concatenate(rounds or [own[:0]])[:count])
    return generator.permutation(np.concatenate(chosen))


OF_CLASSES: dict[str, Callable[[Array, Generator], Array]] = {"alternate": _alternate, "balanced": _balanced}
ORDERS = {
    "random": "all samples in random order",
    "fixed": "all samples as they come",
    "alternate": "one of each class in turn",
    "balanced": "each class equally often, in random order",
}


def _classes(order: str, target: Array) -> Array:
    """The label of each sample. Raises ValueError where the targets name no classes."""
    if target.ndim == 2 and target.shape[1] == 1 and bool(((target == 0) | (target == 1)).all()):
        return target[:, 0].astype(np.int64)  # a binary loss's
    if not has_classes(target):
        raise ValueError(
            f"order={order!r} goes by classes, but the targets name none: labels (N,) or one-hot rows are "
            "wanted"
        )
    return target if target.ndim == 1 else target.argmax(axis=1)
