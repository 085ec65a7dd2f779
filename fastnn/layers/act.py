"""Activation layers."""

from __future__ import annotations

import math
from typing import ClassVar

from fastnn._door import Array, Shape
from fastnn.kernels import empty, ops
from fastnn.layers.base import Layer
from fastnn.recording import Backward


class Activation(Layer):
    """An activation whose gradient follows from its output: y = f(x), dx = g(y, dy)."""

    # The prefix of the kernels `<kernel>_forward(x, y)` and `<kernel>_dx(y, dy, dx)`.
    kernel: ClassVar[str]

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        getattr(ops, f"{self.kernel}_forward")(x, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            getattr(ops, f"{self.kernel}_dx")(y, dy, dx)
            return dx

        return y, backward

    def flop(self, shape: Shape) -> int:
        return math.prod(self.output_shape(shape))


class ReLU(Activation):
    """y = max(x, 0); the gradient at 0 is 0."""

    recordable = True
    kernel = "relu"


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    recordable = True
    kernel = "sigmoid"


class Tanh(Activation):
    """y = tanh(x)."""

    recordable = True
    kernel = "tanh"


class Softmax(Activation):
    """y_c = exp(x_c) / sum_c exp(x_c), over the C values of a sample.

    Not for the end of a model trained with "cross_entropy", which takes logits and does this itself.
    """

    recordable = True
    kernel = "softmax"

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"Softmax() wants samples of shape (classes,), got {shape}")
        return shape

    def flop(self, shape: Shape) -> int:
        # Of each: maximum, difference, exponential, sum, quotient.
        return 5 * super().flop(shape)


class Identity(Layer):
    """y = x."""

    recordable = True

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            return dy if need_dx else None

        return x, backward


# The layers that a name like "relu" stands for.
ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softmax": Softmax,
    "identity": Identity,
}
