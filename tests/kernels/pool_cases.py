"""The cases of the pools."""

import numpy as np

from .case import Case
from .convolution import Convolution


def pooling(images, window, stride=None, padding=(0, 0)):
    """Windows over images (N, H, W, C); they move on by their own size unless `stride` says otherwise."""
    return Convolution(images, (*window, images[3]), stride or window, padding)


def geometry(pool):
    """window, stride, padding."""
    return pool.filters[:2], pool.stride, pool.padding


def integers(dtype):
    """The type of the taps beside floats of this type."""
    return np.dtype(f"i{np.dtype(dtype).itemsize}")


def with_ties(x, rng):
    """Few different values, so that several are the largest of a window, and some nan."""
    x = x.round()
    x[rng.random(x.shape) < 0.05] = np.nan
    x[rng.random(x.shape) < 0.05] = -np.inf
    return x


def max_pool_forward(a, pool, ties):
    x = a(*pool.images)
    taps = np.full(pool.outputs, -7, integers(a.dtype))
    return with_ties(x, a.rng) if ties else x, *geometry(pool), a.poison(*pool.outputs), taps


def max_pool_dx(a, pool):
    """Some of the taps are out of range, or lie outside of the image."""
    places = pool.filters[0] * pool.filters[1]
    taps = a.rng.integers(-1, places + 1, pool.outputs).astype(integers(a.dtype))
    taps[a.rng.random(taps.shape) < 0.01] = np.iinfo(taps.dtype).max
    taps[a.rng.random(taps.shape) < 0.01] = np.iinfo(taps.dtype).min
    return a(*pool.outputs), taps, *geometry(pool), a.poison(*pool.images)


def avg_pool_forward(a, pool, count_padding):
    return a(*pool.images), *geometry(pool), count_padding, a.poison(*pool.outputs)


def avg_pool_dx(a, pool, count_padding):
    return a(*pool.outputs), *geometry(pool), count_padding, a.poison(*pool.images)


POOLINGS = (
    pooling((1, 1, 1, 1), (1, 1)),
    pooling((2, 4, 4, 3), (2, 2)),
    pooling((2, 5, 7, 5), (2, 2)),  # rows and columns that no window sees
    pooling((1, 7, 6, 17), (3, 3), (2, 2), (1, 1)),
    pooling((2, 6, 5, 4), (3, 2), (1, 1), (1, 0)),
    pooling((2, 5, 8, 4), (2, 5), (1, 3), (0, 2)),
    pooling((1, 9, 10, 2), (2, 2), (3, 4)),  # pixels between the windows
    pooling((2, 5, 4, 33), (5, 4)),  # the window is the image
    pooling((1, 3, 3, 2), (2, 2), (1, 1), (3, 2)),  # windows that see nothing
    pooling((2, 2, 3, 2), (5, 4), (1, 2), (2, 2)),  # windows larger than the image
    pooling((1, 4, 29, 65), (3, 3), (1, 1), (1, 1)),
    pooling((3, 1, 40, 16), (1, 7), (1, 2), (0, 3)),
    pooling((2, 7, 23, 1), (2, 2)),  # few channels: whole vectors that reach into later pixels
    pooling((2, 9, 17, 6), (3, 2)),
    pooling((2, 5, 39, 12), (2, 2)),  # several periods of a narrow row of windows
    pooling((1, 7, 14, 15), (3, 3)),
    pooling((1, 4, 15, 15), (2, 7)),  # a period that is too long
    pooling((2, 4, 6, 24), (2, 2)),  # the last vectors of channels overlap
    pooling((0, 5, 5, 2), (2, 2)),
    pooling((2, 0, 0, 2), (2, 2)),
    pooling((2, 5, 5, 0), (2, 2)),
    Convolution((2, 1, 1, 2), (2, 2, 2), (2, 2)),  # no window fits
)


def cases():
    for pool in POOLINGS:
        yield Case("max_pool_forward", max_pool_forward, (pool, False))
        yield Case("max_pool_forward", max_pool_forward, (pool, True))
        yield Case("max_pool_dx", max_pool_dx, (pool,))
        for count_padding in (True, False):
            yield Case("avg_pool_forward", avg_pool_forward, (pool, count_padding))
            yield Case("avg_pool_dx", avg_pool_dx, (pool, count_padding))


def large():
    """Worth several threads, of odd sizes."""
    for pool in (
        pooling((11, 31, 29, 41), (2, 2)),
        pooling((5, 33, 31, 67), (3, 3), (2, 2), (1, 1)),
        pooling((39, 39, 41, 6), (2, 2)),
        pooling((29, 19, 21, 37), (19, 21)),
    ):
        yield Case("max_pool_forward", max_pool_forward, (pool, True))
        yield Case("max_pool_dx", max_pool_dx, (pool,))
        for count_padding in (True, False):
            yield Case("avg_pool_forward", avg_pool_forward, (pool, count_padding))
            yield Case("avg_pool_dx", avg_pool_dx, (pool, count_padding))


def at_walls(sizes):
    """Channels of the given sizes, and one case on several threads."""
    pools = [pooling((2, 5, 4, channels), (3, 2), (2, 1), (1, 1)) for channels in sizes]
    for pool in (*POOLINGS, *pools, pooling((5, 17, 19, 33), (2, 3))):
        yield Case("max_pool_forward", max_pool_forward, (pool, False))
        yield Case("max_pool_dx", max_pool_dx, (pool,))
        for count_padding in (True, False):
            yield Case("avg_pool_forward", avg_pool_forward, (pool, count_padding))
            yield Case("avg_pool_dx", avg_pool_dx, (pool, count_padding))
