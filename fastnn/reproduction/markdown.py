"""Summarize all results as tables in Markdown: `fastnn report --markdown`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastnn.reproduction.results import Result, by_experiment, coverage, environment

SUMMARIZED = ("drawn", "measured")  # verdicts of which only the number is given
HEADING = ["item", "what", "the report says", "result", "verdict"]


def summary(results: Sequence[Result], items: Mapping[str, str]) -> str:
    """Return the coverage, and for each experiment what its report says beside what came out."""
    machine = ", ".join(f"{name} {value}" for name, value in environment(results))
    parts = ["## Coverage", f"Of this run: {machine}.", _table(coverage(results, items))]
    for variants in by_experiment(results):
        for result in variants:
            parts += _experiment(result)
    return "\n\n".join(parts) + "\n"


def _experiment(result: Result) -> list[str]:
    variant = "" if result["variant"] == "corrected" else f" ({result['variant']})"
    rows = [
        [row["item"], row["what"], row["expected"], _found(row), row["verdict"]]
        for row in result["rows"]
        if row["verdict"] not in SUMMARIZED
    ]
    counts = [sum(row["verdict"] == verdict for row in result["rows"]) for verdict in SUMMARIZED]
    others = f"Figures: {counts[0]}; further measurements: {counts[1]}; time: {result['seconds']:.0f} s."
    heading = f"### {result['id']}{variant}: {result['title']}"
    stand_in = [f"Stand-in: {result['stand_in']}."] if result["stand_in"] else []
    return [heading, *stand_in, *([_table([HEADING, *rows])] if rows else []), others]


def _found(row: Mapping[str, str]) -> str:
    """What came out, with the reason if it differs from the report; what decides a claim."""
    reason = row["because"] if row["verdict"] == "differs" or not row["got"] else ""
    return ": ".join(filter(None, (row["got"], reason)))


def _table(rows: Sequence[Sequence[str]]) -> str:
    first, *others = (f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)
    return "\n".join([first, f"|{'---|' * len(rows[0])}", *others])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
