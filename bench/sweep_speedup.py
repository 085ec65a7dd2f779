"""Measure how much faster a sweep is with several jobs: many small trainings, each on one thread.

    FASTNN_DATA=... python bench/sweep_speedup.py --jobs 2 --rounds 5

Net A of `bench/peers.py` (784-128-64-32-10, ReLU, batch 32, SGD) trains for two epochs of MNIST, with a test
set, at `--members` learning rates. Three variants take turns: a sweep with one job, a sweep with `--jobs`
jobs, and one training after the other with `--jobs` threads per step. The losses must agree bit for bit.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import fastnn as fn

WIDTHS = (784, 128, 64, 32, 10)
TRAIN, TEST = fn.data.mnist(download=False)


def build(lr: float) -> dict[str, Any]:
    layers: list[fn.Layer] = [fn.Flatten()]
    for fans in itertools.pairwise(WIDTHS):
        layers += [fn.Linear(*fans), fn.ReLU()]
    model = fn.Sequential(*layers[:-1])
    return {"model": model, "data": TRAIN, "validation": TEST, "optimizer": fn.SGD(lr=lr), "epochs": 2}


def by_sweep(rates: list[float], jobs: int) -> list[list[float]]:
    study = fn.sweep(build, {"lr": rates}, seeds=[0], jobs=jobs, progress=False)
    return [member.history.updates["loss"] for member in study.members if member.history is not None]


def one_by_one(rates: list[float]) -> list[list[float]]:
    losses = []
    for lr in rates:
        fn.manual_seed(0)
        arguments = build(lr)
        model, data = arguments.pop("model"), arguments.pop("data")
        losses.append(fn.fit(model, data, seed=0, progress=False, **arguments).updates["loss"])
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--members", type=int, default=8, help="number of learning rates")
    options = parser.parse_args()
    rates = [0.01 * 30 ** (index / options.members) for index in range(options.members)]
    fn.set_num_threads(options.jobs)
    ways = {
        "1 job": lambda: by_sweep(rates, 1),
        f"{options.jobs} jobs": lambda: by_sweep(rates, options.jobs),
        f"one by one, {options.jobs} threads a step": lambda: one_by_one(rates),
    }
    expected = by_sweep(rates, 1)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            losses = way()
            seconds[name].append(time.perf_counter() - started)
            assert losses == expected, f"{name} gives different losses"
    first = statistics.median(seconds["1 job"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:35}{median:7.3f} s (best {min(times):.3f})   {first / median:.2f}x")


if __name__ == "__main__":
    main()
