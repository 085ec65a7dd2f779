"""Timing one gradient by each method over growing nets, until it takes too long."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.complexity.methods import METHODS, Gradient, network

# Nets are not grown beyond so many weights: their memory, not their time, would be the limit.
MOST_WEIGHTS = 16_000_000
# What a net is timed for at each visit; a gradient that takes longer is timed once.
VISIT = 0.02
# A method whose next gradient would take so many times the limit is not tried: K^N may be next year.
HOPELESS = 60.0


@dataclass(frozen=True)
class Point:
    """One gradient by one method: `seconds` are those of each round, `multiplications` those of the batch."""

    method: str
    width: int
    depth: int
    batch: int
    multiplications: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds."""
        return statistics.median(self.seconds)


@dataclass
class Curve:
    """A method over growing nets: the points, and whether it grew too slow."""

    method: str
    points: list[Point] = field(default_factory=list)

    def sizes(self, name: str) -> list[int]:
        """The "width" or "depth" of each point."""
        return [getattr(point, name) for point in self.points]

    def at(self, name: str, size: int) -> Point | None:
        """The point of that width or depth."""
        return next((point for point in self.points if getattr(point, name) == size), None)


@dataclass
class Sweep:
    """All methods over one series of nets; `grows` is "width" or "depth", what grows in it."""

    title: str
    grows: str
    curves: dict[str, Curve]

    def common(self) -> int | None:
        """The largest size that every method has reached."""
        sizes = [set(curve.sizes(self.grows)) for curve in self.curves.values()]
        shared = set.intersection(*sizes) if sizes else set()
        return max(shared, default=None)

    def as_dict(self) -> dict[str, Any]:
        """In plain types."""
        points = [vars(point) for curve in self.curves.values() for point in curve.points]
        return {"title": self.title, "grows": self.grows, "points": points}


def fill(
    sweep: Sweep, nets: Iterable[tuple[int, int, int]], *, limit: float, rounds: int, bar: Any
) -> Iterator[None]:
    """Time all methods of the sweep on the nets (width, depth, batch), one net after the other.

    A method stays out once a gradient took more than `limit` seconds, or the next one surely would. The
    methods take turns, `rounds` times on each net. Yields after each net.
    """
    growing = list(sweep.curves)
    for width, depth, batch in nets:
        if width * width * (depth - 1) > MOST_WEIGHTS:
            return
        growing = [name for name in growing if _may_grow(sweep.curves[name], width, depth, batch, limit)]
        if not growing:
            return
        gradients, times = {}, {}
        for name in growing:
            bar.set_postfix_str(f"{METHODS[name].label}, {depth} layers of {width}")
            gradients[name] = METHODS[name].prepare(*network(width, depth, batch))
            # The first call, which may record or compile, warms up; it alone stands where it is that slow.
            first = _seconds(gradients[name], 1)
            times[name] = [first] if first > limit else []
        for _ in range(rounds):
            for name, gradient in gradients.items():
                if not (times[name] and times[name][0] > limit):
                    times[name].append(_visit(gradient))
        for name, found in times.items():
            count = _multiplications(name, width, depth, batch)
            sweep.curves[name].points.append(Point(name, width, depth, batch, count, tuple(found)))
        bar.update()
        yield


def _may_grow(curve: Curve, width: int, depth: int, batch: int, limit: float) -> bool:
    """Whether the method was quick enough so far, and this net will not take it for ever."""
    if not curve.points:
        return True
    last = curve.points[-1]
    more = _multiplications(curve.method, width, depth, batch) / last.multiplications
    return last.median <= limit and last.median * more <= HOPELESS * limit


def _multiplications(method: str, width: int, depth: int, batch: int) -> int:
    return METHODS[method].count([width] * depth) * batch


def _visit(gradient: Gradient) -> float:
    """The seconds of a gradient: the mean over so many as fit into a visit."""
    once = _seconds(gradient, 1)
    return once if once > VISIT else _seconds(gradient, max(1, int(VISIT / max(once, 1e-7))))


def _seconds(gradient: Gradient, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        gradient()
    return (time.perf_counter() - started) / calls


def check(methods: Sequence[str]) -> None:
    """Raise AssertionError unless all methods give the same gradient of a small net."""
    wanted = METHODS["python"].prepare(*network(3, 3, 1))()
    for name in methods:
        found = METHODS[name].prepare(*network(3, 3, 1))()
        for parameter, gradient in wanted.items():
            assert np.allclose(found[parameter], gradient, rtol=1e-6, atol=1e-8), f"{name} is wrong"
