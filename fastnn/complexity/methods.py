"""The methods to compute a gradient that `fastnn complexity` compares, with their theoretical cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn import naive
from fastnn._validation import Array
from fastnn.complexity import counts
from fastnn.kernels import backend
from fastnn.layers import Layer, Linear, ReLU, Sequential
from fastnn.optim.optimizers import SGD
from fastnn.rng import manual_seed
from fastnn.training.evaluation import gradients
from fastnn.training.trainer import Trainer

Data = tuple[Array, Array]
Gradient = Callable[[], Mapping[str, Array]]


@dataclass(frozen=True)
class Method:
    """One method to compute a gradient.

    Args:
        label: Name in tables.
        prepare: Function of (model, data) that returns the function to time, which returns the gradients by
            parameter name.
        count: Function that returns the number of multiplications for one sample, from the widths.
        by_width: Theoretical exponent of the width K; None for K^N.
        by_depth: Theoretical exponent of the number of layers N; None for K^N.
    """

    label: str
    prepare: Callable[[Layer, Data], Gradient]
    count: Callable[[Sequence[int]], int]
    by_width: int | None
    by_depth: int | None


def network(width: int, depth: int, batch: int) -> tuple[Sequential, Data]:
    """Build a float64 ReLU network of `depth` layers (inputs and logits included) and a random batch."""
    manual_seed(0)
    layers: list[Layer] = []
    for fans in pairwise([width] * depth):
        layers += [Linear(*fans, weight_init="he_uniform", dtype=np.float64), ReLU()]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, width))
    return Sequential(*layers[:-1]), (x, rng.integers(width, size=batch))


def _weight_by_weight(function: Callable[..., Mapping[str, Array]], model: Layer, data: Data) -> Gradient:
    return partial(function, model, data)


def _numpy_differences(model: Layer, data: Data) -> Gradient:
    def gradient() -> Mapping[str, Array]:
        with backend("ref"):
            return naive.central_differences(model, data)

    return gradient


def _by_backend(name: str, model: Layer, data: Data) -> Gradient:
    """Compute the gradients with `fn.gradients`, layer by layer."""

    def gradient() -> Mapping[str, Array]:
        with backend(name):
            gradients(model, data)
        return {each: param.grad_buffer() for each, param in model.named_parameters()}

    return gradient


def _recorded(model: Layer, data: Data) -> Gradient:
    """Replay a recorded training step of the compiled kernels, including an update with learning rate 0."""
    trainer = Trainer(model, optimizer=SGD(lr=0), keep_gradients=True)
    x, y = data

    def gradient() -> Mapping[str, Array]:
        with backend("aot"):
            trainer.step(x, y)
        return {each: param.grad_buffer() for each, param in model.named_parameters()}

    return gradient


def _naive(function: Any) -> Callable[[Layer, Data], Gradient]:
    return partial(_weight_by_weight, function)


METHODS = {
    "differences": Method(
        "central differences", _naive(naive.pure_python_differences), counts.central_differences, 4, 2
    ),
    "differences-numpy": Method(
        "central differences, NumPy", _numpy_differences, counts.central_differences, 4, 2
    ),
    "paths": Method("chain rule, every path", _naive(naive.path_gradients), counts.every_path, None, None),
    "python": Method("backpropagation", _naive(naive.pure_python_gradients), counts.backpropagation, 2, 1),
    "ref": Method("backpropagation, NumPy", partial(_by_backend, "ref"), counts.backpropagation, 2, 1),
    "jit": Method("backpropagation, Numba", partial(_by_backend, "jit"), counts.backpropagation, 2, 1),
    "aot": Method("backpropagation, compiled", _recorded, counts.backpropagation, 2, 1),
}

# The methods that compute on a whole batch; the others process one sample after the other.
BATCHED = ("ref", "jit", "aot")
