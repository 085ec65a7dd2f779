"""Formats tables and durations as text."""

from __future__ import annotations

from collections.abc import Sequence

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0) -> list[str]:
    """Format rows of cells as lines with aligned columns.

    The first `left` columns are left-aligned, the others right-aligned.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def duration(seconds: float) -> str:
    """Format a duration with three significant digits and a unit, such as "12.3 us"."""
    unit, size = next((pair for pair in UNITS.items() if seconds >= pair[1]), ("ns", 1e-9))
    value = seconds / size
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {unit}"
