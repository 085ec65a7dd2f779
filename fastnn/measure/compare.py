"""Who won the benchmarks: a run of `pytest --benchmark-only` as a table and as a picture.

The benchmarks of fastnn (`bench/`) are races: one piece of work at one shape, done by several contestants.
The one that ran first is what the others of a race are compared with: NumPy, or the naive gradient.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.tables import aligned, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The contestants that must answer for not being faster than NumPy.
KERNELS = ("jit", "aot")

# From here on a time says more about the machine than about the contestant: alone on a machine, a process
# is preempted a few times per second, beside another one 50 to 300 times.
PREEMPTIONS_PER_SECOND = 20


@dataclass(frozen=True)
class Race:
    """One piece of work at one shape: the median time in seconds of each contestant, in running order."""

    name: str
    shape: str
    medians: dict[str, float] = field(default_factory=dict)
    disturbed: set[str] = field(default_factory=set)

    @property
    def contestants(self) -> tuple[str, ...]:
        return tuple(self.medians)

    def factor(self, contestant: str) -> float:
        """How many times faster it is than the first contestant."""
        return self.medians[self.contestants[0]] / self.medians[contestant]


def load(path: str | os.PathLike[str]) -> list[Race]:
    """The races in a file that `pytest --benchmark-only --benchmark-json=<path>` wrote, as they ran.

    Raises FileNotFoundError if there is none, ValueError where it is no such file: not JSON, or not from
    the benchmarks of fastnn.
    """
    try:
        report = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    entries = report.get("benchmarks") if isinstance(report, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f'{path} was not written by pytest-benchmark: it has no list "benchmarks"')
    if not entries:
        raise ValueError(f"{path} holds no benchmarks: did the run select any?")

    races: dict[tuple[str, str], Race] = {}
    for entry in entries:
        try:
            name, shape, contestant = _names(entry)
            race = races.setdefault((name, shape), Race(name, shape))
            if contestant in race.medians:
                raise ValueError(f"{contestant} ran twice in the race {name} {shape}")
            race.medians[contestant] = _median(entry)
            if entry["extra_info"].get("preemptions_per_second", 0) > PREEMPTIONS_PER_SECOND:
                race.disturbed.add(contestant)
        except ValueError as error:
            test = entry.get("name", "?") if isinstance(entry, dict) else "?"
            raise ValueError(f"{path}, benchmark {test}: {error}") from error
    return list(races.values())


def _names(entry: Any) -> tuple[str, str, str]:
    """Race, shape and contestant of a benchmark. Raises ValueError."""
    try:
        info = entry["extra_info"]
        names = info["race"], info["shape"], info["contestant"]
    except (KeyError, TypeError):
        names = None, None, None
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its extra_info does not name race, shape and contestant, as those of bench/ do")
    return names


def _median(entry: Any) -> float:
    """The median time of a benchmark in seconds. Raises ValueError."""
    try:
        seconds = entry["stats"]["median"]
    except (KeyError, TypeError):
        seconds = None
    if not (isinstance(seconds, float) and math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"its stats hold no median in seconds, but {seconds!r}")
    return seconds


def table(races: list[Race]) -> str:
    """A row for each race: the contestants' median times, and how many times faster than the first.

    Races of the same contestants share a table. Below it stands where a compiled kernel ("jit", "aot") is
    not faster than "numpy", and whether other work on the machine disturbed the run.
    """
    blocks = [_block(group) for group in _by_contestants(races)]
    legend = "Median times, and how many times faster than the first contestant of the row."
    return "\n\n".join([*blocks, legend, _not_faster(races), *_disturbed(races)])


def _by_contestants(races: list[Race]) -> list[list[Race]]:
    """The races grouped by their contestants, each group in running order."""
    groups: dict[tuple[str, ...], list[Race]] = {}
    for race in races:
        groups.setdefault(race.contestants, []).append(race)
    return list(groups.values())


def _block(races: list[Race]) -> str:
    first, *others = races[0].contestants
    rows = [["race", "shape", first, *(cell for name in others for cell in (name, ""))]]
    for race in races:
        times = [duration(race.medians[first])]
        for name in others:
            times += [duration(race.medians[name]), _factor(race.factor(name))]
        rows.append([race.name, race.shape, *times])
    lines = aligned(rows, left=2)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _not_faster(races: list[Race]) -> str:
    pairs = [(race, name) for race in races for name in KERNELS if {"numpy", name} <= race.medians.keys()]
    if not pairs:
        return 'No race has both "numpy" and a compiled kernel.'
    slow = [(race, name) for race, name in pairs if race.medians[name] >= race.medians["numpy"]]
    lines = [
        f"  {name}  {race.name} {race.shape}: "
        f"{duration(race.medians[name])} against {duration(race.medians['numpy'])}"
        for race, name in slow
    ]
    heading = f"Not faster than numpy in {len(slow)} of {len(pairs)} comparisons"
    return "\n".join([f"{heading}:" if slow else f"{heading}.", *lines])


def _disturbed(races: list[Race]) -> list[str]:
    """A warning, if there is reason for one."""
    disturbed, total = sum(len(race.disturbed) for race in races), sum(len(race.medians) for race in races)
    if not disturbed:
        return []
    return [
        f"Other work on the machine disturbed {disturbed} of {total} times: do not trust the factors, "
        "run again when it is idle."
    ]


def _factor(factor: float) -> str:
    """Two digits, or all those before the point: "0.39x", "8.1x", "1,234x"."""
    return f"{factor:,.0f}x" if factor >= 9.95 else f"{factor:.1f}x" if factor >= 1 else f"{factor:.2g}x"


def plot(races: list[Race], path: str | os.PathLike[str]) -> Path:
    """Draw all factors on logarithmic axes into the picture `path` (.png, .svg, .pdf); returns its path.

    A row for each race, a dot for each contestant, and the fastest of the row named at its right.
    Raises ImportError when matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise ImportError("a picture needs matplotlib: pip install 'fastnn-kernels[demo]'") from error
    groups = _by_contestants(races)
    names = dict.fromkeys(name for race in races for name in race.contestants)
    colours = {name: f"C{index}" for index, name in enumerate(names)}

    # In rows: above and below its dots, a panel needs room for title and axis, the picture for the legend.
    heights = [len(group) + 2.5 for group in groups]
    figure = Figure(figsize=(9, 0.26 * (sum(heights) + 1)), layout="constrained")
    panels = figure.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        _draw(axes, group, colours)
    dots = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in colours.values()]
    figure.legend(dots, list(colours), loc="outside upper center", ncols=7, fontsize=9, frameon=False)
    target = Path(path)
    figure.savefig(target, dpi=120)
    return target


