"""Layers that only change the shape."""

from __future__ import annotations

import math

from fastnn._door import Array, Shape
from fastnn.layers.base import Layer
from fastnn.recording import Backward


class Flatten(Layer):
    """(N, H, W, ...) -> (N, H W ...), in C order, without a copy."""

    recordable = True

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = x.shape

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            return dy.reshape(shape) if need_dx else None

        return x.reshape(len(x), *self.output_shape(shape[1:])), backward
