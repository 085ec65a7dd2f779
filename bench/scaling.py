"""Measure how the time of an update grows with width, depth, mini-batch, data set and number of plans.

    python bench/scaling.py --out build/scaling

Each series varies one size and keeps the others. In theory the time grows with a power of it:

- width:     three hidden layers of w units and a batch of 128: the FLOP, nearly w^2
- depth:     d hidden layers of 128 units, batch 32: d^1
- batch:     784-128-64-32-10, n samples: n^1
- data set:  the same net and 128 rows of n, a memory-mapped file of bytes, in random order: n^0
- plans:     the same net and p sizes of the mini-batch in turn, each with a plan of its own: p^0

For each series the script prints the measured exponent between neighbours, and the range of sizes whose time
is within 25 % of the theory. The theory is scaled to the most efficient size. Writes `scaling.svg` and
`scaling.json` to the folder --out. The sizes of a series take turns over the rounds; a point is the median.

`--gigabytes 40` makes the file of the data set larger than the memory of most machines. It is written to a
temporary folder (`TMPDIR`) and removed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

import fastnn as fn
from fastnn.measure import probe

PIXELS, CLASSES, TOLERANCE = 784, 10, 1.25
HIDDEN = (128, 64, 32)
Timing = Callable[[], float]  # returns seconds per update


@dataclass
class Series:
    """The times of an update over one size, and the work that theory compares them with."""

    name: str
    unit: str
    sizes: list[int]
    work: list[float]
    theory: str
    seconds: list[float] = field(default_factory=list)

    @property
    def predicted(self) -> list[float]:
        """Seconds in proportion to the work, through the most efficient point."""
        unit = min(t / w for t, w in zip(self.seconds, self.work, strict=True))
        return [unit * w for w in self.work]

    @property
    def exponents(self) -> list[float]:
        """The slope of the time on logarithmic axes, between neighbouring sizes."""
        points = zip(self.sizes, self.seconds, strict=True)
        return [math.log(t2 / t1) / math.log(s2 / s1) for (s1, t1), (s2, t2) in pairwise(points)]

    @property
    def efficient(self) -> tuple[int, int]:
        """The smallest and largest size of the run around the best point that stays near the theory."""
        near = [t <= TOLERANCE * p for t, p in zip(self.seconds, self.predicted, strict=True)]
        best = int(np.argmin(np.divide(self.seconds, self.work)))
        first = last = best
        while first > 0 and near[first - 1]:
            first -= 1
        while last + 1 < len(near) and near[last + 1]:
            last += 1
        return self.sizes[first], self.sizes[last]

    def table(self) -> str:
        lines = [
            f"{self.name}: in theory {self.theory}",
            f"{self.unit:>12}  us per update  exponent  x theory",
        ]
        rows = zip(self.sizes, self.seconds, [math.nan, *self.exponents], self.predicted, strict=True)
        for size, seconds, exponent, predicted in rows:
            slope = "" if math.isnan(exponent) else f"{exponent:.2f}"
            lines.append(f"{size:>12,}{seconds * 1e6:>15.1f}{slope:>10}{seconds / predicted:>10.2f}")
        first, last = self.efficient
        return "\n".join([*lines, f"within 25 % of the theory from {first:,} to {last:,}"])


def perceptron(*widths: int) -> fn.Sequential:
    """Fully connected layers with ReLU in between, which start alike."""
    fn.manual_seed(0)
    layers = [layer for pair in pairwise(widths) for layer in (fn.Linear(*pair), fn.ReLU())]
    return fn.Sequential(*layers[:-1])


def batch_of(samples: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((samples, features), np.float32), rng.integers(CLASSES, size=samples)


def flop(*widths: int) -> float:
    """Multiply-adds of a sample: forward, dW, and dx except for the first layer."""
    products = [m * n for m, n in pairwise(widths)]
    return 3.0 * sum(products) - products[0]


def steps_of(widths: tuple[int, ...], batches: list[int], seconds: float) -> Timing:
    """Time `Trainer.step` on mini-batches of these sizes in turn, for about that many seconds."""
    trainer = fn.Trainer(perceptron(*widths), optimizer=fn.SGD(1e-3), seed=0)
    data = [batch_of(samples, widths[0]) for samples in batches]

    def timing() -> float:
        for batch in data:
            trainer.step(*batch)  # records the plan, or brings it back into the cache
        updates, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            for batch in data:
                trainer.step(*batch)
            updates += len(data)
        return elapsed / updates

    return timing


def measure(series: Series, timings: list[Timing], rounds: int) -> Series:
    """Let the sizes take turns, and store the medians."""
    times: list[list[float]] = [[] for _ in timings]
    for _ in tqdm(range(rounds), desc=series.name, leave=False):
        for each, timing in zip(times, timings, strict=True):
            each.append(timing())
    series.seconds = [statistics.median(each) for each in times]
    return series


def by_width(rounds: int, seconds: float) -> Series:
    sizes = [2**k for k in range(2, 12)]
    nets = [(w, w, w, w, CLASSES) for w in sizes]
    series = Series("width", "w", sizes, [flop(*widths) for widths in nets], "the FLOP, nearly w^2")
    return measure(series, [steps_of(widths, [128], seconds) for widths in nets], rounds)


def by_depth(rounds: int, seconds: float) -> Series:
    sizes = [2**k for k in range(7)]
    nets = [(*[128] * (depth + 1), CLASSES) for depth in sizes]
    series = Series("depth", "d", sizes, [flop(*widths) for widths in nets], "the FLOP, nearly d^1")
    return measure(series, [steps_of(widths, [32], seconds) for widths in nets], rounds)


def by_batch(rounds: int, seconds: float) -> Series:
    sizes = [2**k for k in range(16)]
    net = (PIXELS, *HIDDEN, CLASSES)
    series = Series("batch", "n", sizes, [float(n) for n in sizes], "n^1")
    return measure(series, [steps_of(net, [samples], seconds) for samples in sizes], rounds)


def by_plans(rounds: int, seconds: float) -> Series:
    sizes = [2**k for k in range(8)]
    net = (PIXELS, *HIDDEN, CLASSES)
    # Sizes around 160, whose mean stays the same whatever their number.
    batches = [[160 + k - count // 2 for k in range(count)] for count in sizes]
    series = Series("plans", "p", sizes, [1.0] * len(sizes), "p^0")
    return measure(series, [steps_of(net, each, seconds) for each in batches], rounds)


class Stopwatch(fn.Callback):
    """Times the updates of a training from the tenth on, and stops it."""

    seconds: float
    started: float
    per_update: float

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = self.per_update = 0.0

    def on_update(self, training: fn.Training, loss: float) -> None:
        if training.updates == 10:
            self.started = time.perf_counter()
        elif training.updates > 10:
            elapsed = time.perf_counter() - self.started
            if elapsed > self.seconds:
                self.per_update = elapsed / (training.updates - 10)
                training.stop()


@contextmanager
def file_of_bytes(rows: int) -> Iterator[Path]:
    """A temporary .npy file (rows, 784) of random bytes."""
    block = np.random.default_rng(0).integers(256, size=(100_000, PIXELS), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        mapped = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, PIXELS))
        for begin in tqdm(range(0, rows, len(block)), desc="writing rows", leave=False):
            mapped[begin : begin + len(block)] = block[: rows - begin]
        mapped.flush()
        del mapped
        yield path


def by_rows(rounds: int, seconds: float, gigabytes: float) -> Series:
    most = int(gigabytes * 1e9 / PIXELS)
    sizes = sorted({most // 4**k for k in range(9) if most // 4**k >= 1000})
    series = Series("data set", "rows", sizes, [1.0] * len(sizes), "rows^0")
    labels = np.random.default_rng(0).integers(CLASSES, size=most)
    with file_of_bytes(most) as path:
        mapped = np.load(path, mmap_mode="r")

        def timing(rows: int) -> float:
            watch = Stopwatch(seconds)
            fn.fit(
                *(perceptron(PIXELS, *HIDDEN, CLASSES), (mapped[:rows], labels[:rows])),
                optimizer=fn.SGD(1e-3),
                batch_size=128,
                epochs=10**6,
                callbacks=watch,
                seed=0,
                watch=False,
                progress=False,
            )
            return watch.per_update

        return measure(series, [lambda rows=rows: timing(rows) for rows in sizes], rounds)


def save_picture(found: list[Series], path: Path) -> None:
    """Draw a panel for each series: the measured times, and the theory as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3.2), layout="constrained")
    for axes, series in zip(np.atleast_1d(panels), found, strict=True):
        axes.loglog(series.sizes, series.predicted, "--", color="0.6", label=f"theory: {series.theory}")
        axes.loglog(series.sizes, series.seconds, "o-", color="#0550ae", markersize=4, label="measured")
        axes.set(title=series.name, xlabel=series.unit)
        low, high = axes.get_ylim()
        axes.set_ylim(low / 1.5, max(high, 4 * low))
        axes.legend(fontsize=7)
    np.atleast_1d(panels)[0].set_ylabel("seconds per update")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/scaling"), help="folder of the results")
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=0.2, help="time of each point and round")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the largest data set")
    options = parser.parse_args()
    fn.set_num_threads(options.threads)
    repeats = options.rounds, options.seconds
    found = [by_width(*repeats), by_depth(*repeats), by_batch(*repeats)]
    found += [by_rows(*repeats, options.gigabytes), by_plans(*repeats)]
    print(f"{probe.heading()}, {options.threads} thread{'s' * (options.threads > 1)}\n")
    for series in found:
        print(series.table(), end="\n\n")
    options.out.mkdir(parents=True, exist_ok=True)
    save_picture(found, options.out / "scaling.svg")
    run = {"machine": probe.heading(), "threads": options.threads, "series": [asdict(each) for each in found]}
    (options.out / "scaling.json").write_text(json.dumps(run, indent=1) + "\n")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
