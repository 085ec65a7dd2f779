"""Run the experiments of reports, and write the page about them: `fastnn reproduce` and `fastnn report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastnn import get_num_threads
from fastnn.cli.run_folder import locked
from fastnn.data import DatasetNotFoundError
from fastnn.files import write_atomic
from fastnn.reproduction import markdown, page, runner
from fastnn.reproduction.experiment import Experiment, chosen, known_experiments, known_items
from fastnn.reproduction.runner import Outcome, Run
from fastnn.tables import aligned

PAGE = "index.html"


def listing() -> str:
    """A line for each experiment: its id, what it shows, what the report says, and its duration."""
    experiments = list(known_experiments().values())
    seconds = runner.expected_seconds([_run(each, None, False, Path()) for each in experiments])
    rows = [["experiment", "variants", "shows", "the report says", "minutes"]]
    for each, expected in zip(experiments, seconds.values(), strict=True):
        rows.append(
            [each.id, ", ".join(each.variants), each.title, each.expected or "-", f"{expected / 60:.1f}"]
        )
    return "\n".join(aligned(rows, left=4))


def reproduce(
    ids: Sequence[str],
    *,
    out: Path,
    variant: str | None = None,
    quick: bool = False,
    jobs: int | None = None,
    redraw: bool = False,
) -> list[Outcome]:
    """Run experiments, print their tables, and write the page about all results in `out`.

    Raises ValueError for an unknown experiment or variant; at the end DatasetNotFoundError if data were
    missing, ExperimentError if an experiment failed.
    """
    experiments = chosen(ids, known_experiments(), variant)
    runs = [_run(each, variant, quick, out) for each in experiments]
    for run in runs:
        run.parameters  # noqa: B018  fails for an unknown variant
    with locked(out):
        outcomes = runner.run_all(runs, jobs=jobs or get_num_threads(), redraw=redraw, done=_print)
        if any(outcome.status in ("done", "skipped") for outcome in outcomes):
            page.write(out, known_items(), out / PAGE)
            print(f"written to {out / PAGE}")
    failed = [outcome.run.name for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise runner.ExperimentError(f"{len(failed)} of {len(runs)} experiments failed: {', '.join(failed)}")
    missing = [outcome for outcome in outcomes if outcome.status == "missing"]
    if missing:
        names = ", ".join(outcome.run.name for outcome in missing)
        raise DatasetNotFoundError(f"not run: {names}: {missing[0].message}")
    return outcomes


def report(out: Path, summary: Path | None = None) -> list[Path]:
    """Write the page about the results in a folder, and a summary in Markdown; returns their paths."""
    results = page.write(out, known_items(), out / PAGE)
    rows = sum(len(result["rows"]) for result in results)
    print(f"{len(results)} results, {rows} rows")
    if summary is None:
        return [out / PAGE]
    write_atomic(summary, markdown.summary(results, known_items()).encode())
    return [out / PAGE, summary]


def _run(experiment: Experiment, variant: str | None, quick: bool, out: Path) -> Run:
    return Run(experiment, variant or next(iter(experiment.variants)), quick, out)


def _print(outcome: Outcome) -> None:
    print(f"\n{outcome}", flush=True)
