"""What layers that slide a window over an image share: pairs of sizes, and the sizes that come out."""

from __future__ import annotations

import numpy as np

from fastnn._validation import Shape

Pair = tuple[int, int]


def pair(value: int | Pair, name: str, least: int) -> Pair:
    """One number for both sides, or a pair; ValueError or TypeError for others."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(size, (int, np.integer)) for size in both):
        raise TypeError(f"{name} must be a whole number or a pair of them, not {value!r}")
    if min(both) < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
    return int(both[0]), int(both[1])


def short(sizes: Pair) -> str:
    """3 for (3, 3), as a user would write it."""
    return str(sizes[0]) if sizes[0] == sizes[1] else str(sizes)


def sides_out(layer: object, shape: Shape, seen: Pair, stride: Pair, padding: tuple[Pair, Pair]) -> Pair:
    """P and Q of what sees `seen` pixels of an image (H, W, ...), whose padding is (before, behind) per side.

    Raises ValueError, in the name of `layer`, where it sees more than there is.
    """
    sides = []
    for name, size, taps, step, (before, behind) in zip(
        ("height", "width"), shape, seen, stride, padding, strict=False
    ):
        padded = size + before + behind
        if padded < taps:
            raise ValueError(
                f"{layer} sees {taps} pixels of the {name}, but there are {padded}, padding included"
            )
        sides.append((padded - taps) // step + 1)
    return sides[0], sides[1]
