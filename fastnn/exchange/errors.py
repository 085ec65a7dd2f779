"""The errors of conversions between libraries, and the check that a converted model computes the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape

# Relative to the largest output: sums in another order give 1e-5 in small float32 nets, more in deep ones.
TOLERANCE = 1e-3


class ConversionError(ValueError):
    """A model cannot be converted; the message names the module, its options, and what is supported."""


class LayoutError(ConversionError):
    """The module fits no layers if samples of two axes are (L, C); it may fit if they are (C, L)."""


def random_batch(shape: Shape, dtype: npt.DTypeLike, index_limit: int | None) -> Array:
    """Two random samples to compare a converted model on; indices below `index_limit` if it is not None."""
    rng = np.random.default_rng(0)
    if index_limit is not None:
        return rng.integers(index_limit, size=(2, *shape))
    return rng.standard_normal((2, *shape)).astype(dtype)


def check_same(got: Array, wanted: Array, message: str) -> None:
    """Raise ConversionError with `message` unless two batches of outputs agree."""
    scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-30)
    if got.shape != wanted.shape or not np.allclose(
        got, wanted, TOLERANCE, TOLERANCE * scale, equal_nan=True
    ):
        difference = f": {got.shape} instead of {wanted.shape}" if got.shape != wanted.shape else ""
        raise ConversionError(f"{message}{difference}")
