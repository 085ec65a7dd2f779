"""Format the results of `fastnn complexity`: times, measured and theoretical exponents, and speedups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastnn.complexity import fit
from fastnn.complexity.measure import Curve, Sweep
from fastnn.complexity.methods import METHODS
from fastnn.tables import aligned, duration

LETTERS = {"width": "K", "depth": "N"}


def text(sweeps: Sequence[Sweep]) -> str:
    """Format all tables of all sweeps."""
    return "\n\n".join(
        part for sweep in sweeps for part in (_times(sweep), _exponents(sweep), _factors(sweep))
    )


def _times(sweep: Sweep) -> str:
    """Format the median times: a row per method, a column per size."""
    letter = LETTERS[sweep.grows]
    sizes = sorted({size for curve in sweep.curves.values() for size in curve.sizes(sweep.grows)})
    rows = [[f"{letter} =", *map(str, sizes)]]
    for curve in sweep.curves.values():
        points = [curve.at(sweep.grows, size) for size in sizes]
        cells = ["" if point is None else duration(point.median) for point in points]
        rows.append([METHODS[curve.method].label, *cells])
    return f"{sweep.title}\n{_lines(rows)}"


def _exponents(sweep: Sweep) -> str:
    """Format the growth of times and multiplications in the tail, and the theoretical growth."""
    rows = [["growth in the tail", "time", "multiplications", "theory"]]
    letter = LETTERS[sweep.grows]
    for curve in sweep.curves.values():
        method = METHODS[curve.method]
        if sweep.grows == "depth" and method.by_depth is None:
            rows.append([method.label, *_law(curve, sweep.grows, fit.exponential, "{}^N"), "K^N"])
        else:
            law = _law(curve, sweep.grows, fit.power, letter + "^{}")
            rows.append([method.label, *law, f"{letter}^{_theory(sweep, curve)}"])
    return _lines(rows)


def _theory(sweep: Sweep, curve: Curve) -> str:
    """Return the theoretical exponent of a method."""
    method = METHODS[curve.method]
    if sweep.grows == "depth":
        return str(method.by_depth)
    if method.by_width is None:  # K^N
        return str(curve.points[0].depth) if curve.points else "N"
    batch_grows = all(point.batch == point.width for point in curve.points) and len(curve.points) > 1
    return str(method.by_width + batch_grows)


def _law(
    curve: Curve,
    grows: str,
    fitted: Callable[[Sequence[float], Sequence[float]], fit.Fit | None],
    form: str,
) -> list[str]:
    """Format the fits of the times and of the multiplications of a method."""
    sizes = curve.sizes(grows)
    cells = []
    for values in (
        [point.median for point in curve.points],
        [float(point.multiplications) for point in curve.points],
    ):
        found = fitted(sizes, values)
        cells.append("" if found is None else form.format(f"({found.slope:.2f} ± {found.error:.2f})"))
    return cells


def _factors(sweep: Sweep) -> str:
    """Format the times at the largest size that all methods reached, and their ratios to the fastest."""
    size = sweep.common()
    if size is None:
        return "no size was reached by all methods"
    times = {name: curve.at(sweep.grows, size) for name, curve in sweep.curves.items()}
    medians = {name: point.median for name, point in times.items() if point is not None}
    fastest = min(medians, key=lambda name: medians[name])
    letter = LETTERS[sweep.grows]
    lines = [f"at {letter} = {size}, the largest size of all methods, one gradient takes"]
    for name, median in medians.items():
        factor = "" if name == fastest else f"{_rounded(median / medians[fastest]):>10}x the fastest"
        lines.append(f"  {METHODS[name].label:28}{duration(median):>10}{factor}")
    return "\n".join(lines)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(aligned(rows, left=1))


def _rounded(factor: float) -> str:
    """Format a measured factor with three significant digits."""
    return f"{factor:.3g}" if factor < 100 else f"{float(f'{factor:.3g}'):,.0f}"
