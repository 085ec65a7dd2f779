"""Define the nets of peers.py: layers, shapes, FLOP, starting weights and mini-batches for all contestants.

Letters are declared in kernels/README.md: images are (N, H, W, C), filters (R, S, C, O), weights of a fully
connected layer (K, N).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

Shape = tuple[int, ...]

BATCHES = 8
MOST_SAMPLES = 100_000  # in all mini-batches together, if there are several


@dataclass(frozen=True)
class Dense:
    """A fully connected layer with bias."""

    outputs: int


@dataclass(frozen=True)
class Conv:
    """`outputs` filters of `size` x `size` with bias, stride 1, over images padded by `padding`."""

    outputs: int
    size: int
    padding: int = 0


@dataclass(frozen=True)
class MaxPool:
    """Max pooling over windows of `size` x `size` pixels with stride `size`."""

    size: int


@dataclass(frozen=True)
class Dropout:
    rate: float


# Layers without sizes are strings: "relu", "sigmoid", "tanh", "flatten", "batch norm".
Layer = Dense | Conv | MaxPool | Dropout | str


@dataclass(frozen=True)
class Net:
    """The shape of a sample, the layers, and the training options.

    `loss` is "cross_entropy", "squared_error" (half the squared error, averaged over all outputs) or
    "binary_cross_entropy" (of a single logit).
    """

    name: str
    sample: Shape
    layers: tuple[Layer, ...]
    batch: int
    optimizer: str
    lr: float
    loss: str = "cross_entropy"

    def parts(self) -> Iterator[tuple[Layer, Shape]]:
        """Each layer with the shape of its input sample."""
        shape = self.sample
        for layer in self.layers:
            yield layer, shape
            shape = output_shape(layer, shape)

    @property
    def outputs(self) -> int:
        layer, shape = list(self.parts())[-1]
        return output_shape(layer, shape)[0]

    @property
    def batches(self) -> int:
        """The number of prepared mini-batches."""
        return max(1, min(BATCHES, MOST_SAMPLES // self.batch))

    @property
    def has_images(self) -> bool:
        return len(self.sample) > 1

    @property
    def flop(self) -> float:
        """FLOP of a step: forward, weight gradients, and input gradients except for the first layer."""
        products = [
            2.0
            * self.batch
            * math.prod(weight_shape(layer, shape))
            * math.prod(output_shape(layer, shape)[:-1])
            for layer, shape in self.parts()
            if isinstance(layer, (Dense, Conv))
        ]
        return 3 * sum(products) - products[0]

    def without_dropout(self) -> Net:
        """The same net with dropout rate 0, whose losses do not depend on random bits."""
        layers = tuple(Dropout(0.0) if isinstance(layer, Dropout) else layer for layer in self.layers)
        return replace(self, layers=layers)

    def __str__(self) -> str:
        return f"{self.name} b{self.batch} {self.optimizer}"


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """The shape of a sample after the layer."""
    match layer:
        case Dense(outputs):
            return (outputs,)
        case Conv(outputs, size, padding):
            return *(side + 2 * padding - size + 1 for side in shape[:2]), outputs
        case MaxPool(size):
            return shape[0] // size, shape[1] // size, shape[2]
        case "flatten":
            return (math.prod(shape),)
        case _:
            return shape


def weight_shape(layer: Dense | Conv, shape: Shape) -> Shape:
    """The shape of the layer's weights, (K, N) or (R, S, C, O), for samples of that shape."""
    if isinstance(layer, Dense):
        return *shape, layer.outputs
    return layer.size, layer.size, shape[-1], layer.outputs


def mlp(
    widths: Shape, activation: str, batch: int, optimizer: str, lr: float, loss: str = "cross_entropy"
) -> Net:
    """Fully connected layers with an activation in between."""
    layers = [layer for _, outputs in pairwise(widths) for layer in (Dense(outputs), activation)]
    name = f"{'-'.join(map(str, widths))} {activation}".strip()
    return Net(name, widths[:1], tuple(layers[:-1]), batch, optimizer, lr, loss)


def one_convolution(batch: int, lr: float) -> Net:
    """A minimal CNN: 16 filters on an MNIST image, and a linear classifier of their outputs."""
    layers = (Conv(16, 7), "tanh", "flatten", Dense(10))
    return Net("16@7x7 tanh 10", (28, 28, 1), layers, batch, "sgd", lr)


