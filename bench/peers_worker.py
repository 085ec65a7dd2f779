"""One contestant of `peers.py`, alone in its process: builds a net, takes training steps, times them.

Started with the contestant's name and a number of threads; reads one request a line from the standard
input and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

# One training step on a prepared batch; returns the loss before the update.
Step = Callable[[Any, Any], float]

BATCHES = 8


@dataclass(frozen=True)
class Net:
    """An MLP as `machine.md` names it: layer widths, activation between them, batch size, optimizer."""

    widths: tuple[int, ...]
    activation: str
    batch: int
    optimizer: str
    lr: float

    @property
    def flop(self) -> float:
        """FLOP of a step: forward, gradient of the weights, gradient of the inputs but the first."""
        products = [2.0 * self.batch * k * n for k, n in zip(self.widths, self.widths[1:], strict=False)]
        return 3 * sum(products) - products[0]

    def __str__(self) -> str:
        widths = "-".join(map(str, self.widths))
        return f"{widths} {self.activation} b{self.batch} {self.optimizer}"


NETS = {
    "A": Net((784, 128, 64, 32, 10), "relu", 32, "sgd", 0.05),
    "B": Net((784, 300, 10), "sigmoid", 50, "sgd", 0.05),
    "C": Net((784, 900, 400, 10), "relu", 30, "sgd", 0.02),
    "D": Net((4096, 128, 6), "relu", 128, "adam", 0.0001),
}


def weights_of(net: Net) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same starting weights for every contestant: W (in, out) He-normal, b = 0."""
    rng = np.random.default_rng(1)
    return [
        ((rng.normal(size=(k, n)) * np.sqrt(2 / k)).astype(np.float32), np.zeros(n, np.float32))
        for k, n in zip(net.widths, net.widths[1:], strict=False)
    ]


def batches_of(net: Net) -> list[tuple[np.ndarray, np.ndarray]]:
    """Eight batches: float32 features in [0, 1] like pixels, int64 labels."""
    rng = np.random.default_rng(2)
    return [
        (
            rng.random((net.batch, net.widths[0]), np.float32) * (rng.random(net.widths[0]) < 0.25),
            rng.integers(net.widths[-1], size=net.batch),
        )
        for _ in range(BATCHES)
    ]


def fastnn_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    import fastnn as fn

    fn.set_num_threads(threads)
    layers: list[fn.Layer] = []
    for weight, bias in weights_of(net):
        layer = fn.Linear(*weight.shape)
        layer.weight.value, layer.bias.value = weight, bias
        layers += [layer, {"relu": fn.ReLU, "sigmoid": fn.Sigmoid}[net.activation]()]
    optimizer = {"sgd": fn.SGD, "adam": fn.Adam}[net.optimizer](net.lr)
    trainer = fn.Trainer(fn.Sequential(*layers[:-1]), loss="cross_entropy", optimizer=optimizer, seed=0)
    return trainer.step, batches_of(net)


def torch_step(net: Net, threads: int, compiled: bool = False) -> tuple[Step, list[Any]]:
    import torch

    torch.set_num_threads(threads)
    layers: list[torch.nn.Module] = []
    for weight, bias in weights_of(net):
        layer = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}[net.activation]()]
    model = torch.nn.Sequential(*layers[:-1])
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[net.optimizer]
    optimizer = make(model.parameters(), lr=net.lr, fused=True)
    loss_of = torch.nn.functional.cross_entropy

    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss_of(model(x), y)

    if compiled:
        forward = torch.compile(forward)

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(x, y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches_of(net)]


def torch_compiled_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    return torch_step(net, threads, compiled=True)


def jax_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    import jax
    import jax.numpy as jnp

    activation = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[net.activation]

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        for index, (weight, bias) in enumerate(params):
            x = x @ weight + bias
            if index < len(params) - 1:
                x = activation(x)
        rows = jnp.arange(x.shape[0])
        return jnp.mean(jax.nn.logsumexp(x, axis=1) - x[rows, y])

    def update(params: Any, moments: Any, count: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        if net.optimizer == "sgd":
            return jax.tree.map(lambda p, g: p - net.lr * g, params, grads), moments, count, loss
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(
            lambda p, m, v: p - net.lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, first, second
        )
        return params, (first, second), count, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.asarray, weights_of(net))
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state = [params, tuple(zeros), jnp.zeros((), jnp.float32)]

    def step(x: Any, y: Any) -> float:
        *state[:], loss = compiled(*state, x, y)
        return float(loss)

    return step, [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches_of(net)]


def sklearn_step(net: Net, threads: int) -> tuple[Step, list[Any]]:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        net.widths[1:-1],
        activation={"relu": "relu", "sigmoid": "logistic"}[net.activation],
        solver=net.optimizer,
        batch_size=net.batch,
        learning_rate_init=net.lr,
        momentum=0,
        alpha=0,
        shuffle=False,
    )
    batches = batches_of(net)
    # The first call builds the network; only then can it be given weights.
    model.partial_fit(*batches[0], classes=np.arange(net.widths[-1]))
    for index, (weight, bias) in enumerate(weights_of(net)):
        model.coefs_[index][...], model.intercepts_[index][...] = weight, bias
    model.__dict__.pop("_optimizer", None)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        model.partial_fit(x, y)
        return float(model.loss_)

    return step, batches


CONTESTANTS: dict[str, Callable[[Net, int], tuple[Step, list[Any]]]] = {
    "fastnn": fastnn_step,
    "torch": torch_step,
    "torch.compile": torch_compiled_step,
    "jax": jax_step,
    "sklearn": sklearn_step,
}


def time_steps(step: Step, batches: list[Any], seconds: float) -> list[float]:
    """Seconds per step, one number for each run over all batches."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        for x, y in batches:
            step(x, y)
        times.append((time.perf_counter() - start) / len(batches))
    return times


def answers(contestant: str, threads: int, requests: Iterator[str]) -> Iterator[dict[str, Any]]:
    """For each request {"net": name, "seconds": ...}: the first losses (once), times, peak memory."""
    ready: dict[str, tuple[Step, list[Any]]] = {}
    for line in requests:
        request = json.loads(line)
        name = request["net"]
        answer: dict[str, Any] = {}
        if name not in ready:
            ready[name] = CONTESTANTS[contestant](NETS[name], threads)
            step, batches = ready[name]
            answer["losses"] = [step(x, y) for x, y in batches]
            time_steps(step, batches, request["seconds"])  # warm up
        answer["times"] = time_steps(*ready[name], request["seconds"])
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield answer


def main() -> None:
    contestant, threads = sys.argv[1], int(sys.argv[2])
    answer_stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    for answer in answers(contestant, threads, sys.stdin):
        print(json.dumps(answer), file=answer_stream, flush=True)


if __name__ == "__main__":
    main()
