"""Measure how much faster a sweep of small nets is when their updates are made together.

    FASTNN_DATA=... python bench/population.py --jobs 2 --rounds 5

Each net trains with batches of 8 samples at `--rates` learning rates from `--seeds` seeds. Two variants take
turns: a sweep with `population=False`, where each run is trained by itself, and one with `population=True`.
Their losses must agree bit for bit. The time of an update includes its part of all else that a sweep does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn as fn

BATCH = 8
Data = tuple[Any, Any]


def noise(samples: int) -> Data:
    """Sixteen numbers and a label of two: the sign of a linear function."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 16)).astype(np.float32)
    return x, (x @ rng.standard_normal(16) > 0).astype(np.int64)


def mnist(samples: int) -> Data:
    (x, y), _ = fn.data.mnist(download=False)
    return x[:samples], y[:samples]


# Name: the widths of the layers, the optimizer, the data, the number of samples and of epochs.
NETS: dict[str, tuple[tuple[int, int, int], Callable[..., fn.Optimizer], Callable[[int], Data], int, int]] = {
    "16-16-2": ((16, 16, 2), fn.SGD, noise, 4096, 40),
    "16-16-2 Adam": ((16, 16, 2), fn.Adam, noise, 4096, 40),
    "16-16-2, few samples": ((16, 16, 2), fn.SGD, noise, 512, 40),
    "784-32-10": ((784, 32, 10), fn.SGD, mnist, 8192, 2),
    "784-32-10 Adam": ((784, 32, 10), fn.Adam, mnist, 8192, 2),
}


def builder(name: str) -> Callable[..., dict[str, Any]]:
    widths, optimizer, load, samples, epochs = NETS[name]
    data = load(samples)

    def build(lr: float) -> dict[str, Any]:
        first, hidden, last = widths
        model = fn.Sequential(fn.Flatten(), fn.Linear(first, hidden), fn.ReLU(), fn.Linear(hidden, last))
        return {
            "model": model,
            "data": data,
            "optimizer": optimizer(lr=lr),
            "batch_size": BATCH,
            "epochs": epochs,
        }

    return build


def losses_of(study: fn.Study) -> list[list[float]]:
    return [member.history.updates["loss"] for member in study.members if member.history is not None]


def measure(name: str, rates: list[float], seeds: range, jobs: int, rounds: int) -> None:
    build = builder(name)
    _, _, _, samples, epochs = NETS[name]

    def sweep(population: bool) -> fn.Study:
        return fn.sweep(build, {"lr": rates}, seeds=seeds, jobs=jobs, progress=False, population=population)

    ways = {"alone": lambda: sweep(False), "together": lambda: sweep(True)}
    expected = losses_of(sweep(False))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    together = 1
    for _ in range(rounds):
        for way, run in ways.items():
            started = time.perf_counter()
            study = run()
            seconds[way].append(time.perf_counter() - started)
            assert losses_of(study) == expected, f"{way} gives different losses"
            together = max(together, *(member.together for member in study.members))
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["alone"], seconds["together"], strict=True)]
    updates = len(expected) * epochs * -(-samples // BATCH)
    each = "   ".join(f"{way} {1e6 * median / updates:7.3f} us" for way, median in medians.items())
    print(
        f"{name:22} {each} per update   {statistics.median(ratios):5.2f}x "
        f"({min(ratios):.2f} to {max(ratios):.2f})   {together} together",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2, help="threads")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--rates", type=int, default=8, help="number of learning rates")
    parser.add_argument("--seeds", type=int, default=4, help="number of seeds")
    parser.add_argument("--only", default="", help="part of the name of a net")
    options = parser.parse_args()
    rates = [0.001 * 30 ** (index / options.rates) for index in range(options.rates)]
    for name in NETS:
        if options.only in name:
            measure(name, rates, range(options.seeds), options.jobs, options.rounds)


if __name__ == "__main__":
    main()
