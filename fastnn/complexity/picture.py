"""Draw the time of one gradient over the width and over the depth of a network, for a slide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn.complexity.measure import Curve, Sweep
from fastnn.files import user_path
from fastnn.viz._drawing import new_figure, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Theme(NamedTuple):
    """Colours of the page, of the text, of the grid and of the curves."""

    page: str
    ink: str
    faint: str
    curves: dict[str, str]


# The colours contrast with the page, and colour-blind readers can distinguish them (Okabe and Ito 2008).
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

# The labels at the ends of the curves.
NAMES = {
    "differences": "central differences",
    "differences-numpy": "differences in NumPy",
    "paths": "every path",
    "python": "backpropagation",
    "ref": "… in NumPy",
    "jit": "… by Numba",
    "aot": "… compiled",
}


def save(by_width: Sweep, by_depth: Sweep, path: str | os.PathLike[str], *, theme: str) -> Path:
    """Draw both sweeps into the picture `path` (.svg, .png, .pdf) and return the path.

    `theme` is "light" or "dark". Raises ImportError if matplotlib is missing.
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
            "one gradient of one sample, in pure Python unless noted", color=colours.ink, loc="left"
        )
        _compare(left, by_width, colours)
        target = user_path(path)
        write_picture(figure, target, dpi=150, facecolor=colours.page, metadata=_undated(target))
    return target


def _undated(path: Path) -> dict[str, Any] | None:
    """Metadata without a date, so that the same results give the same bytes."""
    return {"Date": None} if path.suffix == ".svg" else None


def _first(sweep: Sweep) -> Any:
    """Return the first point of the sweep."""
    return next(point for curve in sweep.curves.values() for point in curve.points)


def _draw(axes: Axes, sweep: Sweep, theme: Theme) -> None:
    """Draw the curves of one sweep."""
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
    # Leave room for the labels on the right.
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
    """Choose the ticks: the powers of 2 among the sizes, or every other one if there are more than six."""
    powers = [size for size in sizes if size & (size - 1) == 0]
    return powers if len(powers) <= 6 else powers[::2]


def _power_of_ten(seconds: float) -> str:
    """Format a power of ten of seconds."""
    units = {1e-6: "1 µs", 1e-5: "10 µs", 1e-4: "100 µs", 1e-3: "1 ms", 1e-2: "10 ms", 1e-1: "100 ms"}
    return next((name for size, name in units.items() if abs(seconds / size - 1) < 1e-6), f"{seconds:.0f} s")


def _name_ends(axes: Axes, curves: Sequence[Curve], grows: str, theme: Theme) -> None:
    """Label each curve at its end; labels that would overlap are moved up.

    The label of the curve that ends first is on the left of its end, where the picture is empty.
    """
    ends = [(curve.sizes(grows)[-1], curve.points[-1].median, curve.method) for curve in curves]
    line_factor = 1.75  # ratio of the heights of two lines of text on the logarithmic axis
    placed: list[tuple[float, float]] = []
    first = min(x for x, _, _ in ends)
    for x, y, method in sorted(ends, key=lambda end: end[1]):
        alone = x == first < max(x for x, _, _ in ends) and [end[0] for end in ends].count(x) == 1
        label_y = y
        for other_x, other_y in placed:
            # A label is about four doublings of the x axis long.
            if other_x / 20 < x < other_x * 20 and label_y < other_y * line_factor:
                label_y = other_y * line_factor
        if not alone:
            placed.append((x, label_y))
        axes.annotate(
            NAMES[method],
            (x, y),
            xytext=(x / 1.15 if alone else x * 1.12, label_y),
            ha="right" if alone else "left",
            va="center",
            color=theme.curves[method],
            fontweight="bold" if method in ("aot", "differences", "paths") else "normal",
        )


def _compare(axes: Axes, sweep: Sweep, theme: Theme) -> None:
    """Draw an arrow between central differences and the compiled kernels, at the largest common size."""
    size = sweep.common()
    if size is None or not {"differences", "aot"} <= sweep.curves.keys():
        return
    slow, fast = (sweep.curves[name].at(sweep.grows, size) for name in ("differences", "aot"))
    assert slow is not None
    assert fast is not None
    style = {"arrowstyle": "<->", "color": theme.ink, "linewidth": 1.6, "shrinkA": 6, "shrinkB": 6}
    axes.annotate("", (size, fast.median), xytext=(size, slow.median), arrowprops=style)
    # Near the slow end, where the picture is empty to the right of the arrow.
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
    """Round to two significant digits, as the factor is a measurement."""
    digits = max(len(str(int(factor))) - 2, 0)
    return f"{round(factor, -digits):,.0f}"
