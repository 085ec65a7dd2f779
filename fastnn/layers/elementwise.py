"""User-defined activations, from two scalar functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastnn._validation import Array, Shape
from fastnn.kernels import empty, ops
from fastnn.kernels.jit.scalar import ScalarFunction
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class Elementwise(Layer):
    """Applies two user-defined scalar functions to each element. See `elementwise`."""

    recordable = True
    function: ScalarFunction
    gradient: ScalarFunction

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

    def arguments(self) -> dict[str, Any]:
        raise TypeError(
            "fn.elementwise makes a layer of Python functions, which a file cannot hold: write a subclass of "
            "fn.layers.Elementwise whose __init__ passes the functions to super().__init__"
        )

    def __repr__(self) -> str:
        return f"Elementwise({self.function.function.__name__}, {self.gradient.function.__name__})"


def elementwise(forward: Callable[[float], float], backward: Callable[[float, float], float]) -> Elementwise:
    """Return a layer that applies a user-defined function to each element, such as a new activation.

    >>> softplus = fn.elementwise(lambda x: math.log1p(math.exp(x)), lambda x, dy: dy / (1 + math.exp(-x)))

    Both functions take Python scalars and may use the module `math`. `forward(x)` returns y; `backward(x,
    dy)` returns dx, which is dy times the derivative at x. Numba compiles them to loops that are part of the
    plan of a training step.

    Raises TypeError if a function takes another number of arguments. The first forward pass raises TypeError
    if Numba cannot compile a function, and ImportError if Numba is not installed.
    """
    return Elementwise(forward, backward)
