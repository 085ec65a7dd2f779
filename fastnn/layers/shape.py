"""Layers that only change the shape."""

from __future__ import annotations

import math

from fastnn._validation import Array, Shape, positive_int
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class _SameNumbers(Layer):
    """The numbers of each sample in the shape that `output_shape` tells, in C order, without a copy."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = x.shape

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            return dy.reshape(shape) if need_dx else None

        return x.reshape(len(x), *self.output_shape(shape[1:])), backward


class Flatten(_SameNumbers):
    """(N, H, W, ...) -> (N, H W ...), in C order, without a copy."""

    recordable = True

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


class Reshape(_SameNumbers):
    """(N, ...) -> (N, *shape), in C order, without a copy: Reshape(28, 28, 1) makes images of rows.

    One of the sizes may be -1: whatever is left for it. Raises ValueError for sizes that are not positive,
    for a second -1, and for samples of another size.
    """

    recordable = True

    def __init__(self, *shape: int) -> None:
        if not shape:
            raise ValueError("Reshape wants the shape of a sample, such as Reshape(28, 28, 1)")
        self.shape = tuple(-1 if side == -1 else positive_int(side, "a size") for side in shape)
        if self.shape.count(-1) > 1:
            raise ValueError(f"only one size may be -1, not {self.shape.count(-1)} of {self.shape}")

    def output_shape(self, shape: Shape) -> Shape:
        size, known = math.prod(shape), math.prod(side for side in self.shape if side != -1)
        if size % known or (size != known and -1 not in self.shape):
            wanted = f"a multiple of {known}" if -1 in self.shape else str(known)
            raise ValueError(f"{self} wants samples of {wanted} numbers, got {size}: shape {shape}")
        return tuple(size // known if side == -1 else side for side in self.shape)

    def __repr__(self) -> str:
        return f"Reshape({', '.join(map(str, self.shape))})"
