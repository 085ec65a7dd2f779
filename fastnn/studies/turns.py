"""Runs of a sweep that take turns in the threads of this process."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from queue import Queue
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._waiting import next_of
from fastnn.history import History
from fastnn.layers import Layer
from fastnn.optim.ema import EMA
from fastnn.optim.optimizers import Optimizer
from fastnn.optim.schedules import Schedule
from fastnn.param import Param
from fastnn.states import held_by
from fastnn.studies.study import Member
from fastnn.training.interrupts import stopped_by
from fastnn.training.turns import Turns, Updates, can_join, make_together, take_turn

if TYPE_CHECKING:
    from fastnn.studies.parcel import Place

# The number of runs that share a thread: two vectors of 16 lanes.
MOST_RUNS = 32
# No further run begins in a thread while the data of its runs have more bytes: each may have made its own.
MOST_BYTES = 1 << 29


def train_in_turns(
    train: Callable[..., Turns[Member]],
    places: Sequence[Place],
    workers: int,
    add: Callable[[Member], None],
    *,
    together: bool,
) -> None:
    """Train at all places in `workers` threads; calls `add` with each run when it ends.

    `train(*place, begin=...)` is `train_member`. With `together`, the runs of small models share a thread,
    and the updates of models of one architecture are made together. All others run one after the other.
    """
    waiting, ended, stop = deque(places), list[Member](), threading.Event()
    in_progress = _InProgress()
    rounds = -(-len(places) // (workers * MOST_RUNS)) or 1
    most = -(-len(places) // (workers * rounds)) if together else 1
    news = Queue[int]()  # how many threads end

    def end(member: Member) -> None:
        ended.append(member)
        news.put(0)

    begun: list[threading.Thread] = []

    def work() -> None:
        begun.append(threading.current_thread())
        try:
            with _Thread(train, stop, in_progress) as thread:
                thread.run(waiting, most, end)
        finally:
            news.put(1)

    # In threads, even if it is one: in the main thread, each training would handle Ctrl-C by itself.
    pool = ThreadPoolExecutor(workers, "fastnn-sweep")
    added, running = 0, workers
    try:
        futures = [pool.submit(contextvars.copy_context().run, work) for _ in range(workers)]
        while running:
            running -= next_of(news)
            while added < len(ended):
                add(ended[added])
                added += 1
        for future in futures:
            future.result()
    finally:  # after Ctrl-C, the runs in progress stop after their current update
        stop.set()
        waiting.clear()
        pool.shutdown(wait=True, cancel_futures=True)
        for thread in begun:  # the pool does not know a thread whose start Ctrl-C interrupted
            thread.join()
        for member in ended[added:]:
            add(member)


def _is_changed(argument: object) -> bool:
    """Whether a training changes the argument of `fit`: runs that share it follow one another."""
    if isinstance(argument, Schedule):
        return not argument.is_fixed
    return isinstance(argument, (EMA, History, Optimizer))


def _changes(arguments: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What a training with these arguments of `fit` changes: names and objects.

    An optimizer keeps a state for each parameter, so that several trainings can use it at the same time,
    unless a schedule sets its learning rate.
    """
    found = [(name, value) for name, value in arguments.items() if _is_changed(value)]
    if arguments.get("schedule") is None:
        found = [(name, value) for name, value in found if name != "optimizer"]
    model = arguments["model"]
    if isinstance(model, Layer):
        held = [each for each in held_by(model).values() if not (isinstance(each, Param) and each.frozen)]
        found += [("layers", each) for each in (*held, *model.random_states())]
    return found


