"""Random changes of images while they are gathered into a mini-batch: more samples than there are.

>>> fn.fit(model, (x, y), augment=fn.augment.Rotate(15) | fn.augment.Shift(2))

Rotations, shears, scales, shifts, crops and flips become one matrix per image, so that together they cost one
warp (bilinear; pixels beyond an image are 0). What is drawn is a function of (key, count of batches, place in
the batch), whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import rng
from fastnn._validation import Array, in_range
from fastnn.kernels import empty, ops

# The places of the kernel's ranges: what each augmentation sets.
ANGLE, SHEAR, LEAST_SCALE, MOST_SCALE, DOWN, RIGHT, ROWS, COLUMNS, UPSIDE_DOWN, MIRRORED = range(10)
UNCHANGED = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

Numbers = float | Sequence[float]


class Augmentation:
    """Base class: what is done to images at random. `a | b` does both.

    Called as `augmentation(images, seed=0)` it gives changed copies of images (N, H, W) or (N, H, W, C), to
    look at them.
    """

    @property
    def parts(self) -> tuple[Augmentation, ...]:
        """What it consists of."""
        return (self,)

    def settings(self) -> dict[int, float]:
        """What it sets among the ranges of the kernel `random_affine`."""
        return {}

    def __or__(self, other: Augmentation) -> Augmentation:
        if not isinstance(other, Augmentation):
            return NotImplemented
        return Together(*self.parts, *other.parts)

    def __call__(self, images: npt.ArrayLike, *, seed: int | None = None) -> Array:
        """Changed copies of images (N, H, W) or (N, H, W, C), of their type: uint8, float32 or float64.

        Raises TypeError and ValueError for what are no images.
        """
        x = np.ascontiguousarray(images)
        if x.dtype not in (np.uint8, np.float32, np.float64):
            raise TypeError(f"images must be uint8, float32 or float64, not {x.dtype}")
        together = Together(*self.parts)
        together.check_images(x.shape[1:])
        state = np.array([rng.key(seed), 0], np.uint64)
        dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        changed = together.gather(x, np.arange(len(x)), state, 1.0, dtype)
        return np.rint(changed).astype(np.uint8) if x.dtype == np.uint8 else changed


class Together(Augmentation):
    """Several augmentations at once: what `a | b` gives.

    Pixels are displaced first; then an image is flipped, scaled, sheared, rotated and shifted, in this order,
    about its centre. Raises TypeError for what is no augmentation, ValueError where one kind occurs twice.
    """

    def __init__(self, *augmentations: Augmentation) -> None:
        self._parts: tuple[Augmentation, ...] = ()
        for augmentation in augmentations:
            if not isinstance(augmentation, Augmentation):
                hint = " (an instance is wanted: add parentheses)" if isinstance(augmentation, type) else ""
                raise TypeError(f"augment takes augmentations such as Rotate(15), not {augmentation!r}{hint}")
            self._parts += augmentation.parts
        ranges = np.array(UNCHANGED)
        for number, part in enumerate(self._parts):
            if any(type(other) is type(part) for other in self._parts[:number]):
                raise ValueError(f"{type(part).__name__} occurs twice in {self!r}: give the wider range once")
            for place, value in part.settings().items():
                ranges[place] = value
        self._ranges = ranges
        self._elastic = next((part for part in self._parts if isinstance(part, Elastic)), None)

    @property
    def parts(self) -> tuple[Augmentation, ...]:
        return self._parts

    def check_images(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless a sample of this shape is an image."""
        if len(shape) not in (2, 3):
            raise ValueError(
                f"{self!r} changes images (height, width) or (height, width, channels), not samples of shape "
                f"{shape}: reshape the features, and begin the model with Flatten() if it wants rows"
            )

    def gather(
        self, images: Array, index: Array, state: Array, scale: float | None, dtype: np.dtype[Any]
    ) -> Array:
        """The mini-batch `images[index]` as floats, changed, as `gather.gather_rows` returns it unchanged.

        `state` (2,) uint64 = (key, count of batches) is advanced.
        """
        if scale is None:
            scale = 1 / 255 if images.dtype == np.uint8 else 1.0
        M, H, W = len(index), *images.shape[1:3]
        bits = empty((1,), np.uint64)
        ops.random_next(state, bits)
        matrix = empty((M, 6), np.float64)
        ops.random_affine(bits, self._ranges, H, W, matrix)
        field = None
        if self._elastic is not None:
            field = empty((M, 2, H, W), dtype)
            ops.displacement(bits, self._elastic.alpha, self._elastic.sigma, field)
        batch: Array = empty((M, *images.shape[1:]), dtype)
        pixels = H, W, math.prod(images.shape[3:])
        source, out = images.reshape(len(images), *pixels), batch.reshape(M, *pixels)
        ops.warp(source, index.astype(np.int64, copy=False), matrix, field, scale, 0.0, out)
        return batch

    def __repr__(self) -> str:
        return " | ".join(map(repr, self._parts)) or "Together()"


