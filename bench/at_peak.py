"""Measure how close fastnn's kernels come to the limits of this machine, next to NumPy and PyTorch.

    pip install -e '.[peers]' && python bench/at_peak.py --threads 1 2 --json at_peak.json

Prints three tables for each number of threads: matrix products in GFLOP/s and percent of the measured FMA
peak; softmax cross-entropy (loss and gradient); optimizer updates in GB/s and percent of the memory bandwidth
that `probe` reaches. "ratio" is the time of the faster peer divided by fastnn's: above 1, fastnn is faster.
Contestants take turns of a few milliseconds over many rounds; the figures are medians over the rounds. With
more than one thread, each turn starts with a pause of 0.1 s and some untimed calls: the threads of OpenBLAS
and OpenMP keep spinning for up to 0.1 s after their last job, on the cores of the next contestant.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import fastnn as fn
from fastnn import kernels
from fastnn.measure import probe

# (M, K, N): the layers of the nets of peers.py, and larger ones.
PRODUCTS = (
    (32, 784, 128),
    (32, 128, 64),
    (50, 784, 300),
    (30, 784, 900),
    (30, 900, 400),
    (32, 256, 256),
    (32, 1024, 1024),
    (64, 512, 512),
    (128, 784, 512),
    (128, 4096, 128),
    (256, 1024, 1024),
    (512, 2048, 2048),
)
LOGITS = ((32, 10), (128, 10), (128, 1000))
WEIGHTS = (16_384, 131_072, 1_048_576, 8_388_608)


@dataclass
class Contestant:
    """A call, the number of repeats per clock reading, and the readings."""

    call: Callable[[], Any]
    seconds: list[float] = field(default_factory=list)  # per call, one entry per round
    repeats: int = 1

    def calibrate(self, seconds: float) -> None:
        self.call()
        start = time.perf_counter()
        for _ in range(3):
            self.call()
        self.repeats = max(1, round(seconds / ((time.perf_counter() - start) / 3)))

    def take_turn(self, pause: float) -> None:
        if pause:
            time.sleep(pause)
            for _ in range(max(1, self.repeats // 4)):
                self.call()
        start = time.perf_counter()
        for _ in range(self.repeats):
            self.call()
        self.seconds.append((time.perf_counter() - start) / self.repeats)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


Race = dict[str, Contestant]


def run(races: list[Race], rounds: int, seconds: float, pause: float) -> None:
    """Let all contestants take turns for `rounds` rounds, each for about `seconds` after a pause."""
    for race in races:
        for contestant in race.values():
            contestant.calibrate(seconds)
    for _ in tqdm(range(rounds), leave=False):
        for race in races:
            for contestant in race.values():
                contestant.take_turn(pause)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def products(M: int, K: int, N: int) -> dict[str, Race]:
    """The three products of a layer. PyTorch's weights are (N, K), as in torch.nn.Linear."""
    ops = kernels.load("aot")
    x, w, b, dy = normal(M, K), normal(K, N), normal(N), normal(M, N)
    y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)
    tx, tw, tb, tdy = map(torch.from_numpy, (x, w.T.copy(), b, dy))
    ty, tdx, tdw = torch.empty(M, N), torch.empty(M, K), torch.empty(N, K)
    transposed = tw.T
    return {
        "forward": {
            "fastnn": Contestant(lambda: ops["dense_forward"](x, w, b, y)),
            "numpy": Contestant(lambda: np.matmul(x, w, out=y)),
            "torch addmm": Contestant(lambda: torch.addmm(tb, tx, transposed, out=ty)),
            "torch mm": Contestant(lambda: torch.mm(tx, transposed, out=ty)),
        },
        "dx": {
            "fastnn": Contestant(lambda: ops["dense_dx"](dy, w, dx)),
            "numpy": Contestant(lambda: np.matmul(dy, w.T, out=dx)),
            "torch mm": Contestant(lambda: torch.mm(tdy, tw, out=tdx)),
        },
        "dw": {
            "fastnn": Contestant(lambda: ops["dense_dw"](x, dy, dw)),
            "numpy": Contestant(lambda: np.matmul(x.T, dy, out=dw)),
            "torch mm": Contestant(lambda: torch.mm(tdy.T, tx, out=tdw)),
        },
    }


def losses(M: int, C: int) -> Race:
    """Softmax cross-entropy with integer labels: the value and the gradient of the logits."""
    z, label = normal(M, C), np.arange(M) % C
    loss = fn.CrossEntropy()
    tz, tlabel = torch.from_numpy(z).requires_grad_(), torch.from_numpy(label)

    def by_torch() -> None:
        tz.grad = None
        torch.nn.functional.cross_entropy(tz, tlabel).backward()

    return {"fastnn": Contestant(lambda: loss.value_and_gradient(z, label)), "torch": Contestant(by_torch)}


# Optimizer -> (fastnn's, PyTorch's, number of arrays read or written per update: gradient, value, moments).
UPDATES: dict[str, tuple[Any, Any, int]] = {
    "sgd": (lambda: fn.SGD(1e-3), lambda p: torch.optim.SGD(p, 1e-3, fused=True), 3),
    "momentum": (
        lambda: fn.SGD(1e-3, momentum=0.9),
        lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, fused=True),
        5,
    ),
    "adam": (lambda: fn.Adam(1e-3), lambda p: torch.optim.Adam(p, 1e-3, fused=True), 7),
}


