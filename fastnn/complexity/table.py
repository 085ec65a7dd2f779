"""What `fastnn complexity` prints: times, exponents beside the theory, factors between the methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastnn.complexity import fit
from fastnn.complexity.measure import Curve, Sweep
from fastnn.complexity.methods import METHODS
from fastnn.tables import aligned, duration

LETTERS = {"width": "K", "depth": "N"}


def text(sweeps: Sequence[Sweep]) -> str:
    """All of it."""
    return "\n\n".join(
        part for sweep in sweeps for part in (_times(sweep), _exponents(sweep), _factors(sweep))
    )


def _times(sweep: Sweep) -> str:
    letter = LETTERS[sweep.grows]
    sizes = sorted({size for curve in sweep.curves.values() for size in curve.sizes(sweep.grows)})
    rows = [[f"{letter} =", *map(str, sizes)]]
    for curve in sweep.curves.values():
        points = [curve.at(sweep.grows, size) for size in sizes]
        cells = ["" if point is None else duration(point.median) for point in points]
        rows.append([METHODS[curve.method].label, *cells])
    return f"{sweep.title}\n{_lines(rows)}"


def _exponents(sweep: Sweep) -> str:
    """The laws in the tails of times and multiplications, beside the theory."""
    rows = [["law in the tail", "time", "multiplications", "theory"]]
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
    """The exponent that it should have."""
    method = METHODS[curve.method]
    if sweep.grows == "depth":
        return str(method.by_depth)
    if method.by_width is None:  # K^N
        return str(curve.points[0].depth) if curve.points else "N"
    a_batch_of_K = all(point.batch == point.width for point in curve.points) and len(curve.points) > 1
    return str(method.by_width + a_batch_of_K)


def _law(
    curve: Curve,
    grows: str,
    fitted: Callable[[Sequence[float], Sequence[float]], fit.Fit | None],
    form: str,
) -> list[str]:
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
    """How many times as long each method takes as the fastest, at the largest size that all reached."""
    size = sweep.common()
    if size is None:
        return "no size was reached by every method"
    times = {name: curve.at(sweep.grows, size) for name, curve in sweep.curves.items()}
    medians = {name: point.median for name, point in times.items() if point is not None}
    fastest = min(medians, key=lambda name: medians[name])
    letter = LETTERS[sweep.grows]
    lines = [f"at {letter} = {size}, the largest for all, one gradient takes"]
    for name, median in medians.items():
        factor = "" if name == fastest else f"{_rounded(median / medians[fastest]):>10} times"
        lines.append(f"  {METHODS[name].label:28}{duration(median):>10}{factor}")
    return "\n".join(lines)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(aligned(rows, left=1))


def _rounded(factor: float) -> str:
    """Three digits: it is a measurement."""
    return f"{factor:.3g}" if factor < 100 else f"{float(f'{factor:.3g}'):,.0f}"
