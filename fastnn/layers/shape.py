"""Layers that only change the shape: `Flatten` and `Reshape`."""

from __future__ import annotations

import math

from fastnn._validation import Array, Shape, positive_int
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class _ShapeLayer(Layer):
    """Base class: reshapes each sample to `output_shape`, in C order and without a copy."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = x.shape

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            return dy.reshape(shape) if need_dx else None

        return x.reshape(len(x), *self.output_shape(shape[1:])), backward


class Flatten(_ShapeLayer):
    """Flattens each sample: (N, H, W, ...) -> (N, H W ...), in C order and without a copy."""

    recordable = True

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


class Reshape(_ShapeLayer):
    """Reshapes each sample, (N, ...) -> `(N, *shape)`, in C order and without a copy.

    For example, Reshape(28, 28, 1) or Reshape((28, 28, 1)) turns rows of 784 pixels into images. One size
    may be -1: it is inferred from the others. Raises ValueError if a size is not positive or a second one is
    -1. The forward pass raises ValueError if the number of elements of a sample does not fit.
    """

    recordable = True
    shape: Shape

    def __init__(self, *shape: int | Shape) -> None:
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        if not shape:
            raise ValueError("Reshape expects the shape of a sample, such as Reshape(28, 28, 1)")
        self.shape = tuple(-1 if side == -1 else positive_int(side, "a size") for side in shape)
        if self.shape.count(-1) > 1:
            raise ValueError(f"only one size may be -1, not {self.shape.count(-1)} of {self.shape}")

    def output_shape(self, shape: Shape) -> Shape:
        size, known = math.prod(shape), math.prod(side for side in self.shape if side != -1)
        if size % known or (size != known and -1 not in self.shape):
            count = f"a multiple of {known}" if -1 in self.shape else str(known)
            raise ValueError(f"{self} expects samples of {count} elements, got {size}: shape {shape}")
        return tuple(size // known if side == -1 else side for side in self.shape)
