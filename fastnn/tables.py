"""Formats tables as text, as CSV and as HTML, and durations as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape

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


def csv_text(header: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    """Format a table as CSV, with quotes where a cell needs them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def html_table(rows: Sequence[Sequence[str]], *, left: int = 0, caption: str = "") -> str:
    """Format rows of cells, the first of which is the header, as an HTML table for notebooks.

    The first `left` columns are left-aligned, the others right-aligned. Without colours: the table takes
    those of the page, light or dark.
    """
    style = "padding:0 0.6em;white-space:nowrap;text-align:"
    header, *body = (
        "".join(
            f'<{tag} style="{style}{"left" if column < left else "right"}">{escape(cell)}</{tag}>'
            for column, cell in enumerate(row)
        )
        for tag, row in zip(("th", *["td"] * (len(rows) - 1)), rows, strict=True)
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f"<table>{above}<thead><tr>{header}</tr></thead><tbody>{lines}</tbody></table>"


def html_text(text: str) -> str:
    """Format text as it is, with its lines and spaces, as HTML."""
    return f"<pre>{escape(text)}</pre>"


def duration(seconds: float) -> str:
    """Format a duration with three significant digits and a unit, such as "12.3 us"."""
    unit, size = next((pair for pair in UNITS.items() if seconds >= pair[1]), ("ns", 1e-9))
    value = seconds / size
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {unit}"
