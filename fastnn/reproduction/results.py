"""The results in a folder, and what all of them say together: for the page and the summary in Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastnn.reproduction import store

Result = Mapping[str, Any]  # what result.json holds, and "folder": where it was found

VERDICTS = {
    "good": ("matches", "claim holds", "drawn"),
    "bad": ("differs", "claim does not hold"),
    "other": ("measured", "stand-in", "quick"),
}


def results_in(out: Path) -> list[Result]:
    """Return the results in the folder `out`. Raises FileNotFoundError if there is none."""
    results: list[Result] = [
        {**found, "folder": folder.parent}
        for folder in sorted(out.glob(f"*/*/{store.RESULT}"))
        if not folder.parent.name.startswith(store.PARTIAL)
        and (found := store.finished(folder.parent)) is not None
    ]
    if not results:
        raise FileNotFoundError(f"{out} has no results: run fastnn reproduce --out {out} first")
    return results


def by_experiment(results: Iterable[Result]) -> list[list[Result]]:
    """Return the results of each experiment, in the order of their ids; what is corrected comes first."""
    groups: dict[str, list[Result]] = {}
    for result in sorted(results, key=_place):
        groups.setdefault(result["id"], []).append(result)
    return list(groups.values())


def environment(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return versions and machine, several values if the results come from several, and the total time."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, value in result["environment"].items():
            found.setdefault(name, {})[str(value)] = None
    seconds = sum(result["seconds"] for result in results)
    rows = [(name.replace("_", " "), ", ".join(values)) for name, values in found.items()]
    return [*rows, ("time of all trainings", f"{seconds / 60:.1f} minutes")]


def coverage(results: Sequence[Result], items: Mapping[str, str]) -> list[list[str]]:
    """Return a table: for each report the number of its items with a row, and the verdicts of the rows."""
    names = [name for names in VERDICTS.values() for name in names]
    covered = {row["item"] for result in results for row in result["rows"]}
    table = [["report", "items", *names]]
    for report in sorted({report_of(item) for item in (*items, *covered)}):
        counts = Counter(
            row["verdict"] for result in results for row in result["rows"] if report_of(row["item"]) == report
        )
        wanted = [item for item in items if report_of(item) == report]
        done = sum(item in covered for item in wanted)
        table.append([report, f"{done} of {len(wanted)}", *(str(counts[name] or "") for name in names)])
    return table


def _place(result: Result) -> tuple[Any, ...]:
    """Sort key: numbers in ids by their value, full runs before quick ones, what is corrected first."""
    words = [(int(word) if word.isdecimal() else 0, word) for word in re.split(r"(\d+)", result["id"])]
    return words, result["quick"], result["variant"] == "as-written", result["variant"]


def report_of(item: str) -> str:
    """The report of an item: S1 of S1-15."""
    return item.partition("-")[0]
