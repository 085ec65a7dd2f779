"""Run experiments, several at a time, each in a process of its own; skip those that have a result."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TextIO

from fastnn.config import environment, set_num_threads
from fastnn.data import DatasetNotFoundError
from fastnn.documents import read_json
from fastnn.files import cache_folder, write_atomic
from fastnn.reproduction import store
from fastnn.reproduction.experiment import Experiment
from fastnn.reproduction.report import Report, Row, table

COSTS = "reproduce.json"  # in the cache folder: seconds of earlier runs


class ExperimentError(Exception):
    """Experiments failed; the message names them."""


@dataclass(frozen=True)
class Run:
    """A run of an experiment: which variant, how long, and where its result goes."""

    experiment: Experiment
    variant: str
    quick: bool
    out: Path

    @property
    def name(self) -> str:
        """The name in progress bars and in the file of costs."""
        return f"{self.experiment.id} {self.folder.name}"

    @property
    def folder(self) -> Path:
        return store.folder_of(self.out, self.experiment, self.variant, quick=self.quick)

    @property
    def parameters(self) -> dict[str, Any]:
        return self.experiment.parameters(self.variant, quick=self.quick)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done", "skipped" (it had a result), "missing" (data) or "failed"."""

    run: Run
    status: str
    seconds: float = 0.0
    message: str = ""

    def __str__(self) -> str:
        heading = f"{self.run.name}: {self.run.experiment.title}"
        if self.status in ("missing", "failed"):
            return f"{heading}\n{self.status}: {self.message}"
        found = store.finished(self.run.folder) or {"rows": []}
        took = "has a result" if self.status == "skipped" else f"{self.seconds:.1f} s"
        return f"{heading} ({took}, {self.run.folder})\n{table([Row(**row) for row in found['rows']])}"


