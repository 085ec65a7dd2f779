"""The training steps of peers.py's optional contestants: Keras and tinygrad."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from peers_nets import (
    Conv,
    Dense,
    Dropout,
    Layer,
    MaxPool,
    Net,
    Shape,
    Step,
    batches_of,
    parts_with_weights,
    rows_by_channel,
)


def keras_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    """Keras 3 with the JAX backend: `train_on_batch`, compiled. Images are (N, H, W, C)."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    model = keras.Sequential([keras.Input(net.sample), *map(keras_layer, net.layers)])
    given = [value for _, _, weights in parts_with_weights(net) if weights is not None for value in weights]
    for variable, value in zip(model.trainable_weights, given, strict=True):
        variable.assign(value)
    make = {"sgd": keras.optimizers.SGD, "adam": partial(keras.optimizers.Adam, epsilon=1e-8)}[net.optimizer]
    model.compile(make(net.lr), keras_loss(net), jit_compile=True)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        model.reset_metrics()  # or the losses of earlier steps are averaged in
        return float(model.train_on_batch(x, y))

    return step, batches_of(net)


def keras_layer(layer: Layer) -> Any:
    import keras

    match layer:
        case Dense(outputs):
            return keras.layers.Dense(outputs)
        case Conv(outputs, size, padding):
            return keras.layers.Conv2D(outputs, size, padding="same" if padding else "valid")
        case MaxPool(size):
            return keras.layers.MaxPooling2D(size)
        case Dropout(rate):
            return keras.layers.Dropout(rate)
        case "batch norm":
            return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        case "flatten":
            return keras.layers.Flatten()
        case _:
            return keras.layers.Activation(layer)


def keras_loss(net: Net) -> Any:
    import keras

    if net.loss == "squared_error":
        return lambda y, outputs: keras.ops.mean((outputs - y) ** 2) / 2
    if net.loss == "binary_cross_entropy":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def tinygrad_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    """tinygrad with TinyJit on its CPU device, which compiles with clang. Images are (N, C, H, W)."""
    os.environ |= {"DEV": "CPU", "CPU_COUNT": str(threads)}
    from tinygrad import Context, Tensor, TinyJit, nn

    forward, params = tinygrad_forward(net)
    make = {"sgd": nn.optim.SGD, "adam": nn.optim.Adam}[net.optimizer]
    optimizer = make(params, lr=net.lr)
    loss_of = {
        "cross_entropy": lambda outputs, y: outputs.sparse_categorical_crossentropy(y),
        "squared_error": lambda outputs, y: (outputs - y).square().mean() / 2,
        "binary_cross_entropy": lambda outputs, y: outputs.binary_crossentropy_logits(y),
    }[net.loss]

    @TinyJit
    def update(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(forward(x), y)
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    def step(x: Any, y: Any) -> float:
        with Context(TRAINING=1):
            return float(update(x, y).item())

    batches = [
        (x.transpose(0, 3, 1, 2) if net.has_images else x, y.astype(np.int32) if y.dtype.kind == "i" else y)
        for x, y in batches_of(net)
    ]
    return step, [tuple(Tensor(np.ascontiguousarray(part)).realize() for part in batch) for batch in batches]


def tinygrad_forward(net: Net) -> tuple[Callable[[Any], Any], list[Any]]:
    """The outputs as a function of x (N, C, H, W) or (N, K), and the parameters."""
    from tinygrad import Tensor, nn

    layers: list[Callable[[Any], Any]] = []
    params: list[Any] = []
    flattened: Shape | None = None
    for layer, shape, weights in parts_with_weights(net):
        if isinstance(layer, (Dense, Conv)):
            weight = weights[0]
            if isinstance(layer, Conv):
                weight = weight.transpose(3, 2, 0, 1)
            elif flattened is not None:
                weight, flattened = rows_by_channel(weight, flattened), None
            w, b = Tensor(np.ascontiguousarray(weight)), Tensor(weights[1])
            params += [w, b]
        match layer:
            case Dense():
                layers.append(lambda x, w=w, b=b: x @ w + b)
            case Conv(padding=padding):
                layers.append(lambda x, w=w, b=b, padding=padding: x.conv2d(w, b, padding=padding))
            case MaxPool(size):
                layers.append(lambda x, size=size: x.max_pool2d((size, size)))
            case Dropout(rate):
                layers.append(lambda x, rate=rate: x.dropout(rate))
            case "batch norm":
                norm = nn.BatchNorm(shape[-1])
                layers.append(norm)
                params += [norm.weight, norm.bias]
            case "flatten":
                layers.append(lambda x: x.flatten(1))
                flattened = shape
            case _:
                layers.append(lambda x, name=layer: getattr(x, name)())
    return lambda x: x.sequential(layers), params
