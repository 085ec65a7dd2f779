"""Build and time the nets of one contestant of `peers.py`, in a process of its own.

The arguments are the contestant's name and the number of threads. Each line of standard input is a request
in JSON; the answer is one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from peers_nets import (
    NETS,
    Conv,
    Dense,
    Dropout,
    MaxPool,
    Net,
    Shape,
    Step,
    batches_of,
    parts_with_weights,
    rows_by_channel,
)
from peers_optional import keras_step, tinygrad_step


def fastnn_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    import fastnn as fn

    fn.set_num_threads(threads)
    by_name = {"relu": fn.ReLU, "sigmoid": fn.Sigmoid, "tanh": fn.Tanh, "flatten": fn.Flatten}
    layers: list[fn.Layer] = []
    for layer, shape, weights in parts_with_weights(net):
        match layer:
            case Dense(outputs):
                layers.append(fn.Linear(shape[0], outputs))
            case Conv(outputs, size, padding):
                layers.append(fn.Conv2d(shape[-1], outputs, size, padding=padding))
            case MaxPool(size):
                layers.append(fn.MaxPool2d(size))
            case Dropout(rate):
                layers.append(fn.Dropout(rate))
            case "batch norm":
                layers.append(fn.BatchNorm2d(shape[-1]))
            case _:
                layers.append(by_name[layer]())
        if isinstance(layer, (Dense, Conv)):
            layers[-1].weight.value, layers[-1].bias.value = weights
    optimizer = {"sgd": fn.SGD, "adam": fn.Adam}[net.optimizer](net.lr)
    trainer = fn.Trainer(fn.Sequential(*layers), loss=net.loss, optimizer=optimizer, seed=0)
    return trainer.step, batches_of(net)


def torch_model(net: Net) -> Any:
    """The net for images (N, C, H, W), with the starting weights converted to that order."""
    import torch
    from torch import nn

    by_name = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "flatten": nn.Flatten}
    layers: list[nn.Module] = []
    flattened: Shape | None = None
    for layer, shape, weights in parts_with_weights(net):
        match layer:
            case Dense(outputs):
                layers.append(nn.Linear(shape[0], outputs))
                start = weights[0] if flattened is None else rows_by_channel(weights[0], flattened)
                start, flattened = start.T, None
            case Conv(outputs, size, padding):
                layers.append(nn.Conv2d(shape[-1], outputs, size, padding=padding))
                start = weights[0].transpose(3, 2, 0, 1)
            case MaxPool(size):
                layers.append(nn.MaxPool2d(size))
            case Dropout(rate):
                layers.append(nn.Dropout(rate))
            case "batch norm":
                layers.append(nn.BatchNorm2d(shape[-1]))
            case _:
                layers.append(by_name[layer]())
                flattened = shape if layer == "flatten" else flattened
        if isinstance(layer, (Dense, Conv)):
            with torch.no_grad():
                layers[-1].weight.copy_(torch.from_numpy(start.copy()))
                layers[-1].bias.copy_(torch.from_numpy(weights[1]))
    return nn.Sequential(*layers)


def torch_step(
    net: Net, threads: int, *, compiled: bool = False, channels_last: bool = False
) -> tuple[Step, list[Any]]:
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = torch_model(net).to(memory_format=layout)
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[net.optimizer]
    optimizer = make(model.parameters(), lr=net.lr, fused=True)
    functional = torch.nn.functional
    loss_of = {
        "cross_entropy": functional.cross_entropy,
        "squared_error": lambda outputs, y: functional.mse_loss(outputs, y) / 2,
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    }[net.loss]

    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss_of(model(x), y)

    if compiled:
        # All nets share the code of `forward`. With this limit each net is compiled for its own shapes, and
        # none falls back to eager mode.
        torch._dynamo.config.recompile_limit = 2 * len(NETS)
        forward = torch.compile(forward, dynamic=False, fullgraph=True)

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def tensor(x: np.ndarray) -> torch.Tensor:
        if not net.has_images:
            return torch.from_numpy(x)
        return torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(memory_format=layout)

    return step, [(tensor(x), torch.from_numpy(y)) for x, y in batches_of(net)]


def jax_forward(net: Net) -> Callable[[Any, Any, Any, Any], tuple[Any, Any]]:
    """(weights, running statistics, random key, x) -> (outputs, running statistics), images (N, H, W, C)."""
    import jax
    import jax.numpy as jnp

    by_name = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}

    def forward(params: Any, running: Any, key: Any, x: Any) -> tuple[Any, Any]:
        moments = list(running)
        for index, layer in enumerate(net.layers):
            own = params[index]
            match layer:
                case Dense():
                    x = x @ own[0] + own[1]
                case Conv(padding=padding):
                    pads = [(padding, padding)] * 2
                    numbers = ("NHWC", "HWIO", "NHWC")
                    x = jax.lax.conv_general_dilated(x, own[0], (1, 1), pads, dimension_numbers=numbers)
                    x = x + own[1]
                case MaxPool(size):
                    N, H, W, C = x.shape
                    x = x.reshape(N, H // size, size, W // size, size, C).max((2, 4))
                case Dropout(rate):
                    kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - rate, x.shape)
                    x = jnp.where(kept, x / (1 - rate), 0)
                case "batch norm":
                    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
                    count = x.size // x.shape[-1]
                    new = mean, var * count / (count - 1)
                    moments[index] = jax.tree.map(lambda r, n: 0.9 * r + 0.1 * n, running[index], new)
                    x = (x - mean) * (own[0] * jax.lax.rsqrt(var + 1e-5)) + own[1]
                case "flatten":
                    x = x.reshape(len(x), -1)
                case _:
                    x = by_name[layer](x)
        return x, moments

    return forward


def jax_loss(net: Net) -> Callable[[Any, Any], Any]:
    """(outputs, targets) -> the loss of a mini-batch."""
    import jax
    import jax.numpy as jnp

    def cross_entropy(outputs: Any, y: Any) -> Any:
        return jnp.mean(jax.nn.logsumexp(outputs, axis=1) - outputs[jnp.arange(outputs.shape[0]), y])

    return {
        "cross_entropy": cross_entropy,
        "squared_error": lambda outputs, y: jnp.mean((outputs - y) ** 2) / 2,
        "binary_cross_entropy": lambda outputs, y: jnp.mean(jax.nn.softplus(outputs) - y * outputs),
    }[net.loss]


def jax_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    import jax
    import jax.numpy as jnp

    forward, loss_of_outputs = jax_forward(net), jax_loss(net)

    def loss_of(params: Any, running: Any, key: Any, x: Any, y: Any) -> Any:
        outputs, running = forward(params, running, key, x)
        return loss_of_outputs(outputs, y), running

    def update(params: Any, moments: Any, running: Any, count: Any, x: Any, y: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(0), count)
        value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
        (loss, running), grads = value_and_grad(params, running, key, x, y)
        count = count + 1
        if net.optimizer == "sgd":
            params = jax.tree.map(lambda p, g: p - net.lr * g, params, grads)
            return params, moments, running, count, loss
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(
            lambda p, m, v: p - net.lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, first, second
        )
        return params, (first, second), running, count, loss

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    params = jax.tree.map(jnp.asarray, [weights for _, _, weights in parts_with_weights(net)])
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    # Running statistics start with mean 0 and variance 1.
    running = [
        (jnp.zeros(shape[-1]), jnp.ones(shape[-1])) if layer == "batch norm" else ()
        for layer, shape in net.parts()
    ]
    state = [params, tuple(zeros), running, jnp.zeros((), jnp.int32)]

    def step(x: Any, y: Any) -> float:
        *state[:], loss = compiled(*state, x, y)
        return float(loss)

    return step, [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches_of(net)]


def sklearn_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    parts = [part for part in parts_with_weights(net) if isinstance(part[0], Dense)]
    is_regression = net.loss == "squared_error"
    model = (MLPRegressor if is_regression else MLPClassifier)(
        hidden_layer_sizes=[layer.outputs for layer, _, _ in parts[:-1]],
        activation={"relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}[net.layers[1]],
        solver=net.optimizer,
        batch_size=net.batch,
        learning_rate_init=net.lr,
        momentum=0,
        alpha=0,
        shuffle=False,
    )
    batches = batches_of(net)
    if net.loss == "binary_cross_entropy":
        batches = [(x, y[:, 0].astype(np.int64)) for x, y in batches]
    # The first call builds the network; only then can its weights be set.
    classes = {} if is_regression else {"classes": np.arange(max(net.outputs, 2))}
    model.partial_fit(*batches[0], **classes)
    for index, (_, _, (weight, bias)) in enumerate(parts):
        model.coefs_[index][...], model.intercepts_[index][...] = weight, bias
    model.__dict__.pop("_optimizer", None)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        model.partial_fit(x, y)
        return float(model.loss_)

    return step, batches


CONTESTANTS: dict[str, Callable[[Net, int], tuple[Step, list[Any]]]] = {
    "fastnn": fastnn_step,
    "torch": torch_step,
    "torch channels_last": partial(torch_step, channels_last=True),
    "torch.compile": partial(torch_step, compiled=True),
    "torch.compile channels_last": partial(torch_step, compiled=True, channels_last=True),
    "jax": jax_step,
    "keras": keras_step,
    "tinygrad": tinygrad_step,
    "sklearn": sklearn_step,
}


def takes_part(contestant: str, net: Net) -> bool:
    """scikit-learn has hidden layers and no convolutions; channels_last applies only to nets with images."""
    if contestant == "sklearn":
        return not net.has_images and len(net.layers) > 1
    return net.has_images or "channels_last" not in contestant


def time_steps(step: Step, batches: list[Any], seconds: float) -> list[float]:
    """Seconds per step, one value for each run over all mini-batches."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        for x, y in batches:
            step(x, y)
        times.append((time.perf_counter() - start) / len(batches))
    return times


def answers(contestant: str, threads: int, requests: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Answer each request {"net": name, "seconds": ...}: losses (first time only), times, peak memory."""
    ready: dict[str, tuple[Step, list[Any]]] = {}
    for line in requests:
        request = json.loads(line)
        name = request["net"]
        answer: dict[str, Any] = {}
        if name not in ready:
            net, make = NETS[name], CONTESTANTS[contestant]
            ready[name] = make(net.without_dropout(), threads)
            answer["losses"] = [ready[name][0](x, y) for x, y in ready[name][1]]
            if net != net.without_dropout():
                ready[name] = make(net, threads)
            time_steps(*ready[name], request["seconds"])  # warm up
        answer["times"] = time_steps(*ready[name], request["seconds"])
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield answer


def main() -> None:
    contestant, threads = sys.argv[1], int(sys.argv[2])
    answer_stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the output of libraries out of the answers
    for answer in answers(contestant, threads, sys.stdin):
        print(json.dumps(answer), file=answer_stream, flush=True)


if __name__ == "__main__":
    main()
