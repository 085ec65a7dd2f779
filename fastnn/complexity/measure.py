"""Time one gradient of growing networks by each method, until it takes too long."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.complexity.methods import METHODS, Gradient, network

# Larger networks are not built, because memory and not time would limit them.
MOST_WEIGHTS = 16_000_000
# Duration of one timing in seconds; a gradient that takes longer is computed once.
TIMING_SECONDS = 0.02
# A gradient that is expected to take more than this many times the limit is not tried: K^N may take years.
HOPELESS = 60.0


@dataclass(frozen=True)
class Point:
    """Timings of one gradient by one method.

    Args:
        method: Name of the method.
        width: Units per layer of the network.
        depth: Number of layers, inputs and logits included.
        batch: Number of samples.
        multiplications: Number of multiplications, for the whole batch.
        seconds: Time of each round.
    """

    method: str
    width: int
    depth: int
    batch: int
    multiplications: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median time of the rounds, in seconds."""
        return statistics.median(self.seconds)


@dataclass
class Curve:
    """The timings of one method on growing networks."""

    method: str
    points: list[Point] = field(default_factory=list)

    def sizes(self, name: str) -> list[int]:
        """Return the "width" or "depth" of each point."""
        return [getattr(point, name) for point in self.points]

    def at(self, name: str, size: int) -> Point | None:
        """Return the point with this "width" or "depth"; None if there is none."""
        return next((point for point in self.points if getattr(point, name) == size), None)


@dataclass
class Sweep:
    """The curves of all methods on one series of networks, in which `grows` ("width" or "depth") grows."""

    title: str
    grows: str
    curves: dict[str, Curve]

    def common(self) -> int | None:
        """Return the largest size that all methods have reached; None if there is none."""
        sizes = [set(curve.sizes(self.grows)) for curve in self.curves.values()]
        shared = set.intersection(*sizes) if sizes else set()
        return max(shared, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the sweep in types that JSON can hold."""
        points = [vars(point) for curve in self.curves.values() for point in curve.points]
        return {"title": self.title, "grows": self.grows, "points": points}


def fill(
    sweep: Sweep, nets: Iterable[tuple[int, int, int]], *, limit: float, rounds: int, bar: Any
) -> Iterator[None]:
    """Time all methods of the sweep on the networks (width, depth, batch); yields after each network.

    On each network, the methods are timed in turn, `rounds` times. A method is dropped once a gradient takes
    more than `limit` seconds, or if the next one is expected to take more than `HOPELESS` times as long.
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
            # The first call is a warm-up, as it may record or compile. If it is slow, it is the only timing.
            first = _seconds(gradients[name], 1)
            times[name] = [first] if first > limit else []
        for _ in range(rounds):
            for name, gradient in gradients.items():
                if not (times[name] and times[name][0] > limit):
                    times[name].append(_timing(gradient))
        for name, seconds in times.items():
            count = _multiplications(name, width, depth, batch)
            sweep.curves[name].points.append(Point(name, width, depth, batch, count, tuple(seconds)))
        bar.update()
        yield


def _may_grow(curve: Curve, width: int, depth: int, batch: int, limit: float) -> bool:
    """Whether the last gradient was within the limit, and the next one is not hopelessly slow."""
    if not curve.points:
        return True
    last = curve.points[-1]
    growth = _multiplications(curve.method, width, depth, batch) / last.multiplications
    return last.median <= limit and last.median * growth <= HOPELESS * limit


def _multiplications(method: str, width: int, depth: int, batch: int) -> int:
    return METHODS[method].count([width] * depth) * batch


def _timing(gradient: Gradient) -> float:
    """Time a gradient in seconds: the mean of as many calls as fit into `TIMING_SECONDS`."""
    once = _seconds(gradient, 1)
    if once > TIMING_SECONDS:
        return once
    return _seconds(gradient, max(1, int(TIMING_SECONDS / max(once, 1e-7))))


def _seconds(gradient: Gradient, calls: int) -> float:
    """Mean time of consecutive calls, in seconds."""
    started = time.perf_counter()
    for _ in range(calls):
        gradient()
    return (time.perf_counter() - started) / calls


def check(methods: Sequence[str]) -> None:
    """Raise AssertionError unless all methods compute the same gradient of a small network."""
    expected = METHODS["python"].prepare(*network(3, 3, 1))()
    for name in methods:
        computed = METHODS[name].prepare(*network(3, 3, 1))()
        for parameter, gradient in expected.items():
            assert np.allclose(computed[parameter], gradient, rtol=1e-6, atol=1e-8), f"{name} is wrong"
