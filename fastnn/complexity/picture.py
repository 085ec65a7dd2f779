"""Draw the time of one gradient over the width and over the depth of a network, for a slide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.complexity.measure import Sweep
from fastnn.files import user_path
from fastnn.viz._drawing import Array, new_figure, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

Xy = tuple[float, float]


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
        # The texts beside the curves need the final places of the axes.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        taken = {left: _pixels_of_curves(left), right: _pixels_of_curves(right)}
        for axes, sweep in ((left, by_width), (right, by_depth)):
            _name_ends(axes, sweep, colours, taken[axes])
        _compare(left, by_width, colours, taken[left])
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
    # Leave room for the labels on the right, also where all networks have the same size.
    axes.set_xlim(smallest * 0.85, largest * max(largest / smallest, 2) ** 0.75)
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


def _ticks(sizes: Sequence[int]) -> list[int]:
    """Choose the ticks: the powers of 2 among the sizes, or every other one if there are more than six."""
    powers = [size for size in sizes if size & (size - 1) == 0]
    return powers if len(powers) <= 6 else powers[::2]


def _power_of_ten(seconds: float) -> str:
    """Format a power of ten of seconds."""
    units = {1e-6: "1 µs", 1e-5: "10 µs", 1e-4: "100 µs", 1e-3: "1 ms", 1e-2: "10 ms", 1e-1: "100 ms"}
    return next((name for size, name in units.items() if abs(seconds / size - 1) < 1e-6), f"{seconds:.0f} s")


# Places of a label relative to the end of its curve, in points, the best first: to the right, to the left,
# above, below.
RIGHT = [(8, y) for y in (0, 9, -9, 17, -17, 26, -26, 35, -35)]
PLACES = [*RIGHT, *((-x, y) for x, y in RIGHT), *((0, y) for y in (16, -16, 28, -28))]


def _pixels_of_curves(axes: Axes) -> list[Array]:
    """Return points on the curves, in pixels and close to each other, one array (n, 2) per curve."""
    curves = []
    for line in axes.lines:
        corners = axes.transData.transform(np.column_stack(line.get_data()))
        steps = np.linspace(0, len(corners) - 1, 40 * len(corners))
        ends = np.arange(len(corners))
        curves.append(np.column_stack([np.interp(steps, ends, corners[:, side]) for side in (0, 1)]))
    return curves


def _put(
    axes: Axes, text: str, places: Sequence[tuple[Xy, Xy]], taken: list[Array], **style: Any
) -> Annotation:
    """Write a text at the first place that hides nothing, or else where it hides least.

    `places` are pairs of a point in data coordinates and an offset in points. `taken` has the points (n, 2),
    in pixels, that must not be hidden; those of the text are added.
    """
    tried = []
    for point, (right, up) in places:
        label = axes.annotate(
            text,
            point,
            xytext=(right, up),
            textcoords="offset points",
            ha="left" if right > 0 else "right" if right < 0 else "center",
            va="center",
            **style,
        )
        box = label.get_window_extent().padded(2)
        hidden = sum(
            np.count_nonzero((points > box.min).all(axis=1) & (points < box.max).all(axis=1))
            for points in taken
        )
        cut = not (axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and box.y1 <= axes.bbox.y1)
        tried.append((hidden + 1000 * cut, label))
        label.remove()
        if not hidden and not cut:
            break
    _, label = min(tried, key=lambda pair: pair[0])
    axes.add_artist(label)
    box = label.get_window_extent()
    inside = np.meshgrid(np.linspace(box.x0, box.x1, 30), np.linspace(box.y0, box.y1, 6))
    taken.append(np.column_stack([side.ravel() for side in inside]))
    return label


def _name_ends(axes: Axes, sweep: Sweep, theme: Theme, taken: list[Array]) -> None:
    """Label each curve at its end, where the label hides neither a curve nor another label."""
    ends = [
        ((curve.sizes(sweep.grows)[-1], curve.points[-1].median), curve.method)
        for curve in sweep.curves.values()
        if curve.points
    ]
    for end, method in sorted(ends, key=lambda pair: pair[0][1]):
        _put(
            axes,
            NAMES[method],
            [(end, place) for place in PLACES],
            taken,
            color=theme.curves[method],
            fontweight="bold" if method in ("aot", "differences", "paths") else "normal",
        )


def _compare(axes: Axes, sweep: Sweep, theme: Theme, taken: list[Array]) -> None:
    """Draw an arrow between central differences and the compiled kernels, at the largest common size."""
    size = sweep.common()
    if size is None or not {"differences", "aot"} <= sweep.curves.keys():
        return
    slow, fast = (sweep.curves[name].at(sweep.grows, size) for name in ("differences", "aot"))
    assert slow is not None
    assert fast is not None
    style = {"arrowstyle": "<->", "color": theme.ink, "linewidth": 1.6, "shrinkA": 6, "shrinkB": 6}
    axes.annotate("", (size, fast.median), xytext=(size, slow.median), arrowprops=style)
    heights = [fast.median ** (1 - share) * slow.median**share for share in np.linspace(0.85, 0.1, 16)]
    _put(
        axes,
        f"{_rounded(slow.median / fast.median)}\ntimes",
        [((size, height), (side, 0)) for side in (8, -8) for height in heights],
        taken,
        color=theme.ink,
        fontsize=15,
        fontweight="bold",
    )


def _rounded(factor: float) -> str:
    """Round to two significant digits, as the factor is a measurement."""
    digits = max(len(str(int(factor))) - 2, 0)
    return f"{round(factor, -digits):,.0f}"
