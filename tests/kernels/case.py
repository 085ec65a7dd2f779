"""A test case of a kernel: the kernel, a function that builds its arguments, and that function's parameters.

A builder gets `a`, a maker of arrays: `a(rows, columns)` holds numbers, `a.poison(rows, columns)` what a
kernel must overwrite.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.kernels import load


class Arrays:
    """Makes arrays of one floating type: normal numbers, or whole ones that float32 adds up exactly."""

    def __init__(self, dtype, *, whole):
        self.dtype = np.dtype(dtype)
        self.whole = whole
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape, terms=1, largest=1000):
        """An input. `terms`: how many products a kernel adds up for one element of its output.

        Whole numbers reach up to `largest`.
        """
        if not self.whole:
            return self.rng.standard_normal(shape).astype(self.dtype)
        # Large values, so that a truncated input shows; about three products per sum are not 0, so that
        # all of them stay below 2^24 (test_grid.py checks it) and a lost tail shows all the same.
        kept = self.rng.random(shape) < math.sqrt(3 / max(terms, 3))
        return (self.rng.integers(-largest, largest + 1, shape) * kept).astype(self.dtype)

    def poison(self, *shape):
        return np.full(shape, np.nan, self.dtype)


@dataclass(frozen=True)
class Case:
    kernel: str
    build: Callable[..., tuple[Any, ...]]
    parameters: tuple[Any, ...]
    whole: bool = False

    def __str__(self):
        words = ("x".join(map(str, p)) if isinstance(p, tuple) else str(p) for p in self.parameters)
        return "-".join((self.kernel, *words, *(("whole",) if self.whole else ())))

    def arguments(self, dtype):
        """Fresh arguments by name, the same ones at every call."""
        arguments = self.build(Arrays(dtype, whole=self.whole), *self.parameters)
        names = inspect.signature(load("ref")[self.kernel]).parameters
        return dict(zip(names, arguments, strict=True))