def run_all(
    runs: Sequence[Run], *, jobs: int, redraw: bool = False, done: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run experiments, `jobs` at a time on one core each, and call `done` after each of them.

    Those that need all cores follow one by one. The longest start first. A run that fails, lacks data or is
    killed does not stop the others. With `redraw`, stored trainings are shown again. After Ctrl-C, or if this
    process is killed, all running ones are ended; their results are as before.
    """
    from tqdm import tqdm

    costs = expected_seconds(runs)
    for out in {run.out for run in runs}:
        store.remove_partial(out)
    outcomes: list[Outcome] = []
    with tqdm(
        *(None, "experiments", sum(costs.values())),
        bar_format="{desc} {percentage:3.0f} %|{bar}| {elapsed}{postfix}",
        disable=None,
        leave=False,
    ) as bar:

        def finish(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if outcome.status == "done" and not redraw:
                _remember(outcome)
            bar.update(costs[outcome.run.name])
            with bar.external_write_mode(sys.stdout):
                done(outcome)

        def show(running: Mapping[str, float]) -> None:
            ended = {outcome.run.name for outcome in outcomes}
            remaining = [run for run in runs if run.name not in ended]
            bar.set_description(", ".join(running)[:60] or "experiments", refresh=False)
            minutes, seconds = divmod(round(_seconds_left(remaining, running, costs, jobs)), 60)
            bar.set_postfix_str(f"about {minutes:02}:{seconds:02} left")

        for alone in (False, True):
            pending = [run for run in runs if run.experiment.alone == alone]
            pending.sort(key=lambda run: costs[run.name])
            pool = _Pool(1 if alone else jobs, jobs if alone else 1, redraw)
            pool.run(pending, finish, show)
    return outcomes


def _seconds_left(
    remaining: Sequence[Run], running: Mapping[str, float], costs: Mapping[str, float], jobs: int
) -> float:
    """Estimate the time until all `remaining` runs have ended; `running` has been for so many seconds."""
    left = {run.name: max(costs[run.name] - running.get(run.name, 0.0), 0.0) for run in remaining}
    alone = [left[run.name] for run in remaining if run.experiment.alone]
    shared = [left[run.name] for run in remaining if not run.experiment.alone]
    return sum(alone) + max(sum(shared) / jobs, *shared, 0.0)


class _Pool:
    """Runs experiments in processes: `size` at a time, on `threads` threads each."""

    def __init__(self, size: int, threads: int, redraw: bool) -> None:
        self._size, self._threads, self._redraw = size, threads, redraw
        self._context = multiprocessing.get_context("spawn")  # the kernels' threads do not survive a fork
        self._running: dict[Connection, tuple[Run, Any, float]] = {}

    def run(
        self,
        pending: list[Run],
        finish: Callable[[Outcome], None],
        show: Callable[[Mapping[str, float]], None],
    ) -> None:
        """Run the last of `pending` first, call `finish` after each, and `show` with the seconds of each."""
        try:
            while pending or self._running:
                while pending and len(self._running) < self._size:
                    self._start(pending.pop())
                now = time.perf_counter()
                show({run.name: now - started for run, _, started in self._running.values()})
                for ended in wait(list(self._running), timeout=1.0):
                    finish(self._end(ended))  # type: ignore[arg-type]
        finally:
            for _, process, _ in self._running.values():
                process.kill()
                process.join()

    def _start(self, run: Run) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(run, self._threads, self._redraw, theirs))
        process.start()
        theirs.close()
        self._running[ours] = (run, process, time.perf_counter())

    def _end(self, connection: Connection) -> Outcome:
        """The connection has a message, or its other end was closed because the process has ended."""
        run, process, started = self._running.pop(connection)
        try:
            status, message = connection.recv()
        except EOFError:
            process.join()
            code = process.exitcode or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            status, message = "failed", f"the process was {how}"
        process.join()
        connection.close()
        return Outcome(run, status, time.perf_counter() - started, message)


def _work(run: Run, threads: int, redraw: bool, answers: Connection) -> None:
    """Run one experiment in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_num_threads(threads)
    try:
        answers.send((run_one(run, redraw=redraw), ""))
    except DatasetNotFoundError as error:
        answers.send(("missing", str(error)))
    except Exception:
        answers.send(("failed", traceback.format_exc()))


def _end_with_parent() -> None:
    """End this process when its parent has been killed: the next run would not know of it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def run_one(run: Run, *, redraw: bool = False) -> str:
    """Run an experiment in this process and write its folder: returns "done", or "skipped" if it has one.

    With `redraw`, the stored training is shown again. Raises DatasetNotFoundError if data are missing.
    """
    depends_on = store.dependencies(run.experiment, run.parameters)
    found = store.finished(run.folder)
    is_same = found is not None and found["depends_on"] == depends_on
    if found is not None and is_same and store.is_complete(run.folder, found) and not redraw:
        return "skipped"
    with store.replacing(run.folder) as folder, _printing_to(folder / store.LOG):
        started = time.perf_counter()
        if redraw and found is not None:
            for name in (store.TRAINING, store.ARRAYS, store.TIMELINES):
                (folder / name).write_bytes((run.folder / name).read_bytes())
            seconds = found["seconds"]
            depends_on = found["depends_on"]  # a new source would have to train again
        else:
            store.write_training(folder, run.experiment.run(run.parameters))
            seconds = time.perf_counter() - started
        report = Report(folder, run.quick, bool(run.experiment.stand_in))
        run.experiment.show(store.read_training(folder), report)
        content = {
            "id": run.experiment.id,
            "title": run.experiment.title,
            "variant": run.variant,
            "quick": run.quick,
            "stand_in": run.experiment.stand_in,
            "depends_on": depends_on,
            "environment": environment(),
            "seconds": seconds,
            "rows": [asdict(row) for row in report.rows],
            "figures": report.figures,
        }
        write_atomic(folder / store.RESULT, json.dumps(content, indent=1).encode())
    return "done"


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Send everything that is printed, also by libraries, to a file."""
    streams = {1: sys.stdout, 2: sys.stderr}
    saved = {number: os.dup(number) for number in streams}
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    _redirect(streams, dict.fromkeys(streams, log))
    os.close(log)
    try:
        yield
    finally:
        _redirect(streams, saved)
        for descriptor in saved.values():
            os.close(descriptor)


def _redirect(streams: Mapping[int, TextIO], targets: Mapping[int, int]) -> None:
    for number, stream in streams.items():
        stream.flush()
        os.dup2(targets[number], number)


def expected_seconds(runs: Sequence[Run]) -> dict[str, float]:
    """Return the expected duration of each run by its name: the last one, or the experiment's estimate."""
    measured = _measured()
    estimates = {run.name: 60 * run.experiment.minutes * (0.05 if run.quick else 1) for run in runs}
    return {name: measured.get(name, estimate) for name, estimate in estimates.items()}


def _measured() -> dict[str, float]:
    try:
        saved = read_json(cache_folder() / COSTS)
    except (OSError, ValueError):
        return {}
    return {
        name: float(value)
        for name, value in saved.items()
        if isinstance(value, (int, float)) and 0 <= value < math.inf
    }


def _remember(outcome: Outcome) -> None:
    with suppress(OSError):
        path = cache_folder() / COSTS
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({**_measured(), outcome.run.name: outcome.seconds}, indent=1).encode())
