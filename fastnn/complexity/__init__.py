"""Measure how much time backpropagation saves: `fastnn complexity`.

`methods` lists the methods to compute a gradient, `counts` has their numbers of multiplications in closed
form, `measure` times the methods on growing networks, `fit` estimates the exponents, and `table` and
`picture` show the results. May import `naive`, `training` and the modules below them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastnn._validation import choose, in_range, positive_int
from fastnn.complexity import fit, measure, picture, table
from fastnn.complexity.measure import Curve, Sweep
from fastnn.complexity.methods import BATCHED, METHODS
from fastnn.config import environment
from fastnn.files import write_atomic

__all__ = ["METHODS", "run"]

# The networks of the two sweeps: these widths at depth DEPTH, these depths at width WIDTH.
WIDTHS = tuple(2**power for power in range(1, 12))
DEPTHS = (2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 96, 128)
DEPTH, WIDTH = 4, 8

DATA, LIGHT, DARK = "complexity.json", "complexity-light.svg", "complexity-dark.svg"


def run(
    *,
    widths: Iterable[int] = WIDTHS,
    depths: Iterable[int] = DEPTHS,
    depth: int = DEPTH,
    width: int = WIDTH,
    methods: Sequence[str] = tuple(METHODS),
    limit: float = 1.0,
    rounds: int = 5,
    threads: int = 1,
    out: Path = Path("complexity"),
) -> str:
    """Time one gradient of growing networks by each method; print and write the results.

    The networks have `depth` layers of each of the `widths`, and then each of the `depths` with layers of
    `width` units. The inputs and the logits count as layers.

    Args:
        widths: Widths of the first series: units in every layer.
        depths: Depths of the second series: number of layers.
        depth: Depth of the networks of the first series.
        width: Width of the networks of the second series.
        methods: Names of the methods, keys of `METHODS`.
        limit: A method is not timed on larger networks once a gradient takes more seconds than this.
        rounds: Number of timings per method and network; the median is reported.
        threads: Number of threads for NumPy and the compiled kernels.
        out: Folder for complexity.json and the picture, in a light and a dark version.

    Returns:
        The printed table.

    Raises:
        ValueError: If a size, a method or the limit is invalid. Nothing is timed.
        OSError: If the folder is not writable. Nothing is timed.
        KeyboardInterrupt: After Ctrl-C. The results so far are written first.
    """
    wide, deep = _sizes(widths, "widths", 1), _sizes(depths, "depths", 2)
    positive_int(width, "width")
    if positive_int(depth, "depth") < 2:
        raise ValueError("depth must be at least 2, for the inputs and the logits")
    positive_int(rounds, "rounds")
    positive_int(threads, "threads")
    if in_range(limit, "limit", 0) == 0:
        raise ValueError("limit must be above 0 seconds")
    chosen = list(dict.fromkeys(methods))
    for name in chosen:
        choose(name, METHODS, "method")
    if not chosen:
        raise ValueError(f"there must be at least one method: choose from {', '.join(METHODS)}")
    out.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=out).close()  # raises OSError if the folder is not writable

    batched = [name for name in chosen if name in BATCHED]
    by_width = _sweep(f"one gradient of {depth} layers of K units", "width", chosen)
    by_depth = _sweep(f"one gradient of N layers of {width} units", "depth", chosen)
    by_batch = _sweep(f"the gradient of a batch of K samples, {depth} layers of K units", "width", batched)
    series = [
        (by_width, [(each, depth, 1) for each in wide]),
        (by_depth, [(width, each, 1) for each in deep]),
        (by_batch, [(each, depth, each) for each in wide]),
    ]
    try:
        from threadpoolctl import threadpool_limits  # 2 ms

        with threadpool_limits(threads):  # of NumPy and of fastnn
            measure.check(chosen)
            _time_all(series, limit, rounds)
    finally:
        sweeps = [sweep for sweep, _ in series if any(curve.points for curve in sweep.curves.values())]
        found = table.text(sweeps)
        if sweeps:
            print(found)
            _write(out, sweeps, threads)
    return found


def _sizes(sizes: Iterable[int], name: str, least: int) -> list[int]:
    """Sort the sizes. Raises ValueError unless there is at least one and all are at least `least`."""
    ordered = sorted({positive_int(size, f"each of the {name}") for size in sizes})
    if not ordered or ordered[0] < least:
        raise ValueError(f"{name} must be one or more integers of at least {least}, not {ordered}")
    return ordered


def _sweep(title: str, grows: str, methods: Sequence[str]) -> Sweep:
    return Sweep(title, grows, {name: Curve(name) for name in methods})


def _time_all(series: list[tuple[Sweep, list[tuple[int, int, int]]]], limit: float, rounds: int) -> None:
    """Fill the sweeps with timings on their networks (width, depth, batch), with a progress bar."""
    from tqdm import tqdm

    total = sum(len(nets) for sweep, nets in series if sweep.curves)
    with tqdm(total=total, desc="complexity", disable=None, leave=False) as bar:
        for sweep, nets in series:
            for _ in measure.fill(sweep, nets, limit=limit, rounds=rounds, bar=bar):
                pass


def _write(out: Path, sweeps: Sequence[Sweep], threads: int) -> None:
    """Write complexity.json and the pictures, and print their names."""
    content = {
        "environment": {**environment(), "threads": threads},
        "sweeps": [{**sweep.as_dict(), "laws": _laws(sweep)} for sweep in sweeps],
    }
    write_atomic(out / DATA, (json.dumps(content, indent=1) + "\n").encode())
    written = [DATA]
    if len(sweeps) > 1:
        try:
            for theme, name in (("light", LIGHT), ("dark", DARK)):
                picture.save(sweeps[0], sweeps[1], out / name, theme=theme)
                written.append(name)
        except ImportError as error:
            print(f"no picture: {error}")
    print(f"written to {out}: {', '.join(written)}", flush=True)


def _laws(sweep: Sweep) -> dict[str, Any]:
    """Fit times and multiplications of each method: exponents, or the base where they grow as K^N."""
    laws: dict[str, Any] = {}
    for name, curve in sweep.curves.items():
        exponential = sweep.grows == "depth" and METHODS[name].by_depth is None
        fitted = fit.exponential if exponential else fit.power
        sizes = curve.sizes(sweep.grows)
        values = {
            "time": [point.median for point in curve.points],
            "multiplications": [float(point.multiplications) for point in curve.points],
        }
        found = {what: fitted(sizes, numbers) for what, numbers in values.items()}
        laws[name] = {
            "form": "base^N" if exponential else "size^exponent",
            **{what: None if law is None else law._asdict() for what, law in found.items()},
        }
    return laws
