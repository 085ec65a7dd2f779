"""Weight initialisers, chosen by name or passed as an object.

Many scale with `fan_in`, the number of inputs of one unit, or `fan_out`, the number of units that one input
feeds.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastnn import rng
from fastnn._validation import Array, Shape, choose
from fastnn.param import Param, check_room


class Initializer:
    """Base class of all initialisers. A subclass defines `__call__`."""

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        """Return initial values: a float64 array of `shape`, drawn from `rng`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Initializer):
    """Sets every element to `value`."""

    value: float

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value, np.float64)


class Zeros(Constant):
    """Sets every element to 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Sets every element to 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


@dataclass(frozen=True)
class Normal(Initializer):
    """Draws from the normal distribution N(mean, std^2), independently of the fans."""

    std: float = 0.01
    mean: float = 0.0

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return rng.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Draws from the uniform distribution U[low, high), independently of the fans."""

    low: float = -0.05
    high: float = 0.05

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Scaled(Initializer):
    """Base class: draws with mean 0 and standard deviation `gain * std(fan_in, fan_out)`.

    The distribution is uniform if the class attribute `uniform` is True, else normal.
    """

    gain: float = 1.0
    uniform: ClassVar[bool] = False

    def std(self, fan_in: int, fan_out: int) -> float:
        """Return the standard deviation for gain 1."""
        raise NotImplementedError

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
        std = self.gain * self.std(fan_in, fan_out)
        if self.uniform:
            bound = math.sqrt(3.0) * std  # U(-a, a) has variance a^2 / 3
            return rng.uniform(-bound, bound, shape)
        return rng.normal(0.0, std, shape)


class XavierNormal(Scaled):
    """Draws from N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010).

    Keeps the variance of activations (forward) and of gradients (backward) about the same in all layers.
    """

    def std(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2.0 / max(fan_in + fan_out, 1))


class XavierUniform(XavierNormal):
    """Draws from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, equation 16)."""

    uniform = True


class HeNormal(Scaled):
    """Draws from N(0, 2 / fan_in), for layers followed by ReLU (He et al. 2015, equation 10)."""

    def std(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2.0 / max(fan_in, 1))


class HeUniform(HeNormal):
    """Draws from U(-a, a) with a = sqrt(6 / fan_in), for layers followed by ReLU (He et al. 2015)."""

    uniform = True


class FanInUniform(Scaled):
    """Draws from U(-a, a) with a = 1 / sqrt(fan_in): the default for weights and biases, as in PyTorch."""

    uniform = True

    def std(self, fan_in: int, fan_out: int) -> float:
        return 1.0 / math.sqrt(3.0 * max(fan_in, 1))


INITIALIZERS: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "normal": Normal,
    "uniform": Uniform,
    "xavier_normal": XavierNormal,
    "xavier_uniform": XavierUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "fan_in_uniform": FanInUniform,
}


def initializer(init: str | Initializer) -> Initializer:
    """Return the initialiser named `init`, with its default arguments, or `init` itself if it is an object.

    Raises ValueError if the name is unknown or the initialiser needs an argument, and TypeError if `init` is
    a class.
    """
    if isinstance(init, Initializer):
        return init
    if inspect.isclass(init) and issubclass(init, Initializer):
        raise TypeError(f"pass an instance, fn.init.{init.__name__}(), not the class")
    kind = choose(init, INITIALIZERS, "initializer")
    missing = [
        p.name
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    if missing:
        raise ValueError(
            f"initializer {init!r} needs a value: pass fn.init.{kind.__name__}({missing[0]}=...)"
        )
    return kind()


def initial_param(
    init: str | Initializer, shape: Shape, fans: tuple[int, int], name: str, dtype: np.dtype[Any]
) -> Param:
    """Create a parameter with initial values from `init`, drawn from the default generator.

    `fans` is (fan_in, fan_out). Raises the errors of `initializer`, and ValueError if the initialiser returns
    an array of another shape.
    """
    chosen = initializer(init)
    check_room(shape)
    values = chosen(shape, *fans, rng.default_generator())
    if values.shape != shape:
        raise ValueError(f"{init!r} returned an array of shape {values.shape} for a {name} of shape {shape}")
    return Param(values.astype(dtype), name=name)
