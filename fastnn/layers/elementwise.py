"""Activations of a user, from two scalar functions."""

from __future__ import annotations

import math
from collections.abc import Callable

from fastnn._validation import Array, Shape
from fastnn.kernels import empty, ops
from fastnn.kernels.jit.scalar import ScalarFunction
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class Elementwise(Layer):
    """y_e = forward(x_e), dx_e = backward(x_e, dy_e), both compiled by Numba; see `elementwise`."""

    recordable = True

    def __init__(self, forward: Callable[[float], float], backward: Callable[[float, float], float]) -> None:
        self.function = ScalarFunction(forward, 1, "forward")
        self.gradient = ScalarFunction(backward, 2, "backward")

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.elementwise_forward(self.function, x, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.elementwise_dx(self.gradient, x, dy, dx)
            return dx

        return y, backward

    def flop(self, shape: Shape) -> int:
        return math.prod(shape)

    def __repr__(self) -> str:
        return f"Elementwise({self.function.function.__name__}, {self.gradient.function.__name__})"


def elementwise(forward: Callable[[float], float], backward: Callable[[float, float], float]) -> Elementwise:
    """A layer that applies a function of one's own to each number: y = forward(x), dx = backward(x, dy).

    Both take Python scalars and may use the module `math`; `backward` gives dy times the derivative at x.
    Numba compiles them to loops that run inside the plan of a training step. Raises TypeError for
    functions of another number of arguments; at the first batch TypeError for what Numba cannot compile,
    ImportError without Numba.
    """
    return Elementwise(forward, backward)
