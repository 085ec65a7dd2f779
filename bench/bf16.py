"""Time training steps in bf16 beside float32, and compare the accuracies on MNIST.

    python bench/bf16.py --threads 1 2
    FASTNN_DATA=... python bench/bf16.py --nets --products --accuracy 5

Needs a processor with AVX512_BF16. The first table has whole steps of the fully connected nets of peers.py,
the second one single products of their layers, in microseconds; "gain" is the time in float32 divided by
that in bf16. Both precisions take turns of a fraction of a second over many rounds; the figures are medians,
and in brackets the gain of the fastest turns. `--accuracy N` trains 784-128-64-10 (ReLU, Adam, 5 epochs) on
MNIST with N seeds in each precision, and prints the mean and the standard deviation of the test accuracies.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from peers_nets import NETS, batches_of
from peers_worker import fastnn_trainer
from tqdm import tqdm

import fastnn as fn
from fastnn import kernels

PRECISIONS = (None, "bf16")
FULLY_CONNECTED = ("A", "B", "C", "D", "L")
# (M, K, N): the largest layer of each net.
PRODUCTS = ((32, 784, 128), (50, 784, 300), (30, 900, 400), (128, 4096, 128), (256, 2048, 2048))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="numbers of threads")
    parser.add_argument("--nets", nargs="*", choices=NETS, default=FULLY_CONNECTED, help="names of peers.py")
    parser.add_argument("--products", action="store_true", help="single products, too")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a turn")
    parser.add_argument("--accuracy", type=int, default=0, metavar="N", help="train on MNIST with N seeds")
    options = parser.parse_args()
    kernels.check_bf16()
    for threads in options.threads:
        fn.set_num_threads(threads)
        print(f"{threads} thread{'s' * (threads > 1)}, us")
        for name in options.nets:
            runs = race(steps_of(name), options.rounds, options.seconds)
            steps = [[seconds / NETS[name].batches for seconds in mine] for mine in runs]
            print(row(str(NETS[name]), steps), flush=True)
        for sizes in PRODUCTS if options.products else ():
            for kernel, pair in products_of(*sizes):
                times = race(pair, options.rounds, options.seconds)
                print(row(f"{kernel} {'x'.join(map(str, sizes))}", times), flush=True)
    if options.accuracy:
        compare_accuracies(options.accuracy)


def steps_of(name: str) -> list[Callable[[], Any]]:
    """A run over all mini-batches of a net, in each precision."""
    net = NETS[name]
    batches = batches_of(net)
    trainers = [fastnn_trainer(net, precision=precision) for precision in PRECISIONS]

    def steps(trainer: fn.Trainer) -> None:
        for x, y in batches:
            trainer.step(x, y)

    return [lambda trainer=trainer: steps(trainer) for trainer in trainers]


def products_of(M: int, K: int, N: int) -> Iterator[tuple[str, list[Callable[[], Any]]]]:
    """The three kernels of a layer, each in both precisions."""
    rng, table = np.random.default_rng(0), kernels.load("aot")
    x, w, y = (rng.standard_normal(shape, np.float32) for shape in ((M, K), (K, N), (M, N)))
    dx, dw, out = np.empty_like(x), np.empty_like(w), np.empty_like(y)
    arguments = {"dense_forward": (x, w, None, out), "dense_dx": (y, w, dx), "dense_dw": (x, y, dw)}
    for kernel, given in arguments.items():
        pair = (table[kernel], table[f"{kernel}_bf16"])
        yield kernel, [lambda call=call, given=given: call(*given) for call in pair]


def race(contestants: list[Callable[[], Any]], rounds: int, seconds: float) -> list[list[float]]:
    """The seconds per call of each contestant, one value for each of its turns."""
    times: list[list[float]] = [[] for _ in contestants]
    for call in contestants:
        turn(call, seconds)
    for _ in tqdm(range(rounds), leave=False):
        for call, mine in zip(contestants, times, strict=True):
            mine.append(turn(call, seconds))
    return times


def turn(call: Callable[[], Any], seconds: float) -> float:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or count < 3:
        call()
        count += 1
    return (time.perf_counter() - start) / count


def row(name: str, times: list[list[float]]) -> str:
    single, half = (statistics.median(mine) for mine in times)
    best = min(times[0]) / min(times[1])
    return f"{name:34} {single * 1e6:10.1f} {half * 1e6:10.1f}   gain {single / half:.2f} ({best:.2f})"


def compare_accuracies(seeds: int) -> None:
    """Train in both precisions with each seed; print the test accuracies."""
    (x, y), test = fn.data.mnist()
    for precision in PRECISIONS:
        accuracies = []
        for seed in tqdm(range(seeds), leave=False):
            fn.manual_seed(seed)
            model = fn.Sequential(fn.Flatten(), *fn.nets.mlp([784, 128, 64, 10]).layers)
            fn.fit(model, (x, y), epochs=5, seed=seed, precision=precision, progress=False)
            accuracies.append(fn.evaluate(model, test)["accuracy"])
        spread = statistics.stdev(accuracies) if seeds > 1 else 0.0
        print(f"{precision or 'float32':8} {statistics.mean(accuracies):.4f} +- {spread:.4f}")


if __name__ == "__main__":
    main()
