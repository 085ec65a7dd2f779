"""Show a run of `pytest --benchmark-only` as a table and as a picture.

The benchmarks of fastnn (`bench/`) are races: several contestants do the same work at the same shape. The
contestant that ran first, NumPy or the naive gradient, is the baseline of the race.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fastnn._schema import number
from fastnn.documents import read_json
from fastnn.files import user_path
from fastnn.tables import aligned, duration
from fastnn.viz._drawing import COLOURS, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The table lists where these contestants are not faster than NumPy.
KERNELS = ("jit", "aot")

# With more preemptions, a time says more about the machine than about the contestant: a process alone on a
# machine is preempted a few times per second, a process beside another one 50 to 300 times.
PREEMPTIONS_PER_SECOND = 20


@dataclass(frozen=True)
class Race:
    """The same work at one shape by several contestants.

    Args:
        name: Name of the work, such as "dense_dx".
        shape: Shape of the operands, such as "32x784x128".
        medians: Median time of each contestant in seconds, in the order in which they ran.
        disturbed: Contestants whose times were disturbed by other processes.
    """

    name: str
    shape: str
    medians: dict[str, float] = field(default_factory=dict)
    disturbed: set[str] = field(default_factory=set)

    @property
    def contestants(self) -> tuple[str, ...]:
        """The contestants, in the order in which they ran."""
        return tuple(self.medians)

    def factor(self, contestant: str) -> float:
        """Speedup of a contestant over the first contestant."""
        return self.medians[self.contestants[0]] / self.medians[contestant]


def load(path: str | os.PathLike[str]) -> list[Race]:
    """Read the races in a file that `pytest --benchmark-only --benchmark-json=<path>` wrote, in their order.

    Raises FileNotFoundError if there is no such file, and ValueError if the file is not JSON or not from the
    benchmarks of fastnn.
    """
    entries = read_json(user_path(path)).get("benchmarks")
    if not isinstance(entries, list):
        raise ValueError(f'{path} was not written by pytest-benchmark: it has no list "benchmarks"')
    if not entries:
        raise ValueError(f"{path} has no benchmarks: did the run select any?")

    races: dict[tuple[str, str], Race] = {}
    for entry in entries:
        try:
            name, shape, contestant = _names(entry)
            race = races.setdefault((name, shape), Race(name, shape))
            if contestant in race.medians:
                raise ValueError(f"{contestant} ran twice in the race {name} {shape}")
            race.medians[contestant] = _median(entry)
            preemptions = entry["extra_info"].get("preemptions_per_second", 0)
            number(preemptions, "preemptions_per_second")
            if preemptions > PREEMPTIONS_PER_SECOND:
                race.disturbed.add(contestant)
        except (ValueError, TypeError) as error:
            test = entry.get("name", "?") if isinstance(entry, dict) else "?"
            raise ValueError(f"{path}, benchmark {test}: {error}") from error
    return list(races.values())


def _names(entry: Any) -> tuple[str, str, str]:
    """Return race, shape and contestant of a benchmark. Raises ValueError if it does not name them."""
    try:
        info = entry["extra_info"]
        names = info["race"], info["shape"], info["contestant"]
    except (KeyError, TypeError):
        names = None, None, None
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its extra_info does not name race, shape and contestant, as the tests in bench/ do")
    return names


def _median(entry: Any) -> float:
    """Return the median time of a benchmark in seconds. Raises ValueError if there is none."""
    try:
        seconds = entry["stats"]["median"]
    except (KeyError, TypeError):
        seconds = None
    if not (isinstance(seconds, float) and math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"its stats must have a positive median in seconds, not {seconds!r}")
    return seconds


def table(races: list[Race]) -> str:
    """Format the races: a row per race, with the median times and the speedups over the first contestant.

    Races of the same contestants share a table. The text below lists the races in which a compiled kernel
    ("jit", "aot") is not faster than "numpy", and warns if other processes disturbed the run.
    """
    blocks = [_block(group) for group in _by_contestants(races)]
    legend = "Median times, and speedups over the first contestant of the row."
    return "\n\n".join([*blocks, legend, _not_faster(races), *_disturbed(races)])


def _by_contestants(races: list[Race]) -> list[list[Race]]:
    """Group the races by their contestants, each group in the order of the run."""
    groups: dict[tuple[str, ...], list[Race]] = {}
    for race in races:
        groups.setdefault(race.contestants, []).append(race)
    return list(groups.values())


def _block(races: list[Race]) -> str:
    """Format races of the same contestants."""
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
    """List the comparisons in which a compiled kernel is not faster than NumPy."""
    pairs = [(race, name) for race in races for name in KERNELS if {"numpy", name} <= race.medians.keys()]
    if not pairs:
        return 'No race has both "numpy" and a compiled kernel.'
    slow = [(race, name) for race, name in pairs if race.medians[name] >= race.medians["numpy"]]
    lines = [
        f"  {name}  {race.name} {race.shape}: "
        f"{duration(race.medians[name])} versus {duration(race.medians['numpy'])}"
        for race, name in slow
    ]
    heading = f"Not faster than numpy in {len(slow)} of {len(pairs)} comparisons"
    return "\n".join([f"{heading}:" if slow else f"{heading}.", *lines])


def _disturbed(races: list[Race]) -> list[str]:
    """Return a warning if other processes disturbed the run, else an empty list."""
    disturbed, total = sum(len(race.disturbed) for race in races), sum(len(race.medians) for race in races)
    if not disturbed:
        return []
    return [
        f"Other processes disturbed {disturbed} of {total} timings: the speedups are unreliable. Run the "
        "benchmarks again on an idle machine."
    ]


def _factor(factor: float) -> str:
    """Format a speedup with two significant digits, or as an integer from 10 on: 0.39x, 8.1x, 1,234x."""
    return f"{factor:,.0f}x" if factor >= 9.95 else f"{factor:.1f}x" if factor >= 1 else f"{factor:.2g}x"


@overload
def plot(races: list[Race], path: None = None) -> Figure: ...


@overload
def plot(races: list[Race], path: str | os.PathLike[str]) -> Path: ...


def plot(races: list[Race], path: str | os.PathLike[str] | None = None) -> Path | Figure:
    """Draw the speedups on logarithmic axes.

    Writes the image file `path` (.png, .svg, .pdf) and returns its path. Without a path, returns the
    matplotlib figure, which a notebook shows. Each race is a row with a dot for each contestant; the fastest
    contestant is named on the right. Raises ImportError if matplotlib is missing.
    """
    groups = _by_contestants(races)
    names = dict.fromkeys(name for race in races for name in race.contestants)
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}

    # In units of one row. A panel needs 2.5 more rows for its title and axis, the picture one for the legend.
    heights = [len(group) + 2.5 for group in groups]
    figure = new_figure(9, 0.26 * (sum(heights) + 1))
    from matplotlib.lines import Line2D  # after new_figure, which says what to install

    panels = figure.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        _draw(axes, group, colours)
    dots = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in colours.values()]
    figure.legend(dots, list(colours), loc="outside upper center", ncols=7, fontsize=9, frameon=False)
    return finish(figure, path)


def _draw(axes: Axes, races: list[Race], colours: dict[str, str]) -> None:
    """Draw one panel: races of the same contestants, the first race at the top."""
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

    # Ticks at powers of ten on a wide axis, and at 1, 2, 5 times them on a narrow one.
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
    axes.set_title(f"speedup over {first}", loc="left", fontsize=9)
