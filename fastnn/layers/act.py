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
    """Base class of activation layers. The output has the shape of the input."""

    per_element: ClassVar[int] = 1  # FLOP per element

    def flop(self, shape: Shape) -> int:
        return self.per_element * math.prod(self.output_shape(shape))


class _OutputActivation(Activation):
    """Base class of activations whose gradient is a function of the output: y = f(x), dx = g(y, dy)."""

    # Prefix of the kernels `<kernel>_forward(x, y)` and `<kernel>_dx(y, dy, dx)`.
    kernel: ClassVar[str]

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        getattr(ops, f"{self.kernel}_forward")(x, y)
        return y, _backward_function(lambda dy, dx: getattr(ops, f"{self.kernel}_dx")(y, dy, dx))


class ReLU(_OutputActivation):
    """Rectified linear unit, y = max(x, 0). The gradient at 0 is 0."""

    recordable = True
    kernel = "relu"


class Sigmoid(_OutputActivation):
    """Logistic sigmoid, y = 1 / (1 + exp(-x))."""

    recordable = True
    kernel = "sigmoid"
    gives_probabilities = True


class Tanh(_OutputActivation):
    """Hyperbolic tangent, y = tanh(x)."""

    recordable = True
    kernel = "tanh"


class LeakyReLU(Activation):
    """Leaky ReLU: y = x for x > 0, else y = `slope` x (Maas et al. 2013).

    Raises ValueError if `slope` is negative: the gradient is computed from the sign of the output, which must
    be the sign of the input.
    """

    recordable = True
    slope: float

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = in_range(slope, "slope", 0)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.leaky_relu_forward(x, self.slope, y)
        return y, _backward_function(lambda dy, dx: ops.leaky_relu_dx(y, dy, self.slope, dx))


class ELU(Activation):
    """Exponential linear unit: y = x for x > 0, else y = `alpha` (exp(x) - 1) (Clevert et al. 2015).

    Raises ValueError if `alpha` is negative.
    """

    recordable = True
    alpha: float

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = in_range(alpha, "alpha", 0)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.elu_forward(x, self.alpha, y)
        return y, _backward_function(lambda dy, dx: ops.elu_dx(y, dy, self.alpha, dx))


class GELU(Activation):
    """Gaussian error linear unit: y = x Phi(x), Phi the normal CDF (Hendrycks & Gimpel 2016).

    `approximate="tanh"` uses Phi(x) ~ (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, as some published
    networks do; the default "none" is exact. Raises ValueError for any other value.
    """

    recordable = True
    per_element = 2  # the function, the product
    approximate: str

    def __init__(self, approximate: str = "none") -> None:
        choose(approximate, dict.fromkeys(("none", "tanh")), "approximation")
        self.approximate = approximate

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        by_tanh = self.approximate == "tanh"
        ops.gelu_forward(x, by_tanh, y)
        return y, _backward_function(lambda dy, dx: ops.gelu_dx(x, dy, by_tanh, dx))


class SiLU(Activation):
    """Sigmoid linear unit, also called Swish: y = x / (1 + exp(-x)) (Ramachandran et al. 2017)."""

    recordable = True
    per_element = 2  # the function, the product

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y: Array = empty(x.shape, x.dtype)
        ops.silu_forward(x, y)
        return y, _backward_function(lambda dy, dx: ops.silu_dx(x, dy, dx))


class Softmax(_OutputActivation):
    """Softmax y_c = exp(x_c) / sum_k exp(x_k) over the C values of each sample, (N, C) -> (N, C).

    Do not end a model with this layer if the loss is "cross_entropy", which takes logits and applies the
    softmax itself.
    """

    recordable = True
    kernel = "softmax"
    gives_probabilities = True
    per_element = 5  # maximum, difference, exponential, sum, quotient

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"Softmax() expects samples of shape (classes,), got {shape}")
        return shape


class Identity(Layer):
    """Returns its input unchanged, y = x."""

    recordable = True

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            return dy if need_dx else None

        return x, backward


# Activation layers by name, for the command line.
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


def _backward_function(gradient: Callable[[Array, Array], None]) -> Backward:
    """Return the backward function of a layer whose kernel call `gradient(dy, dx)` computes dx from dy."""

    def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        dx: Array = empty(dy.shape, dy.dtype)
        gradient(dy, dx)
        return dx

    return backward
