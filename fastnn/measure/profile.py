"""Measure how long each kernel call of a training step takes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from fastnn._validation import Array
from fastnn.kernels.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Kernels whose sizes are N, H, W, C, R, S, C / groups, O, P, Q, strides and so on.
CONVOLUTIONS = ("conv_forward", "conv_dx", "conv_dw", "conv_pool_forward", "conv_pool_dw")

# Kernels whose sizes are N, H, W, C, R, S and so on.
POOLS = ("max_pool_forward", "max_pool_dx", "avg_pool_forward", "avg_pool_dx")

# Fused and plain matrix products, whose sizes are number of matrices, M, K, N.
IN_FLOAT = ("dense_forward", "dense_dx", "dense_dw", "dense_dw_sgd", "dense_dw_adam")
PRODUCTS = (*IN_FLOAT, *(f"{name}_bf16" for name in IN_FLOAT))


@dataclass(frozen=True)
class Row:
    """One kernel call of a training step.

    Args:
        kernel: Name of the kernel.
        shape: Sizes that the kernel uses, such as (M, K, N).
        seconds: Median time.
        flop: Floating-point operations of a matrix product or convolution; 0 for other kernels.
    """

    kernel: str
    shape: tuple[int, ...]
    seconds: float
    flop: float


@dataclass(frozen=True)
class Profile:
    """The kernel calls of a training step in their order, with their times; `str(profile)` is a table.

    Args:
        rows: The kernel calls.
        step_seconds: Median time of a whole step, as the caller of `Trainer.step` sees it.
        threads: Number of threads of the kernels.
        peak_gflops: Measured peak of the machine for this number of threads, float32.
    """

    rows: list[Row]
    step_seconds: float
    threads: int
    peak_gflops: float

    @property
    def kernel_seconds(self) -> float:
        """Sum of the times of all kernel calls."""
        return sum(row.seconds for row in self.rows)

    def table(self) -> str:
        """Format time, fraction of the step, GFLOP/s and fraction of the peak of each call."""
        header = f"{'kernel':22}{'shape':>18}{'us':>10}{'of step':>8}{'GFLOP/s':>10}{'of peak':>8}"
        lines = [header, "-" * len(header)]
        for row in self.rows:
            shape = "x".join(map(str, row.shape))
            line = (
                f"{row.kernel:22}{shape:>18}{row.seconds * 1e6:>10.2f}{row.seconds / self.step_seconds:>8.1%}"
            )
            if row.flop and row.seconds:  # 0 seconds: shorter than reading the clock
                rate = row.flop / row.seconds / 1e9
                line += f"{rate:>10.0f}{rate / self.peak_gflops:>8.0%}"
            lines.append(line)
        outside = self.step_seconds - self.kernel_seconds
        flop = sum(row.flop for row in self.rows)
        lines += [
            "-" * len(header),
            f"{'outside kernels':40}{outside * 1e6:>10.2f}{outside / self.step_seconds:>8.1%}",
            f"{f'step, {self.threads} thread' + 's' * (self.threads > 1):40}{self.step_seconds * 1e6:>10.2f}"
            f"{1:>8.1%}{flop / self.step_seconds / 1e9:>10.0f}"
            f"{flop / self.step_seconds / 1e9 / self.peak_gflops:>8.0%}",
        ]
        return "\n".join(lines)

    @overload
    def plot(self, path: None = None) -> Figure: ...

    @overload
    def plot(self, path: str | os.PathLike[str]) -> Path: ...

    def plot(self, path: str | os.PathLike[str] | None = None) -> Path | Figure:
        """Draw the times of the calls as bars.

        Writes the image file `path` and returns its path. Without a path, returns the matplotlib figure,
        which a notebook shows. Calls below 0.2 % of the step are left out. Raises ImportError if matplotlib
        is missing.
        """
        from fastnn.viz._drawing import finish
        from fastnn.viz.curves import draw_bars

        bars = [(f"{row.kernel} {'x'.join(map(str, row.shape))}", row.seconds * 1e6) for row in self.rows]
        bars.append(("outside kernels", max(self.step_seconds - self.kernel_seconds, 0) * 1e6))
        shown = [(name, value) for name, value in bars if value >= 0.002 * self.step_seconds * 1e6]
        title = f"{self.step_seconds * 1e6:,.0f} us per step, {self.threads} thread" + "s" * (
            self.threads > 1
        )
        return finish(draw_bars(shown, title=title, label="time in us"), path)

    def __str__(self) -> str:
        return self.table()


def profile_plan(plan: Plan, step: Callable[[], object], threads: int, steps: int) -> Profile:
    """Profile a plan: time whole steps first, then each kernel call of as many other steps.

    Args:
        plan: The recorded training step.
        step: Function that runs one step of the plan.
        threads: Number of threads of the kernels.
        steps: Number of steps for each of the two measurements; the medians are reported.
    """
    from fastnn.measure import probe

    whole = []
    times = np.empty((steps, len(plan)))
    plan.tries_one_thread = False  # the profile is that of all threads
    try:
        for _ in range(steps):
            start = time.perf_counter()
            step()
            whole.append(time.perf_counter() - start)
        for row in times:
            plan.timed_step(row)
    finally:
        plan.tries_one_thread = True
    clock = _clock_seconds()
    medians: Array = np.maximum(np.median(times, axis=0) - clock, 0)
    calls = [
        Row(name, _shape(name, sizes), float(seconds), _flop(name, sizes))
        for (name, sizes, _), seconds in zip(plan.calls(), medians, strict=True)
    ]
    return Profile(calls, float(np.median(whole)), threads, probe.figures(threads)["fma float32"])


def flop_of(plan: Plan) -> float:
    """Count the floating-point operations of the convolutions and matrix products of a plan."""
    return sum(_flop(name, sizes) for name, sizes, _ in plan.calls())


def _clock_seconds() -> float:
    """Measure the time that reading the clock adds to the time of a call: about 20 ns."""
    readings = [time.perf_counter() for _ in range(1000)]
    return float(np.median(np.diff(readings))) / 2


def _shape(name: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Drop the sizes that a kernel does not use, and a leading 1 for the number of matrices."""
    if name in CONVOLUTIONS:
        return (*sizes[:6], sizes[7])
    if name in POOLS:
        return sizes[:6]
    shape = sizes[:4]
    while len(shape) > 1 and shape[-1] == 0:
        shape = shape[:-1]
    return shape[1:] if len(shape) == 4 and shape[0] == 1 else shape


def _flop(name: str, sizes: tuple[int, ...]) -> float:
    """Count the floating-point operations of a convolution or matrix product; 0 for other kernels."""
    if name in CONVOLUTIONS:
        return 2.0 * sizes[0] * math.prod(sizes[4:10])
    return 2.0 * math.prod(sizes[:4]) if name in PRODUCTS else 0.0
