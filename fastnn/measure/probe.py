"""Measure the peak FLOP/s of this machine and the bandwidth of each memory level.

The percentages in fastnn's tables refer to these figures. They are measured with the instruction set in use
and saved in the user's cache folder, because a measurement takes a few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from fastnn._validation import Array
from fastnn.config import processor
from fastnn.files import cache_folder, write_atomic

# Sizes in bytes that fit well into the first, second and third level of cache, and into none of them.
LEVELS = {"L1": 16 * 2**10, "L2": 512 * 2**10, "L3": 8 * 2**20, "memory": 256 * 2**20}

Figures = dict[str, float]


def fma_gflops(threads: int = 1, *, dtype: str = "float32", repeats: int = 20) -> float:
    """Measure the peak of fused multiply-adds on `threads` threads in GFLOP/s, the best of `repeats` runs."""
    from fastnn.kernels import core, probe

    sink, rounds = np.zeros(64, dtype), 400_000
    with core.Threads(threads):
        seconds: float = min(probe.fma_seconds(sink, rounds) for _ in range(repeats))
    flop: float = core.probe_flop(dtype)
    return flop * rounds * threads / seconds / 1e9


def bandwidth(size: int, threads: int = 1, *, update: bool = False, repeats: int = 5) -> float:
    """Measure the memory bandwidth of all threads together in GB/s: the best of `repeats` runs.

    Args:
        size: Number of bytes to read again and again.
        threads: Number of threads that share the bytes.
        update: Also write the bytes back; each byte then counts twice.
        repeats: Number of runs.
    """
    from fastnn.kernels import core, probe

    data = np.ones(size // 4, np.float32)
    rounds = max(1, 2**26 // size)
    run: Callable[[Array, int], float] = probe.update_seconds if update else probe.read_seconds
    with core.Threads(threads):
        run(data, rounds)
        seconds = min(run(data, rounds) for _ in range(repeats))
    return (2 if update else 1) * data.nbytes * rounds / seconds / 1e9


def figures(threads: int = 1, *, fresh: bool = False) -> Figures:
    """Return all figures for a number of threads, "fma float32", "read L1", "update L2", ..., and save them.

    Saved figures are read again, unless `fresh` is True. A cache file that cannot be read or written is
    ignored.
    """
    path, measurements = cache_file(threads), _measurements(threads)
    saved = None if fresh or path is None else _saved(path)
    if saved is not None and saved.keys() == measurements.keys():
        return saved
    from tqdm import tqdm

    # The measurement takes two seconds on an idle machine. On a busy one, a bar shows the progress.
    bar = tqdm(measurements.items(), _label(threads), delay=0.5, disable=None, leave=False)
    found = {name: measure() for name, measure in bar}
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(found, indent=1).encode())
    return found


def table(counts: list[int], *, fresh: bool = False) -> str:
    """Format the figures for several thread counts, a column for each. `fresh` is as in `figures`."""
    columns = {threads: figures(threads, fresh=fresh) for threads in counts}
    lines = [f"{'':16}" + "".join(f"{_label(threads):>14}" for threads in counts)]
    for name in columns[counts[0]]:
        unit = "GFLOP/s" if name.startswith("fma") else "GB/s"
        lines.append(f"{name:16}" + "".join(f"{columns[t][name]:>14.1f}" for t in counts) + f"  {unit}")
    return "\n".join(lines)


def heading() -> str:
    """Name the processor and the instruction set of the figures."""
    from fastnn.kernels import core

    return f"{processor()}, instruction set {core.isa()}"


def cache_file(threads: int) -> Path | None:
    """Path of the saved figures: one file per processor, instruction set in use and number of threads.

    None if the user has no cache folder.
    """
    from fastnn.kernels import core

    name = "-".join("".join(c if c.isalnum() else " " for c in processor()).split())
    try:
        return cache_folder() / f"probe-{name}-{core.isa()}-{threads}.json"
    except FileNotFoundError:
        return None


def _measurements(threads: int) -> dict[str, Callable[[], float]]:
    """Return the function that measures each figure, by the name of the figure."""
    found: dict[str, Callable[[], float]] = {
        f"fma {dtype}": partial(fma_gflops, threads, dtype=dtype) for dtype in ("float32", "float64")
    }
    for level, size in LEVELS.items():
        found[f"read {level}"] = partial(bandwidth, size * threads, threads)
        found[f"update {level}"] = partial(bandwidth, size * threads, threads, update=True)
    return found


def _saved(path: Path) -> Figures | None:
    """Read saved figures; None if the file is missing or damaged."""
    try:
        saved = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    valid = isinstance(saved, dict) and all(isinstance(value, float) for value in saved.values())
    return saved if valid else None


def _label(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
