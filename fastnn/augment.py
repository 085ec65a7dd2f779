"""Data augmentation: random transformations of images, applied while a mini-batch is gathered.

>>> fn.fit(model, (x, y), augment=fn.augment.Rotate(15) | fn.augment.Shift(2))

Rotations, shears, scales, shifts, crops and flips are combined into one matrix per image, so together they
cost one warp with bilinear interpolation; pixels outside the image are 0. The random numbers are a function
of (key, batch count, index in the batch), so the result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import rng
from fastnn._arrays import as_array
from fastnn._validation import Array, in_range
from fastnn.kernels import empty, ops

# Indices into the array of ranges that the kernel `random_affine` takes.
ANGLE, SHEAR, LOWEST_SCALE, HIGHEST_SCALE, DOWN, RIGHT, ROWS, COLUMNS, UPSIDE_DOWN, MIRRORED = range(10)
UNCHANGED = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

Numbers = float | Sequence[float]


class Augmentation:
    """Base class of all augmentations. `a | b` applies both.

    To look at the result, call `augmentation(images, seed=0)`: it returns augmented copies.
    """

    @property
    def parts(self) -> tuple[Augmentation, ...]:
        """The single augmentations that this one combines."""
        return (self,)

    def settings(self) -> dict[int, float]:
        """Return the ranges that this augmentation sets for the kernel `random_affine`: {index: value}."""
        return {}

    def __or__(self, other: Augmentation) -> Augmentation:
        if not isinstance(other, Augmentation):
            return NotImplemented
        return Together(*self.parts, *other.parts)

    def __call__(self, images: npt.ArrayLike, *, seed: int | None = None) -> Array:
        """Return augmented copies of `images` (N, H, W) or (N, H, W, C), in the same dtype.

        Raises TypeError unless the dtype is uint8, float32 or float64, and ValueError unless the shape is one
        of these.
        """
        x = np.ascontiguousarray(as_array(images, "images"))
        if x.dtype not in (np.uint8, np.float32, np.float64):
            raise TypeError(f"images must be uint8, float32 or float64, not {x.dtype}")
        together = Together(*self.parts)
        together.check_images(x.shape[1:])
        state = np.array([rng.key(seed), 0], np.uint64)
        dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        changed = together.gather(x, np.arange(len(x)), state, 1.0, dtype)
        return np.rint(changed).astype(np.uint8) if x.dtype == np.uint8 else changed


class Together(Augmentation):
    """Applies several augmentations in one warp: the result of `a | b`.

    The order is fixed: elastic displacement first, then flip, scale, shear and rotation about the centre of
    the image, then shift and crop. Raises TypeError if an argument is not an augmentation, and ValueError if
    one class occurs twice.
    """

    def __init__(self, *augmentations: Augmentation) -> None:
        self._parts: tuple[Augmentation, ...] = ()
        for augmentation in augmentations:
            if not isinstance(augmentation, Augmentation):
                hint = ": pass an instance (add parentheses)" if isinstance(augmentation, type) else ""
                raise TypeError(f"augment takes augmentations such as Rotate(15), not {augmentation!r}{hint}")
            self._parts += augmentation.parts
        ranges = np.array(UNCHANGED)
        for number, part in enumerate(self._parts):
            if any(type(other) is type(part) for other in self._parts[:number]):
                raise ValueError(f"{type(part).__name__} occurs twice in {self!r}: pass the wider range once")
            for index, value in part.settings().items():
                ranges[index] = value
        self._ranges = ranges
        self._elastic = next((part for part in self._parts if isinstance(part, Elastic)), None)

    @property
    def parts(self) -> tuple[Augmentation, ...]:
        return self._parts

    def check_images(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless `shape`, of one sample, is (H, W) or (H, W, C)."""
        if len(shape) not in (2, 3):
            raise ValueError(
                f"{self!r} takes images (height, width) or (height, width, channels), not samples of shape "
                f"{shape}: reshape the features, and put Flatten() first if the model takes flat rows"
            )

    def gather(self, images: Array, index: Array, state: Array, scale: float, dtype: np.dtype[Any]) -> Array:
        """Gather the mini-batch `images[index]` as floats and augment it.

        Args:
            images: Images (N, H, W) or (N, H, W, C), uint8, float32 or float64.
            index: The samples of the mini-batch, (M,) integers.
            state: (key, batch count), (2,) uint64; the count is advanced by one.
            scale: The factor for the pixel values.
            dtype: float32 or float64.

        Returns:
            The augmented images (M, H, W) or (M, H, W, C). Without augmentation see `gather.gather_rows`.
        """
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
    """Rotates by a random angle in [-`degrees`, `degrees`]."""

    degrees: float

    def __post_init__(self) -> None:
        in_range(self.degrees, "degrees", 0, 360)

    def settings(self) -> dict[int, float]:
        return {ANGLE: math.radians(self.degrees)}