def _draw(axes: Axes, races: list[Race], colours: dict[str, str]) -> None:
    """One panel: the races of the same contestants, the first of them at the top."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    first, *others = races[0].contestants
    rows = range(len(races))
    factors = [race.factor(name) for race in races for name in others] + [1.0]
    axes.set_xscale("log")
    axes.set_xlim(min(factors) / 1.3, max(factors) * 1.3)
    axes.axvline(1, color=colours[first], linewidth=1.5, zorder=1)
    for name in others:
        dots = [race.factor(name) for race in races]
        axes.plot(dots, rows, "o", color=colours[name], alpha=0.85, markersize=6, zorder=2)
    for row, race in enumerate(races):
        fastest = min(race.medians, key=race.medians.__getitem__)
        text = f"{fastest} {_factor(race.factor(fastest))}"
        axes.text(1.01, row, text, va="center", fontsize=8, transform=axes.get_yaxis_transform())

    # Whole decades on a wide axis, 1-2-5 steps on a narrow one.
    narrow = max(factors) / min(factors) < 300
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda factor, _: f"{factor:,.6g}x"))
    axes.minorticks_off()
    axes.set_yticks(rows, [f"{race.name}  {race.shape}" for race in races], fontsize=8)
    axes.set_ylim(len(races) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="both", color="0.92", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"how many times faster than {first}", loc="left", fontsize=9)