class _InProgress:
    """What the runs in progress change, in all threads: no two of them the same.

    Of layers, runs that follow one another would not do: `build` may have given them new weights already.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: dict[int, object] = {}  # by id; kept alive, or another object could get the id

    def add(self, changes: Sequence[tuple[str, object]]) -> Set[int]:
        """Add what a run changes; returns what to `remove` in the end. Raises ValueError if it is shared."""
        added = {id(value): value for _, value in changes}
        with self._lock:
            if shared := added.keys() & self._changed.keys():
                names = sorted({name for name, value in changes if id(value) in shared})
                raise ValueError(
                    f"another run in progress has the same {' and '.join(names)}: build must make new ones "
                    "in each call, or the runs must follow one another, with jobs=1 and population=False"
                )
            self._changed |= added
        return added.keys()

    def remove(self, changed: Set[int]) -> None:
        """Remove what a run has changed."""
        with self._lock:
            for each in changed:
                del self._changed[each]


class _Run:
    """A run in progress, which needs `updates` next, or one that has ended with `member`."""

    updates: Updates
    member: Member | None = None

    def __init__(self) -> None:
        self.shareable: set[int] = set()  # the ids of what only runs that follow one another can share
        self.added: Set[int] = set()  # what `_InProgress.add` returned
        self._context = contextvars.copy_context()  # with a default generator of its own
        self._seconds, self._together = 0.0, 1

    def begin(self, training: Turns[Member]) -> None:
        """Begin the training, up to its first update."""
        self._training = training
        self._advance(lambda: next(training))

    def take_turn(self) -> None:
        """Make the next updates alone."""
        self._advance(lambda: take_turn(self._training, self.updates))

    def go_on(self, done: int, together: int, seconds: float) -> None:
        """Go on after `done` updates, which were made together with those of other runs."""
        self._seconds += seconds
        self._together = max(self._together, together)
        self._advance(lambda: self._training.send(done))

    def finish(self) -> None:
        """Make all remaining updates alone."""
        while self.member is None:
            self.take_turn()

    def stop(self) -> None:
        """End the run as Ctrl-C does."""
        with suppress(KeyboardInterrupt):
            self._context.run(self._training.throw, KeyboardInterrupt())

    def _advance(self, step: Callable[[], Updates]) -> None:
        begun, end = time.perf_counter(), None
        try:
            self.updates = self._context.run(step)
        except StopIteration as stop:
            end = stop.value
        self._seconds += time.perf_counter() - begun
        if end is not None:
            self.member = replace(end, seconds=self._seconds, together=self._together)


class _Thread:
    """The runs of one thread. A context manager, which stops those that are still in progress."""

    def __init__(
        self, train: Callable[..., Turns[Member]], stop: threading.Event, in_progress: _InProgress
    ) -> None:
        self._train, self._stop, self._in_progress = train, stop, in_progress
        self._runs: list[_Run] = []

    def __enter__(self) -> _Thread:
        return self

    def __exit__(self, *error: object) -> None:
        for run in self._runs:
            if run.member is None:
                run.stop()

    def run(self, waiting: deque[Place], most: int, end: Callable[[Member], None]) -> None:
        """Train until nothing is waiting any more, at most `most` runs at the same time.

        Calls `end` with each run that has ended.
        """
        while waiting or self._runs:
            while not self._runs or (len(self._runs) < most and self._data_bytes() < MOST_BYTES):
                try:
                    place = waiting.popleft()
                except IndexError:  # other threads take from it, too
                    break
                self._begin(place)
                self._end_runs(end)
            self._take_turns()
            self._end_runs(end)

    def _data_bytes(self) -> int:
        """The bytes of the features of all runs; arrays that several of them share count once."""
        features = [run.updates.training.samples.x for run in self._runs]
        sizes = {each.ctypes.data: each.nbytes for each in features if isinstance(each, np.ndarray)}
        return sum(sizes.values())

    def _end_runs(self, end: Callable[[Member], None]) -> None:
        for run in self._runs:
            if run.member is not None:
                self._release(run)
                end(run.member)
        self._runs = [run for run in self._runs if run.member is None]

    def _release(self, run: _Run) -> None:
        """Let other runs change what a run that has ended has changed."""
        self._in_progress.remove(run.added)
        run.added = set()

    def _begin(self, place: Place) -> None:
        """Begin a run, and unless its updates can be made together with others, end it, too."""
        run = _Run()

        def begin(arguments: Mapping[str, Any]) -> None:
            run.shareable = {id(value) for value in arguments.values() if _is_changed(value)}
            for other in self._runs:
                if other.shareable & run.shareable:
                    other.finish()
                    self._release(other)
            run.added = self._in_progress.add(_changes(arguments))

        run.begin(self._stoppable(self._train(*place, begin=begin)))
        self._runs.append(run)
        if run.member is None:
            run.take_turn()  # the first update makes the plan
        while run.member is None and not can_join(run.updates):
            run.take_turn()

    def _take_turns(self) -> None:
        """Let each run make its next updates."""
        runs = self._runs
        begun = time.perf_counter()
        results = make_together([run.updates for run in runs]) if len(runs) > 1 else [None] * len(runs)
        seconds = (time.perf_counter() - begun) / max(len(runs), 1)
        for run, result in zip(runs, results, strict=True):
            if result is None:
                run.take_turn()
            else:
                run.go_on(*result, seconds)

    def _stoppable(self, training: Turns[Member]) -> Turns[Member]:
        with stopped_by(self._stop):
            return (yield from training)
