"""Batches one after the other, and trainings on them and on the same arrays."""

import numpy as np

import fastnn as fn

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
Y = np.arange(50) % 3
WEIGHT = np.arange(50) % 4


def small_net(outputs=3):
    fn.manual_seed(0)
    return fn.Sequential(fn.Flatten(), fn.Linear(6, 8), fn.ReLU(), fn.Linear(8, outputs))


def weights_of(model):
    return [param.value for param in model.parameters()]


def batches(*arrays, size=8):
    """A generator function: the arrays, by default X and Y, in batches of `size`."""
    arrays = arrays or (X, Y)

    def pairs():
        for start in range(0, 50, size):
            yield tuple(array[start : start + size] for array in arrays)

    return pairs


def with_odd(item, at=3):
    """A generator function: batch `at`, counted from 0, is the odd `item`, or raises it."""

    def odd():
        for number, batch in enumerate(batches()()):
            if number == at and isinstance(item, Exception):
                raise item
            yield item if number == at else batch

    return odd


class Loader:
    """An iterable that starts again, as PyTorch's DataLoader does."""

    def __init__(self, length=True):
        if length:
            self.__class__ = LoaderWithLength

    def __iter__(self):
        return batches()()


class LoaderWithLength(Loader):
    def __len__(self):
        return 7


def trained(data, **options):
    """History, updates and weights of a training."""
    model = small_net()
    history = fn.fit(model, data, **{"seed": 0, "watch": False, **options})
    return dict(history), history.updates, [each.tobytes() for each in weights_of(model)]


def trained_on_arrays(data=(X, Y), **options):
    return trained(data, batch_size=8, order="fixed", **options)
