"""Where the time of a training step goes: per kernel call, and between them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnn._validation import Array
from fastnn.kernels.plan import Plan

# Sizes of convolutions: N, H, W, C, R, S, C / groups, O, P, Q, and steps.
CONVOLUTIONS = ("conv_forward", "conv_dx", "conv_dw")

# Sizes of pools: N, H, W, C, R, S, and others.
POOLS = ("max_pool_forward", "max_pool_dx", "avg_pool_forward", "avg_pool_dx")

# Sizes of the fused and the plain dense kernels: batch of matrices, M, K, N.
PRODUCTS = ("dense_forward", "dense_dx", "dense_dw", "dense_dw_sgd", "dense_dw_adam")


@dataclass(frozen=True)
class Row:
    """One kernel call of the step."""

    kernel: str
    shape: tuple[int, ...]
    seconds: float
    flop: float  # of a matrix product, else 0


@dataclass(frozen=True)
class Profile:
    """The calls of a step in their order, with the medians of their times."""

    rows: list[Row]
    step_seconds: float  # as the caller of `Trainer.step` sees it
    threads: int
    peak_gflops: float

    @property
    def kernel_seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    def table(self) -> str:
        """Time, share of the step, GFLOP/s and percent of the probed peak of each call."""
        header = f"{'kernel':22}{'shape':>18}{'us':>10}{'share':>8}{'GFLOP/s':>10}{'peak':>7}"
        lines = [header, "-" * len(header)]
        for row in self.rows:
            shape = "x".join(map(str, row.shape))
            line = (
                f"{row.kernel:22}{shape:>18}{row.seconds * 1e6:>10.2f}{row.seconds / self.step_seconds:>8.1%}"
            )
            if row.flop and row.seconds:  # 0: less than what it takes to read the clock
                rate = row.flop / row.seconds / 1e9
                line += f"{rate:>10.0f}{rate / self.peak_gflops:>7.0%}"
            lines.append(line)
        outside = self.step_seconds - self.kernel_seconds
        flop = sum(row.flop for row in self.rows)
        lines += [
            "-" * len(header),
            f"{'outside kernels':40}{outside * 1e6:>10.2f}{outside / self.step_seconds:>8.1%}",
            f"{f'step, {self.threads} thread' + 's' * (self.threads > 1):40}{self.step_seconds * 1e6:>10.2f}"
            f"{1:>8.1%}{flop / self.step_seconds / 1e9:>10.0f}"
            f"{flop / self.step_seconds / 1e9 / self.peak_gflops:>7.0%}",
        ]
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the times of the calls into the picture `path`; returns its path. Needs matplotlib."""
        from fastnn.viz import save_bars

        bars = [(f"{row.kernel} {'x'.join(map(str, row.shape))}", row.seconds * 1e6) for row in self.rows]
        bars.append(("outside kernels", max(self.step_seconds - self.kernel_seconds, 0) * 1e6))
        shown = [(name, value) for name, value in bars if value >= 0.002 * self.step_seconds * 1e6]
        title = f"{self.step_seconds * 1e6:.0f} us per step, {self.threads} thread" + "s" * (self.threads > 1)
        return save_bars(shown, path, title=title, label="us")

    def __str__(self) -> str:
        return self.table()


def profile_plan(plan: Plan, step: Callable[[], object], threads: int, steps: int) -> Profile:
    """The profile of `plan`, whose steps `step()` takes: `steps` of them whole, then `steps` call by call."""
    from fastnn.measure import probe

    whole = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        whole.append(time.perf_counter() - start)
    times = np.empty((steps, len(plan)))
    for row in times:
        plan.timed_step(row)
    clock = _clock_seconds()
    medians: Array = np.maximum(np.median(times, axis=0) - clock, 0)
    calls = [
        Row(name, _shape(name, sizes), float(seconds), _flop(name, sizes))
        for (name, sizes, _), seconds in zip(plan.calls(), medians, strict=True)
    ]
    return Profile(calls, float(np.median(whole)), threads, probe.figures(threads)["fma float32"])


def _clock_seconds() -> float:
    """What reading the clock adds to the time of a call: some 20 ns."""
    readings = [time.perf_counter() for _ in range(1000)]
    return float(np.median(np.diff(readings))) / 2


def _shape(name: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes without those that the kernel does not use, and without a batch of one matrix."""
    if name in CONVOLUTIONS:
        return (*sizes[:6], sizes[7])
    if name in POOLS:
        return sizes[:6]
    shape = sizes[:4]
    while len(shape) > 1 and shape[-1] == 0:
        shape = shape[:-1]
    return shape[1:] if len(shape) == 4 and shape[0] == 1 else shape


def _flop(name: str, sizes: tuple[int, ...]) -> float:
    if name in CONVOLUTIONS:
        return 2.0 * sizes[0] * math.prod(sizes[4:10])
    return 2.0 * math.prod(sizes[:4]) if name in PRODUCTS else 0.0
