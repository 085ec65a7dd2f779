"""Activation layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from fastnn._validation import Array, Shape, choose, in_range
from fastnn.kernels import empty, ops
from fastnn.layers.base import Layer
from fastnn.recording.recorder import Backward


class Activation(Layer):
    """A function of each number."""

    per_element: ClassVar[int] = 1  # FLOP

    def flop(self, shape: Shape) -> int:
        return self.per_element * math.prod(self.output_shape(shape))


class _OfOutput(Activation):
    """An activation whose gradient follows from its output: y = f(x), dx = g(y, dy)."""

    # The prefix of the kernels `<kernel>_forward(x, y)` and `<kernel>_dx(y, dy, dx)`.
    kernel: ClassVar[str]

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        getattr(ops, f"{self.kernel}_forward")(x, y)
        return y, _way_back(lambda dy, dx: getattr(ops, f"{self.kernel}_dx")(y, dy, dx))


class ReLU(_OfOutput):
    """y = max(x, 0); the gradient at 0 is 0."""

    recordable = True
    kernel = "relu"


class Sigmoid(_OfOutput):
    """y = 1 / (1 + exp(-x))."""

    recordable = True
    kernel = "sigmoid"


class Tanh(_OfOutput):
    """y = tanh(x)."""

    recordable = True
    kernel = "tanh"


class LeakyReLU(Activation):
    """y = x above 0 and `slope` x below, slope at least 0 (Maas et al. 2013).

    Raises ValueError for a slope below 0: the output would no longer tell on which side of 0 the input was.
    """

    recordable = True

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = in_range(slope, "slope", 0)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.leaky_relu_forward(x, self.slope, y)
        return y, _way_back(lambda dy, dx: ops.leaky_relu_dx(y, dy, self.slope, dx))

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope:g})"


class ELU(Activation):
    """y = x above 0 and `alpha` (exp(x) - 1) below, alpha at least 0 (Clevert et al. 2015).

    Raises ValueError for an alpha below 0.
    """

    recordable = True

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = in_range(alpha, "alpha", 0)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.elu_forward(x, self.alpha, y)
        return y, _way_back(lambda dy, dx: ops.elu_dx(y, dy, self.alpha, dx))

    def __repr__(self) -> str:
        return f"ELU({self.alpha:g})"


class GELU(Activation):
    """y = x Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016).

    `approximate="tanh"` takes Phi(x) ~ (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, as some published
    nets do. Raises ValueError for another approximation.
    """

    recordable = True
    per_element = 2  # the function, the product

    def __init__(self, approximate: str = "none") -> None:
        choose(approximate, dict.fromkeys(("none", "tanh")), "approximation")
        self.approximate = approximate

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        by_tanh = self.approximate == "tanh"
        ops.gelu_forward(x, by_tanh, y)
        return y, _way_back(lambda dy, dx: ops.gelu_dx(x, dy, by_tanh, dx))

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate!r})"


class SiLU(Activation):
    """y = x / (1 + exp(-x)), also called Swish (Ramachandran et al. 2017)."""

    recordable = True
    per_element = 2  # the function, the product

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.silu_forward(x, y)
        return y, _way_back(lambda dy, dx: ops.silu_dx(x, dy, dx))


class Softmax(_OfOutput):
    """y_c = exp(x_c) / sum_c exp(x_c), over the C values of a sample.

    Not for the end of a model trained with "cross_entropy", which takes logits and does this itself.
    """

    recordable = True
    kernel = "softmax"
    per_element = 5  # maximum, difference, exponential, sum, quotient

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"Softmax() wants samples of shape (classes,), got {shape}")
        return shape


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
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softmax": Softmax,
    "identity": Identity,
}


def _way_back(gradient: Callable[[Array, Array], None]) -> Backward:
    """The way back of a layer whose kernel `gradient(dy, dx)` writes the gradient of its input."""

    def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        dx: Array = empty(dy.shape, dy.dtype)
        gradient(dy, dx)
        return dx

    return backward
