"""The report of an experiment: expected and found values, claims, figures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._validation import in_range
from fastnn.tables import aligned

MATCHES, DIFFERS = "matches", "differs"
HOLDS, FAILS = "claim holds", "claim does not hold"
DRAWN, STAND_IN, QUICK, MEASURED = "drawn", "stand-in", "quick", "measured"
FORMATS = (".png", ".svg")


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        item: Item of the report.
        what: What was compared, claimed or drawn.
        expected: What the report says; empty if it says nothing.
        got: What was found.
        tolerance: Largest difference that counts as equal.
        verdict: One of the constants of this module.
        because: Reason, or the number that decides.
    """

    item: str
    what: str
    expected: str = ""
    got: str = ""
    tolerance: str = ""
    verdict: str = ""
    because: str = ""


@dataclass
class Report:
    """Collects what an experiment shows; `show` functions call its methods.

    In a quick run, and on data that stand in for those of the report, values are shown but not judged.

    Args:
        folder: Folder for the figures.
        quick: Whether the run is a short one on fewer data.
        stand_in: Whether the data are not those of the report.
    """

    folder: Path
    quick: bool = False
    stand_in: bool = False
    rows: list[Row] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def expect(
        self,
        item: str,
        what: str,
        got: float | Sequence[float],
        want: float,
        atol: float = 0.0,
        rtol: float = 0.0,
        because: str = "",
        *,
        needs_data: bool = True,
    ) -> None:
        """Compare a value, or the mean of several runs, with the value of the report.

        The verdict is "matches" if they differ by at most atol + rtol * |want|. `because` is the reason if
        they differ; it is left out if they match. A value that does not depend on the data, such as a number
        of parameters (`needs_data=False`), is judged in quick runs, too.
        """
        tolerance = in_range(atol, "atol", 0) + in_range(rtol, "rtol", 0) * abs(want)
        # Decimal fractions are not exact: 0.98 - 0.975 is a little more than 0.005.
        matches = bool(abs(float(np.mean(got)) - want) <= tolerance + 1e-12 * abs(want))
        verdict = MATCHES if matches else DIFFERS
        if needs_data:
            verdict = self._judged(verdict)
        reason = "" if verdict == MATCHES else because
        shown = f"± {tolerance:.3g}" if tolerance else "exact"
        self.rows.append(Row(item, what, _number(want), spread(got), shown, verdict, reason))

    def claim(self, item: str, what: str, holds: bool, because: str) -> None:
        """Say whether a claim of the report holds, and name the number that decides."""
        self.rows.append(Row(item, what, verdict=self._judged(HOLDS if holds else FAILS), because=because))

    def check(self, item: str, what: str, holds: bool, because: str = "") -> None:
        """Say whether a feature of the report has its counterpart: `holds` is the outcome of trying it.

        It does not depend on the amount of data, so it is judged in quick runs, too.
        """
        self.rows.append(Row(item, what, verdict=MATCHES if holds else DIFFERS, because=because))

    def measured(self, item: str, what: str, got: float | Sequence[float] | str) -> None:
        """Show a value for which the report has none."""
        text = got if isinstance(got, str) else spread(got)
        self.rows.append(Row(item, what, got=text, verdict=self._judged(MEASURED)))

    def figure(self, item: str, name: str, draw: Callable[[Path], object], caption: str = "") -> None:
        """Draw a figure: `draw(path)` writes it as PNG and as SVG."""
        if not re.fullmatch("[a-z0-9-]+", name):
            raise ValueError(f"the name of a figure must have only a-z, 0-9 and -, not {name!r}")
        files = [f"{name}{suffix}" for suffix in FORMATS]
        for file in files:
            draw(self.folder / file)
        self.figures.append({"item": item, "name": name, "caption": caption or name, "files": files})
        self.rows.append(Row(item, caption or name, got=files[0], verdict=DRAWN))

    def _judged(self, verdict: str) -> str:
        return STAND_IN if self.stand_in else QUICK if self.quick else verdict


def spread(values: float | Sequence[float]) -> str:
    """Format a value, or mean, standard deviation and number of several: "0.978 ± 0.001, n = 3"."""
    numbers = np.atleast_1d(np.asarray(values, float))
    if len(numbers) == 1:
        return _number(float(numbers[0]))
    mean, deviation = float(numbers.mean()), float(numbers.std(ddof=1))
    if deviation <= 1e-12 * abs(mean):  # rounding errors of equal values
        deviation = 0.0
    return f"{_number(mean)} ± {deviation:.2g}, n = {len(numbers)}"


def _number(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:.6g}"


def table(rows: Sequence[Row]) -> str:
    """Format the table for a terminal."""
    heading = ["item", "what", "expected", "got", "tolerance", "verdict"]
    cells = [[r.item, r.what, r.expected, r.got, r.tolerance, r.verdict] for r in rows]
    lines = aligned([heading, *cells], left=len(heading))
    reasons = [f"  {row.item} {row.what}: {row.because}" for row in rows if row.because]
    return "\n".join([*lines, *reasons])
