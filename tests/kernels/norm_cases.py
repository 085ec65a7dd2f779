"""The cases of batch and layer normalisation."""

import numpy as np

from .case import Case

EPSILON = 1e-5


def batch_moments(a, shape):
    return a(*shape), a.poison(shape[1]), a.poison(shape[1])


def running_moments(a, channels, count, momentum):
    mean, running_mean = a(channels), a(channels)
    var, running_var = np.abs(a(channels)), np.abs(a(channels))
    return mean, var, count, momentum, running_mean, running_var, a.poison(2, channels)


def batch_norm_forward(a, shape, affine):
    C = shape[1]
    gamma, beta = (a(C), a(C)) if affine else (None, None)
    return a(*shape), a(C), np.abs(a(C)), gamma, beta, EPSILON, a.poison(*shape)


def batch_norm_sums(a, shape):
    C = shape[1]
    return a(*shape), a(*shape), a(C), np.abs(a(C)) + 1, EPSILON, a.poison(C), a.poison(C)


def batch_norm_dx(a, shape, affine, constant):
    """With `constant` moments there are no sums to take into account."""
    C = shape[1]
    sums = (None, None) if constant else (a(C), a(C))
    gamma = a(C) if affine else None
    return a(*shape), a(*shape), a(C), np.abs(a(C)) + 1, gamma, EPSILON, *sums, a.poison(*shape)


def layer_norm_forward(a, shape, affine):
    gamma, beta = (a(shape[1]), a(shape[1])) if affine else (None, None)
    return a(*shape), gamma, beta, EPSILON, a.poison(*shape), a.poison(shape[0], 2)


def layer_norm_dx(a, shape, affine):
    gamma = a(shape[1]) if affine else None
    return a(*shape), a(*shape), gamma, a(shape[0], 2), a.poison(*shape)


def layer_norm_dw(a, shape):
    return a(*shape), a(*shape), a(shape[0], 2), a.poison(shape[1]), a.poison(shape[1])


# Rows and channels: unit, odd, around chunks of 64 rows and around vectors and blocks of them, empty.
ROWS = (
    *((1, 1), (2, 1), (5, 3), (63, 15), (64, 16), (65, 17), (129, 33), (200, 67), (3, 130), (2, 257)),
    *((1000, 2), (0, 5), (5, 0)),
)


def cases_of(shape):
    yield Case("batch_moments", batch_moments, (shape,))
    yield Case("batch_norm_sums", batch_norm_sums, (shape,))
    yield Case("layer_norm_dw", layer_norm_dw, (shape,))
    for affine in (True, False):
        yield Case("batch_norm_forward", batch_norm_forward, (shape, affine))
        yield Case("batch_norm_dx", batch_norm_dx, (shape, affine, False))
        yield Case("batch_norm_dx", batch_norm_dx, (shape, affine, True))
        yield Case("layer_norm_forward", layer_norm_forward, (shape, affine))
        yield Case("layer_norm_dx", layer_norm_dx, (shape, affine))


def cases():
    for shape in ROWS:
        yield from cases_of(shape)
    for channels in (1, 5, 16, 33, 67, 0):
        for count, momentum in ((2, 0.1), (100, 0.0), (1000, 1.0)):
            yield Case("running_moments", running_moments, (channels, count, momentum))


def large():
    """Worth several threads, of odd sizes; but for the running moments, which one thread moves."""
    for shape in ((9001, 41), (1003, 513), (100003, 4)):
        yield from cases_of(shape)
    yield Case("running_moments", running_moments, (1003, 100, 0.1))


def at_walls(sizes):
    """Channels of the given sizes, and some cases on several threads."""
    for shape in (*((rows, channels) for rows in (1, 3, 65) for channels in sizes), (701, 131)):
        yield from cases_of(shape)
    for channels in sizes:
        yield Case("running_moments", running_moments, (channels, 10, 0.1))
