"""Tables and times as text."""

from __future__ import annotations

from collections.abc import Sequence

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0) -> list[str]:
    """The rows as lines of equal columns, the first `left` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def duration(seconds: float) -> str:
    """Three digits and a unit: "12.3 us"."""
    unit, size = next((pair for pair in UNITS.items() if seconds >= pair[1]), ("ns", 1e-9))
    value = seconds / size
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