@dataclass(frozen=True)
class Shear(Augmentation):
    """Shears along the rows by a random angle in [-`degrees`, `degrees`], with `degrees` below 90."""

    degrees: float

    def __post_init__(self) -> None:
        if in_range(self.degrees, "degrees", 0, 90) == 90:
            raise ValueError("degrees must be below 90: a shear by 90 degrees leaves nothing of an image")

    def settings(self) -> dict[int, float]:
        return {SHEAR: math.radians(self.degrees)}


@dataclass(frozen=True)
class Scale(Augmentation):
    """Scales by a random factor in [1 - `change`, 1 + `change`], or in [low, high] for a pair (low, high)."""

    change: Numbers

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not 0 < low <= high < math.inf:
            raise ValueError(f"scale factors must satisfy 0 < low <= high, got {low:g} and {high:g}")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest scale factor."""
        numbers = _numbers(self.change, "change")
        if numbers.ndim:
            return float(numbers[0]), float(numbers[1])
        change = in_range(numbers, "change", 0)
        return 1 - change, 1 + change

    def settings(self) -> dict[int, float]:
        low, high = self.bounds
        return {LOWEST_SCALE: low, HIGHEST_SCALE: high}


@dataclass(frozen=True)
class Shift(Augmentation):
    """Shifts by up to `pixels` in each direction, also by fractions of a pixel.

    A pair gives the limits for rows and columns.
    """

    pixels: Numbers

    def __post_init__(self) -> None:
        _pair(self.pixels, "pixels")

    def settings(self) -> dict[int, float]:
        down, right = _pair(self.pixels, "pixels")
        return {DOWN: down, RIGHT: right}


@dataclass(frozen=True)
class Crop(Augmentation):
    """Pads the image with `padding` zero pixels on each side and crops a random window of the original size.

    This shifts by whole pixels, so pixel values are not interpolated. A pair gives the padding of rows and
    columns.
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
    """Flips left to right with probability `horizontal`, and upside down with probability `vertical`."""

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        in_range(self.horizontal, "horizontal", 0, 1)
        in_range(self.vertical, "vertical", 0, 1)

    def settings(self) -> dict[int, float]:
        return {MIRRORED: self.horizontal, UPSIDE_DOWN: self.vertical}


@dataclass(frozen=True)
class Elastic(Augmentation):
    """Elastic distortion: displaces each pixel by a smoothed random field (Simard, Steinkraus & Platt 2003).

    The field is `alpha` times uniform random values in [-1, 1), smoothed by a Gaussian with a standard
    deviation of `sigma` pixels. The defaults are the paper's, for digits of 29 x 29 pixels: displacements of
    about 1.4 pixels.
    """

    alpha: float = 34.0
    sigma: float = 4.0

    def __post_init__(self) -> None:
        in_range(self.alpha, "alpha", 0)
        if not 0 < in_range(self.sigma, "sigma", 0) <= 1000:
            raise ValueError(f"sigma must be in (0, 1000] pixels, not {self.sigma!r}")


def _pair(value: Numbers, name: str) -> tuple[float, float]:
    """Return (rows, columns) from one number or a pair. Raises ValueError unless both are at least 0."""
    pair = np.broadcast_to(_numbers(value, name), 2)
    return in_range(pair[0], name, 0), in_range(pair[1], name, 0)


def _numbers(value: Numbers, name: str) -> Array:
    """Return one number or a pair as a float64 array, () or (2,). Raises ValueError for anything else."""
    numbers = np.asarray(value)
    if numbers.shape not in ((), (2,)) or numbers.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a number or a pair of numbers, not {value!r}")
    return numbers.astype(np.float64)
