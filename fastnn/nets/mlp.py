"""The multi-layer perceptron: a stack of dense layers, built from a list of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from fastnn._validation import choose, in_range
from fastnn.init import Initializer
from fastnn.layers import ACTIVATIONS, Dropout, Flatten, Layer, Linear, Sequential


def mlp(
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    weight_init: str | Initializer = "fan_in_uniform",
    dropout: float = 0.0,
) -> Sequential:
    """Build a multi-layer perceptron that maps samples of any shape to logits.

    `mlp([784, 128, 10], dropout=0.2)` is::

        Sequential(Flatten(), Linear(784, 128), ReLU(), Dropout(0.2), Linear(128, 10))

    Args:
        sizes: Number of input features, of units in each hidden layer, and of outputs: at least two sizes.
        activation: Activation after each hidden layer, a key of `fastnn.layers.ACTIVATIONS`. The output
            layer has none, because the losses take logits.
        weight_init: Initializer of the weights, an object or a name (see `fastnn.init`). Biases start as
            in `Linear`.
        dropout: Dropout rate before the output layer, in [0, 1]. With 0, or without a hidden layer, the
            network has no dropout layer.

    Returns:
        The untrained network, float32.

    Raises:
        ValueError: For fewer than two sizes, a size below 1, an unknown activation or initializer, or a
            dropout rate outside [0, 1].
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least the inputs and the outputs, not {list(sizes)}")
    kind = choose(activation, ACTIVATIONS, "activation")
    rate = in_range(dropout, "dropout", 0, 1)
    layers: list[Layer] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [Linear(fan_in, fan_out, weight_init=weight_init), kind()]
    *hidden, output, _ = layers
    if rate and hidden:
        hidden.append(Dropout(rate))
    return Sequential(Flatten(), *hidden, output)