def updates(name: str, size: int) -> Race:
    """One update of `size` weights. `probe` reads and writes the same number of bytes: the lower bound."""
    from fastnn.kernels import probe as native

    ours, theirs, arrays = UPDATES[name]
    param = fn.Param(normal(size))
    param.grad_buffer()[:] = normal(size)
    optimizer = ours()
    weight = torch.from_numpy(normal(size)).requires_grad_()
    weight.grad = torch.from_numpy(normal(size))
    torch_optimizer = theirs([weight])
    memory = normal(size * arrays // 2)
    return {
        "fastnn": Contestant(lambda: optimizer.step([param])),
        "torch": Contestant(torch_optimizer.step),
        "probe": Contestant(lambda: native.update_seconds(memory, 1)),
    }


def product_table(results: dict[tuple[int, int, int], dict[str, Race]], peak: float) -> str:
    """GFLOP/s and percent of the peak for the three products, and the ratio to the faster peer."""
    lines = [
        f"{'M x K x N':>14}" + "".join(f"{f'{name}: GFLOP/s, peak, ratio':>32}" for name in PRODUCT_NAMES)
    ]
    for shape, by_name in results.items():
        line = f"{'x'.join(map(str, shape)):>14}"
        for race in by_name.values():
            seconds = race["fastnn"].median
            rate = 2 * np.prod(shape) / seconds / 1e9
            peer = min((name for name in race if name != "fastnn"), key=lambda name: race[name].median)
            ratio = race[peer].median / seconds
            line += f"{f'{rate:.0f} {rate / peak:4.0%} {ratio:5.2f}x {peer:11}':>32}"
        lines.append(line)
    return "\n".join(lines)


PRODUCT_NAMES = ("forward", "dx", "dw")


def loss_table(results: dict[tuple[int, int], Race]) -> str:
    lines = [f"{'softmax CE':>14}{'fastnn us':>12}{'torch us':>12}{'ratio':>8}"]
    for shape, race in results.items():
        ours, theirs = race["fastnn"].median, race["torch"].median
        name = "x".join(map(str, shape))
        lines.append(f"{name:>14}{ours * 1e6:>12.2f}{theirs * 1e6:>12.2f}{theirs / ours:>7.1f}x")
    return "\n".join(lines)


def update_table(results: dict[tuple[str, int], Race]) -> str:
    header = ("fastnn us", "GB/s", "probe", "torch us", "ratio")
    lines = [f"{'update':>10}{'weights':>10}" + "".join(f"{name:>11}" for name in header)]
    for (name, size), race in results.items():
        ours, theirs, bound = (race[who].median for who in ("fastnn", "torch", "probe"))
        rate = UPDATES[name][2] * size * 4 / ours / 1e9
        lines.append(
            f"{name:>10}{size:>10}{ours * 1e6:>11.2f}{rate:>11.1f}{bound / ours:>11.0%}"
            f"{theirs * 1e6:>11.2f}{theirs / ours:>10.1f}x"
        )
    return "\n".join(lines)


def measure(threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Run all races with `threads` threads for every contestant, print the tables, return the medians."""
    fn.set_num_threads(threads)
    torch.set_num_threads(threads)
    by_product = {shape: products(*shape) for shape in PRODUCTS}
    by_loss = {shape: losses(*shape) for shape in LOGITS}
    by_update = {(name, size): updates(name, size) for name in UPDATES for size in WEIGHTS}
    with threadpool_limits(threads, user_api="blas"):
        before = probe.fma_gflops(threads)
        races = [race for by_name in by_product.values() for race in by_name.values()]
        run([*races, *by_loss.values(), *by_update.values()], rounds, seconds, 0.1 if threads > 1 else 0.0)
        peak = max(before, probe.fma_gflops(threads))
    print(f"\n{threads} thread{'s' if threads > 1 else ''}, {kernels.core.isa()}: peak {peak:.0f} GFLOP/s\n")
    print(product_table(by_product, peak), loss_table(by_loss), update_table(by_update), sep="\n\n")

    def medians(race: Race) -> dict[str, float]:
        return {name: contestant.median for name, contestant in race.items()}

    return {
        "threads": threads,
        "peak_gflops": peak,
        "products": {
            f"{name} {'x'.join(map(str, shape))}": medians(race)
            for shape, by_name in by_product.items()
            for name, race in by_name.items()
        },
        "cross_entropy": {"x".join(map(str, shape)): medians(race) for shape, race in by_loss.items()},
        "updates": {f"{name} {size}": medians(race) for (name, size), race in by_update.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="thread counts, one set of tables each"
    )
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=0.004, help="time per contestant and round")
    parser.add_argument("--json", type=Path, help="write the medians (in seconds) to this file")
    options = parser.parse_args()
    results = [measure(threads, options.rounds, options.seconds) for threads in options.threads]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