@dataclass(frozen=True)
class Rotate(Augmentation):
    """Turns by an angle between -`degrees` and `degrees`."""

    degrees: float

    def __post_init__(self) -> None:
        in_range(self.degrees, "degrees", 0, 360)

    def settings(self) -> dict[int, float]:
        return {ANGLE: math.radians(self.degrees)}


@dataclass(frozen=True)
class Shear(Augmentation):
    """Shears along the rows, by an angle between -`degrees` and `degrees`."""

    degrees: float

    def __post_init__(self) -> None:
        if in_range(self.degrees, "degrees", 0, 90) == 90:
            raise ValueError("a shear by 90 degrees leaves nothing of an image: degrees must be below 90")

    def settings(self) -> dict[int, float]:
        return {SHEAR: math.radians(self.degrees)}


@dataclass(frozen=True)
class Scale(Augmentation):
    """Enlarges by a factor between 1 - `change` and 1 + `change`, or between the two numbers of a pair."""

    change: Numbers

    def __post_init__(self) -> None:
        least, most = self.bounds
        if not 0 < least <= most < math.inf:
            raise ValueError(f"scales from {least:g} to {most:g} make no sense: 0 < least <= most is wanted")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest factor."""
        numbers = _numbers(self.change, "change")
        if numbers.ndim:
            return float(numbers[0]), float(numbers[1])
        change = in_range(numbers, "change", 0)
        return 1 - change, 1 + change

    def settings(self) -> dict[int, float]:
        least, most = self.bounds
        return {LEAST_SCALE: least, MOST_SCALE: most}


@dataclass(frozen=True)
class Shift(Augmentation):
    """Moves by up to `pixels` in each direction, parts of pixels too; a pair: by rows, by columns."""

    pixels: Numbers

    def __post_init__(self) -> None:
        _pair(self.pixels, "pixels")

    def settings(self) -> dict[int, float]:
        down, right = _pair(self.pixels, "pixels")
        return {DOWN: down, RIGHT: right}


@dataclass(frozen=True)
class Crop(Augmentation):
    """Cuts an image of its size out of the image with `padding` pixels of 0 around it; a pair: rows, columns.

    So it moves by whole pixels, and keeps them as they are.
    """

    padding: int | Sequence[int]

    def __post_init__(self) -> None:
        for value in _pair(self.padding, "padding"):
            if value != int(value):
                raise ValueError(f"padding must be whole numbers of pixels, not {self.padding}")

    def settings(self) -> dict[int, float]:
        rows, columns = _pair(self.padding, "padding")
        return {ROWS: rows, COLUMNS: columns}


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirrors an image, left to right, with the probability `horizontal`, and upside down with `vertical`."""

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        in_range(self.horizontal, "horizontal", 0, 1)
        in_range(self.vertical, "vertical", 0, 1)

    def settings(self) -> dict[int, float]:
        return {MIRRORED: self.horizontal, UPSIDE_DOWN: self.vertical}


@dataclass(frozen=True)
class Elastic(Augmentation):
    """Displaces pixels by `alpha` times random numbers in [-1, 1), smoothed by a Gaussian of `sigma` pixels.

    Simard, Steinkraus & Platt 2003, who took alpha 34 and sigma 4 for digits of 29 x 29 pixels: displacements
    of about 1.4 pixels.
    """

    alpha: float = 34.0
    sigma: float = 4.0

    def __post_init__(self) -> None:
        in_range(self.alpha, "alpha", 0)
        if not 0 < in_range(self.sigma, "sigma", 0) <= 1000:
            raise ValueError(f"sigma must lie in (0, 1000] pixels, not {self.sigma!r}")


def _pair(value: Numbers, name: str) -> tuple[float, float]:
    """One number, or one for rows and one for columns, at least 0."""
    pair = np.broadcast_to(_numbers(value, name), 2)
    return in_range(pair[0], name, 0), in_range(pair[1], name, 0)


def _numbers(value: Numbers, name: str) -> Array:
    """One number or two, as an array. Raises ValueError for anything else."""
    numbers = np.asarray(value)
    if numbers.shape not in ((), (2,)) or numbers.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a number or a pair of numbers, not {value!r}")
    return numbers.astype(np.float64)
