"""Random seeds and generators: everything random follows from one seed, with one generator per context.

Everything random in fastnn is drawn from a key. A key comes from a `seed=` argument, or else from the
generator that `manual_seed` sets. The random bits are functions of (key, counter), so they depend neither on
threads nor on the order of unrelated calls.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar

import numpy as np

from fastnn.kernels.guards import Setting

_generator: ContextVar[np.random.Generator | None] = ContextVar("fastnn_generator", default=None)


def manual_seed(seed: int) -> None:
    """Seed the default generator of this context: initial weights, and `fit` without `seed=`.

    The generator belongs to the current context, so threads do not disturb each other.
    Raises ValueError for a negative seed.
    """
    _generator.set(counter_generator(seed))


def default_generator() -> np.random.Generator:
    """Return the generator of this context; the operating system seeds it unless `manual_seed` does."""
    generator = _generator.get()
    if generator is None:
        generator = np.random.Generator(np.random.Philox())
        _generator.set(generator)
    return generator


def separate_generator() -> AbstractContextManager[None]:
    """Use another default generator, which always starts alike, in the `with` block."""
    separate: AbstractContextManager[None] = Setting(_generator, counter_generator(0))
    return separate


def key(seed: int | None) -> int:
    """Return a 63-bit key: the seed itself, or the next draw of the default generator if `seed` is None."""
    if seed is not None:
        return check_seed(seed)
    return int(default_generator().integers(2**63))


def counter_generator(key: int, *path: int) -> np.random.Generator:
    """Return a generator whose stream is a function of `key` and `path` alone (Philox, Salmon et al. 2011).

    Different paths give independent streams, even paths of different lengths: (), (0,) and (0, 0).
    """
    words = np.random.SeedSequence(check_seed(key), spawn_key=tuple(map(check_seed, path)))
    return np.random.Generator(np.random.Philox(words))


def check_seed(seed: int) -> int:
    """Return the seed as an int. Raises ValueError unless it is a non-negative integer."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"a seed must be a non-negative integer, not {seed!r}")
    return int(seed)