def two_blocks(batch: int, lr: float) -> Net:
    """Two convolutions with batch norm and pooling, and two fully connected layers with dropout."""
    blocks = [
        layer
        for outputs in (32, 64)
        for layer in (Conv(outputs, 3, padding=1), "batch norm", "relu", MaxPool(2))
    ]
    layers = (*blocks, "flatten", Dense(128), "relu", Dropout(0.5), Dense(10))
    return Net("32@3x3 64@3x3 bn pool 128 10", (28, 28, 1), layers, batch, "adam", lr)


def lenet5(batch: int) -> Net:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, as in the tables of SimpleChains.jl."""
    blocks = [layer for outputs in (6, 16) for layer in (Conv(outputs, 5), "relu", MaxPool(2))]
    layers = (*blocks, "flatten", Dense(120), "relu", Dense(84), "relu", Dense(10))
    return Net("LeNet-5", (28, 28, 1), layers, batch, "adam", 3e-4)


def surrogate(batch: int) -> Net:
    """A regression of four outputs on four inputs: the smallest net of SimpleChains.jl."""
    return mlp((4, 32, 16, 4), "tanh", batch, "adam", 0.001, "squared_error")


def tabular(batch: int) -> Net:
    """A yes/no decision on 30 columns of a table."""
    return mlp((30, 64, 64, 1), "relu", batch, "adam", 0.001, "binary_cross_entropy")


NETS = {
    "A": mlp((784, 128, 64, 32, 10), "relu", 32, "sgd", 0.05),
    "B": mlp((784, 300, 10), "sigmoid", 50, "sgd", 0.05),
    "C": mlp((784, 900, 400, 10), "relu", 30, "sgd", 0.02),
    "D": mlp((4096, 128, 6), "relu", 128, "adam", 0.0001),
    "E": one_convolution(1, 0.001),
    "F": one_convolution(32, 0.01),
    "G": two_blocks(128, 0.001),
    "H32": lenet5(32),
    "H128": lenet5(128),
    "H2048": lenet5(2048),
    "I32": surrogate(32),
    "I10000": surrogate(10_000),
    "J128": tabular(128),
    "J4096": tabular(4096),
    "K": mlp((784, 10), "", 48_000, "sgd", 0.1),
    "L": mlp((784, 2048, 2048, 10), "relu", 256, "sgd", 0.01),
}


Weights = tuple[np.ndarray, np.ndarray]
Step = Callable[[Any, Any], float]  # an update from a prepared mini-batch; returns the loss before it


def parts_with_weights(net: Net) -> Iterator[tuple[Layer, Shape, Weights | None]]:
    """Each layer with its input shape and its starting weights, the same for every contestant.

    Weights are He-normal and biases 0. A batch norm starts with gamma 1 and beta 0. Other layers have None.
    """
    rng = np.random.default_rng(1)
    for layer, shape in net.parts():
        weights = None
        if isinstance(layer, (Dense, Conv)):
            sizes = weight_shape(layer, shape)
            start = rng.normal(size=sizes) * np.sqrt(2 / math.prod(sizes[:-1]))
            weights = start.astype(np.float32), np.zeros(layer.outputs, np.float32)
        elif layer == "batch norm":
            weights = np.ones(shape[-1], np.float32), np.zeros(shape[-1], np.float32)
        yield layer, shape, weights


def rows_by_channel(weight: np.ndarray, image: Shape) -> np.ndarray:
    """Reorder the rows of W (H W C, N) to C, H, W, the order in which PyTorch flattens an image."""
    return weight.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(weight.shape)


def batches_of(net: Net) -> list[tuple[np.ndarray, np.ndarray]]:
    """The mini-batches: float32 features in [0, 1] like pixels, and the targets of `targets_of`."""
    rng = np.random.default_rng(2)
    return [
        (
            rng.random((net.batch, *net.sample), np.float32) * (rng.random(net.sample) < 0.25),
            targets_of(net, rng),
        )
        for _ in range(net.batches)
    ]


def targets_of(net: Net, rng: np.random.Generator) -> np.ndarray:
    """The targets of one mini-batch: int64 labels, or float32 targets (N, outputs)."""
    if net.loss == "cross_entropy":
        return rng.integers(net.outputs, size=net.batch)
    targets = rng.random((net.batch, net.outputs), np.float32)
    return targets if net.loss == "squared_error" else targets.round()
