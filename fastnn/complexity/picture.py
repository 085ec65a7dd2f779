"""The picture for a slide: what one gradient costs, over the width and over the depth of a net."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn.complexity.measure import Curve, Sweep
from fastnn.viz._drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Theme(NamedTuple):
    """Colours: of the page, of what is written on it, of the grid, and of the curves."""

    page: str
    ink: str
    faint: str
    curves: dict[str, str]


# Dark enough, and light enough, to be read on the page; told apart by the colour-blind (Okabe and Ito 2008).
THEMES = {
    "light": Theme(
        "#ffffff",
        "#1f2328",
        "#d8dee4",
        {
            "differences": "#c2410c",
            "differences-numpy": "#e08a5b",
            "paths": "#9d4e8c",
            "python": "#6b7280",
            "ref": "#0f766e",
            "jit": "#5aa0d8",
            "aot": "#0550ae",
        },
    ),
    "dark": Theme(
        "#0d1117",
        "#e6edf3",
        "#30363d",
        {
            "differences": "#ff8f57",
            "differences-numpy": "#c9764f",
            "paths": "#e19bd3",
            "python": "#9aa4b2",
            "ref": "#4fc3b4",
            "jit": "#6cb2ee",
            "aot": "#58a6ff",
        },
    ),
}

# What is written at the ends of the curves.
NAMES = {
    "differences": "central differences",
    "differences-numpy": "the same in NumPy",
    "paths": "every path",
    "python": "backpropagation",
    "ref": "… in NumPy",
    "jit": "… by Numba",
    "aot": "… compiled",
}


def save(by_width: Sweep, by_depth: Sweep, path: str | os.PathLike[str], *, theme: str) -> Path:
    """Draw both sweeps into the picture `path` (.svg, .png, .pdf), "light" or "dark"; returns its path.

    Raises ImportError when matplotlib is missing.
    """
    from matplotlib import rc_context

    colours = THEMES[theme]
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "fastnn", "font.size": 13}):
        figure = new_figure(13.5, 6.6)
        figure.set_facecolor(colours.page)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
        _draw(left, by_width, colours)
        _draw(right, by_depth, colours)
        depth = _first(by_width).depth
        left.set_xlabel(f"units in each of {depth} layers")
        right.set_xlabel(f"layers of {_first(by_depth).width} units")
        left.set_ylabel("time for one gradient")
        figure.suptitle("What backpropagation saves", fontsize=24, fontweight="bold", color=colours.ink)
        left.set_title(
            "one gradient, one sample; plain Python but where it says so", color=colours.ink, loc="left"
        )
        _compare(left, by_width, colours)
        target = Path(path)
        figure.savefig(target, dpi=150, facecolor=colours.page, metadata=_undated(target))
    return target


def _undated(path: Path) -> dict[str, Any] | None:
    """No date in the file: the same figures give the same bytes."""
    return {"Date": None} if path.suffix == ".svg" else None


def _first(sweep: Sweep) -> Any:
    return next(point for curve in sweep.curves.values() for point in curve.points)


def _draw(axes: Axes, sweep: Sweep, theme: Theme) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axes.set_facecolor(theme.page)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    drawn = [curve for curve in sweep.curves.values() if curve.points]
    for curve in drawn:
        emphasis = 3.4 if curve.method in ("aot", "differences", "paths") else 2.0
        axes.plot(
            curve.sizes(sweep.grows),
            [point.median for point in curve.points],
            marker="o",
            markersize=emphasis + 2,
            linewidth=emphasis,
            color=theme.curves[curve.method],
            solid_capstyle="round",
        )
    largest = max(max(curve.sizes(sweep.grows)) for curve in drawn)
    smallest = min(min(curve.sizes(sweep.grows)) for curve in drawn)
    # Room for the names on the right.
    axes.set_xlim(smallest * 0.85, smallest * (largest / smallest) ** 1.5)
    sizes = sorted({size for curve in drawn for size in curve.sizes(sweep.grows)})
    axes.xaxis.set_major_locator(FixedLocator(_ticks(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(LogLocator(base=10))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(value)))
    axes.grid(color=theme.faint, linewidth=0.8)
    axes.tick_params(colors=theme.ink, length=0)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    axes.spines[:].set_visible(False)
    _name_ends(axes, drawn, sweep.grows, theme)


def _ticks(sizes: Sequence[int]) -> list[int]:
    """Powers of 4, from those of 2."""
    powers = [size for size in sizes if size & (size - 1) == 0]
    return powers if len(powers) <= 6 else powers[::2]


def _power_of_ten(seconds: float) -> str:
    units = {1e-6: "1 µs", 1e-5: "10 µs", 1e-4: "100 µs", 1e-3: "1 ms", 1e-2: "10 ms", 1e-1: "100 ms"}
    return next((name for size, name in units.items() if abs(seconds / size - 1) < 1e-6), f"{seconds:.0f} s")


def _name_ends(axes: Axes, curves: Sequence[Curve], grows: str, theme: Theme) -> None:
    """The name of each curve beside its end, moved up where names would meet.

    That of the curve that ends first goes to its left, where nothing is.
    """
    ends = [(curve.sizes(grows)[-1], curve.points[-1].median, curve.method) for curve in curves]
    apart = 1.75  # the factor between two lines of text
    placed: list[tuple[float, float]] = []
    first = min(x for x, _, _ in ends)
    for x, y, method in sorted(ends, key=lambda end: end[1]):
        alone = x == first < max(x for x, _, _ in ends) and [end[0] for end in ends].count(x) == 1
        at = y
        for other_x, other_y in placed:
            # A name is some four doublings of the axis long.
            if other_x / 20 < x < other_x * 20 and at < other_y * apart:
                at = other_y * apart
        if not alone:
            placed.append((x, at))
        axes.annotate(
            NAMES[method],
            (x, y),
            xytext=(x / 1.15 if alone else x * 1.12, at),
            ha="right" if alone else "left",
            va="center",
            color=theme.curves[method],
            fontweight="bold" if method in ("aot", "differences", "paths") else "normal",
        )


def _compare(axes: Axes, sweep: Sweep, theme: Theme) -> None:
    """An arrow between the slowest and the fastest way at the largest size that both have reached."""
    size = sweep.common()
    if size is None or not {"differences", "aot"} <= sweep.curves.keys():
        return
    slow, fast = (sweep.curves[name].at(sweep.grows, size) for name in ("differences", "aot"))
    assert slow is not None
    assert fast is not None
    style = {"arrowstyle": "<->", "color": theme.ink, "linewidth": 1.6, "shrinkA": 6, "shrinkB": 6}
    axes.annotate("", (size, fast.median), xytext=(size, slow.median), arrowprops=style)
    # Nearer to the slow end, where it is empty to the right of the arrow.
    height = slow.median ** (3 / 4) * fast.median ** (1 / 4)
    axes.text(
        size * 1.15,
        height,
        f"{_rounded(slow.median / fast.median)}\ntimes",
        va="center",
        color=theme.ink,
        fontsize=15,
        fontweight="bold",
    )


def _rounded(factor: float) -> str:
    """Two digits: it is a measurement."""
    digits = max(len(str(int(factor))) - 2, 0)
    return f"{round(factor, -digits):,.0f}"
