"""Time whole jobs: epochs of MNIST by `fn.fit`, beside PyTorch, Keras and scikit-learn with the same recipe.

    pip install -e '.[peers]' && python bench/epochs.py --threads 2

The net is 784-128-64-32-10 with ReLU (net A of peers.py), trained by plain SGD on mini-batches of 32. An
epoch includes all that surrounds the steps: shuffling, gathering mini-batches from 48,000 images of bytes,
and loss and accuracy on the other 12,000. The loop in PyTorch is written for speed: all images are converted
to floats before the time begins, mini-batches are gathered by index_select, the optimizer is fused, the loss
is not read, and the validation set is one batch. (A DataLoader is many times slower.) The contestants take
turns, one epoch each; the figures are medians over the rounds and, in brackets, minima. The last column
compares them with the steps alone, by `Trainer.step` on prepared mini-batches. Keras is optional
(`pip install keras`). The time to 97 % is the number of epochs until that accuracy times the median.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

import fastnn as fn

WIDTHS, BATCH, LR, VALIDATION = (784, 128, 64, 32, 10), 32, 0.05, 12_000
PAUSE = 0.15  # seconds; threads of OpenMP spin for 0.1 s after their last job

Epoch = Callable[[], float]  # trains for an epoch; returns the validation accuracy


def network() -> fn.Sequential:
    layers = [layer for pair in pairwise(WIDTHS) for layer in (fn.Linear(*pair), fn.ReLU())]
    return fn.Sequential(*layers[:-1])


def by_fastnn(x: np.ndarray, y: np.ndarray, xv: np.ndarray, yv: np.ndarray) -> Epoch:
    model, optimizer = network(), fn.SGD(LR)

    def epoch() -> float:
        history = fn.fit(
            model, (x, y), validation=(xv, yv), optimizer=optimizer, batch_size=BATCH, progress=False
        )
        return history["val_accuracy"][-1]

    return epoch


def by_steps(x: np.ndarray, y: np.ndarray, xv: np.ndarray, yv: np.ndarray) -> Epoch:
    trainer = fn.Trainer(network(), optimizer=fn.SGD(LR))
    prepared = [
        ((x[begin : begin + BATCH] / 255).astype(np.float32), y[begin : begin + BATCH])
        for begin in range(0, len(x), BATCH)
    ]

    def epoch() -> float:
        for batch in prepared:
            trainer.step(*batch)
        return float("nan")

    return epoch


def by_torch(x: np.ndarray, y: np.ndarray, xv: np.ndarray, yv: np.ndarray) -> Epoch:
    import torch
    from torch import nn

    layers = [layer for pair in pairwise(WIDTHS) for layer in (nn.Linear(*pair), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, fused=True)
    cross_entropy = nn.functional.cross_entropy
    images, held_out = (torch.from_numpy(part).float() / 255 for part in (x, xv))
    labels, held_out_labels = torch.from_numpy(y), torch.from_numpy(yv)

    def epoch() -> float:
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(images.index_select(0, rows)), labels.index_select(0, rows)).backward()
            optimizer.step()
        with torch.inference_mode():
            outputs = model(held_out)
            cross_entropy(outputs, held_out_labels).item()
            return float((outputs.argmax(1) == held_out_labels).float().mean())

    return epoch


def by_keras(x: np.ndarray, y: np.ndarray, xv: np.ndarray, yv: np.ndarray) -> Epoch:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    layers = [keras.layers.Dense(width, activation="relu") for width in WIDTHS[1:-1]]
    model = keras.Sequential([keras.Input((WIDTHS[0],)), *layers, keras.layers.Dense(WIDTHS[-1])])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LR), loss, ["accuracy"], jit_compile=True)
    images, held_out = ((part / 255).astype(np.float32) for part in (x, xv))

    def epoch() -> float:
        history = model.fit(images, y, BATCH, epochs=1, verbose=0, validation_data=(held_out, yv))
        return history.history["val_accuracy"][-1]

    return epoch


def by_sklearn(x: np.ndarray, y: np.ndarray, xv: np.ndarray, yv: np.ndarray) -> Epoch:
    from sklearn.neural_network import MLPClassifier

    images, held_out = ((part / 255).astype(np.float32) for part in (x, xv))
    model = MLPClassifier(
        WIDTHS[1:-1], solver="sgd", batch_size=BATCH, learning_rate_init=LR, momentum=0, alpha=0
    )
    rng = np.random.default_rng(0)

    def epoch() -> float:
        order = rng.permutation(len(images))
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            model.partial_fit(images[rows], y[rows], classes=np.arange(WIDTHS[-1]))
        return float(model.score(held_out, yv))

    return epoch


CONTESTANTS = {
    "fit": by_fastnn,
    "steps alone": by_steps,
    "torch": by_torch,
    "keras": by_keras,
    "sklearn": by_sklearn,
}


def installed() -> list[str]:
    """The contestants whose library is installed; each of the others gets a line."""
    names = []
    for name in CONTESTANTS:
        if name in ("torch", "keras", "sklearn") and importlib.util.find_spec(name) is None:
            print(f"{name} does not take part: it is not installed")
        else:
            names.append(name)
    return names


def set_threads(count: int) -> None:
    """Let all libraries use that many threads, as far as they can be told."""
    from threadpoolctl import threadpool_limits

    fn.set_num_threads(count)
    threadpool_limits(count)
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(count)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])  # for XLA


def race(epochs: dict[str, Epoch], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Let the contestants take turns; returns the seconds and the accuracies of their epochs.

    The first epoch, in which they compile and record, has an accuracy and no time.
    """
    times: dict[str, list[float]] = {name: [] for name in epochs}
    accuracies: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(rounds + 1):
        for name, epoch in epochs.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            accuracies[name].append(epoch())
            if number:
                times[name].append(time.perf_counter() - start)
    return times, accuracies


def time_to(accuracy: float, accuracies: list[float], median: float) -> str:
    """How many epochs, and how long, until the accuracy was reached."""
    for number, reached in enumerate(accuracies, start=1):
        if reached >= accuracy:
            return f"{accuracy:.0%} after {number} epochs, {number * median:.2f} s"
    return f"best accuracy {max(accuracies):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="number of threads of all contestants")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each contestant")
    parser.add_argument("--accuracy", type=float, default=0.97, help="validation accuracy to reach")
    options = parser.parse_args()
    (x, y), _ = fn.data.mnist()
    x = x.reshape(len(x), -1)
    data = x[:-VALIDATION], y[:-VALIDATION], x[-VALIDATION:], y[-VALIDATION:]
    set_threads(options.threads)
    epochs = {name: CONTESTANTS[name](*data) for name in installed()}
    times, accuracies = race(epochs, options.rounds)
    fit, steps = (statistics.median(times[name]) for name in ("fit", "steps alone"))
    print(f"{options.threads} thread" + "s" * (options.threads > 1) + ": seconds per epoch")
    for name, each in times.items():
        median = statistics.median(each)
        ratios = f"{median / fit:6.2f} x fit  {median / steps:6.2f} x steps"
        end = "" if name == "steps alone" else time_to(options.accuracy, accuracies[name], median)
        print(f"{name:12}{median:8.3f} ({min(each):.3f})  {ratios}  {end}")


if __name__ == "__main__":
    main()
