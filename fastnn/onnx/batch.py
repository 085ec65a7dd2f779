"""A batch in a graph that is being read: the shape and the layout that its samples have in fastnn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fastnn._validation import Array, Shape
from fastnn.channel_order import to_channels_last
from fastnn.onnx.errors import ModelFormatError

Pads = tuple[tuple[int, int], ...]


class LayoutError(ModelFormatError):
    """The graph fits no layers if its input has this layout; it may fit with another one."""


@dataclass(frozen=True)
class Batch:
    """Samples of fastnn's `shape`, and how they differ from those of the file."""

    shape: Shape
    order: tuple[int, ...]
    """Axis i of fastnn's batch is axis order[i] in the file; the batch axis is the first in both."""
    channels: int = 1
    """If above 1: features (N, F) are flattened from (pixels, channels), in the file from the reverse."""
    pads: Pads = ()
    """Zeros before and behind each side that the next layer must add; () for none."""
    scale: float = 1.0
    """A factor on the values that the next layer must apply."""
    are_indices: bool = False
    """Whether the values are integers, for which the next layer must look up vectors."""

    @property
    def file_shape(self) -> Shape:
        """The shape of a sample in the file."""
        sides = dict(zip(self.order[1:], self.shape, strict=True))
        return tuple(sides[axis] for axis in range(1, len(self.order)))

    @property
    def is_plain(self) -> bool:
        """Whether the axes have the order that they have in the file."""
        return self.order == tuple(range(len(self.order)))

    @property
    def is_channels_last(self) -> bool:
        """Whether the file has (N, C, ...) where fastnn has (N, ..., C)."""
        return len(self.order) > 2 and self.order == channels_last(len(self.order))

    @property
    def pending(self) -> str:
        """What the next layer must do: "zeros around it", "a factor", "an embedding", or nothing."""
        if self.are_indices:
            return "an embedding"
        return "zeros around it" if any(map(any, self.pads)) else "a factor" if self.scale != 1 else ""

    def resized(self, shape: Shape) -> Batch:
        """The output of a layer that keeps the layout."""
        return replace(self, shape=shape, pads=(), scale=1.0, are_indices=False)

    def transposed(self, perm: list[int]) -> Batch:
        """The same values after a Transpose of the file; fastnn's array does not change."""
        return replace(self, order=tuple(perm.index(axis) for axis in self.order))


def channels_last(axes: int) -> tuple[int, ...]:
    """The order of a batch with its channels last here and first in the file."""
    return (0, *range(2, axes), 1)


def plain(shape: Shape) -> Batch:
    """A batch with the same layout here and in the file."""
    return Batch(shape, tuple(range(len(shape) + 1)))


def images(shape: Shape) -> Batch:
    """A batch (N, ..., C) of samples that are (C, ...) in the file."""
    return Batch(shape, channels_last(len(shape) + 1))


def flattened(x: Batch) -> Batch | None:
    """The features of `x` after Flatten here and in the file; None if that needs a transposition."""
    size = (math.prod(x.shape),)
    if x.is_plain or len([side for side in x.shape if side != 1]) < 2:
        return replace(x, shape=size, order=(0, 1))
    if not x.is_channels_last:
        return None
    pixels = math.prod(x.shape[:-1])
    return replace(x, shape=size, order=(0, 1), channels=x.shape[-1] if pixels > 1 else 1)


def reordered(features: Array, channels: int) -> Array:
    """Reorder the first axis from (channels, pixels), as in the file, to (pixels, channels)."""
    return features[to_channels_last((channels, len(features) // channels))]
