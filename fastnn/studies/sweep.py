"""Many small trainings at once: one thread each, in one process or, through joblib, in many."""

from __future__ import annotations

import contextvars
import inspect
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn._validation import choose, positive_int, warn
from fastnn.config import get_num_threads, set_num_threads
from fastnn.history import History
from fastnn.kernels import active_backend, backend
from fastnn.rng import manual_seed
from fastnn.studies.study import Member, Point, Study, point_key
from fastnn.training.fit import fit
from fastnn.training.interrupts import stopped_by
from fastnn.training.watch import GradientWatch

Build = Callable[..., Mapping[str, Any] | History]
Place = tuple[Point, int]

EXECUTORS = {
    "threads": "threads of this process, which share the data",
    "joblib": "the workers of joblib: processes, or what joblib.parallel_config says",
}


def sweep(
    build: Build,
    grid: Mapping[str, Iterable[Any]] | Sequence[Point],
    *,
    seeds: Iterable[int] = range(3),
    jobs: int | str = "auto",
    executor: str = "threads",
    study: Study | None = None,
    progress: bool | None = None,
) -> Study:
    """Train at each point of a grid with each seed, several trainings at a time; returns the study.

    `build(**point, seed=seed)` returns what `fn.fit` shall be called with, {"model": ..., "data": ..., ...},
    or trains by itself and returns the `History`, or {name: number} of its results. Before it is called
    `fn.manual_seed(seed)` is, and `fit` gets seed=seed; it may do without the argument `seed`. The points are
    all combinations of `grid`, {parameter: values}, or those of a list of {parameter: value}.

    Each training computes on one thread, `jobs` of them at a time ("auto": as many as there are threads to
    use): nets too small for two threads still keep two cores busy. Results have the same bits as those of
    jobs=1. By the `executor` "threads" they share the process and the data; meanwhile all of the process
    computes on one thread. "joblib" hands them to joblib, which knows processes (its default), Dask and Ray:
    `with joblib.parallel_config(backend="dask"): fn.sweep(..., executor="joblib")`.

    A training that raises an error is reported, and the others go on. `study` is one to fill: after Ctrl-C it
    holds what was finished, and a sweep that is given it again trains what is missing (and what failed).
    `progress` shows a bar (None: when the error stream is a terminal).

    Raises ValueError or TypeError for a grid, seeds or jobs that cannot be meant, RuntimeError if every
    training failed, with the first error.
    """
    points, numbers = points_of(grid), _seeds(seeds)
    check_workers(jobs, executor)
    if not callable(build):
        raise TypeError(f"build must be a function of the parameters, not {build!r}")
    for point in points:
        _check_arguments(build, point)
    _check_different(points)
    study = Study() if study is None else study
    order = [(point, seed) for point in points for seed in numbers]
    missing = [place for place in order if not study.has(*place)]
    run = _in_threads if executor == "threads" else _by_joblib
    try:
        with _bar(len(order), progress) as bar:

            def take(member: Member) -> None:
                study.add(member)
                bar.update(sum(study.has(*place) for place in order) - bar.n)

            bar.update(len(order) - len(missing))
            run(build, missing, jobs, take)
    finally:
        study.sort(order)
    _report(study)
    return study


def check_workers(jobs: int | str, executor: str) -> None:
    """Raise ValueError for an unknown executor, and for jobs that are neither "auto" nor a number of them."""
    choose(executor, EXECUTORS, "executor")
    if jobs != "auto":
        positive_int(jobs, "jobs")


def points_of(grid: Mapping[str, Iterable[Any]] | Sequence[Point]) -> list[Point]:
    """The points of a grid. Raises TypeError or ValueError where there are none."""
    if isinstance(grid, Mapping):
        columns = {}
        for name, values in grid.items():
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
                raise TypeError(f"the grid wants a list of values for {name!r}, not {values!r}")
            columns[name] = list(values)
            if not columns[name]:
                raise ValueError(f"the grid has no value for {name!r}")
        combinations = itertools.product(*columns.values())
        return [dict(zip(columns, combination, strict=True)) for combination in combinations]
    points = list(grid)
    if not points or not all(isinstance(point, Mapping) for point in points):
        raise TypeError("the grid must be {parameter: values}, or a list of {parameter: value}, at least one")
    return points


def _seeds(seeds: Iterable[int]) -> list[int]:
    """The seeds. Raises TypeError or ValueError unless they are different integers of at least 0."""
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        raise TypeError(f"seeds must be several, such as range(3), not {seeds!r}")
    numbers = list(seeds)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise ValueError(f"a seed is a non-negative integer, not {number!r}")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds must be different numbers, at least one, not {numbers}")
    return [int(number) for number in numbers]


def _check_different(points: Sequence[Point]) -> None:
    """Raise ValueError if two points are written alike: a study would take them for one."""
    seen: dict[str, Point] = {}
    for point in points:
        key = point_key(point)
        if key in seen:
            raise ValueError(
                f"two points of the grid look alike, {dict(point)!r} and {dict(seen[key])!r}: leave one out, "
                "or let build tell them by a name, {'act': ['relu', 'mine']}"
            )
        seen[key] = point


def _check_arguments(build: Build, point: Point) -> None:
    """Raise TypeError if `build` cannot be called with the parameters of `point`."""
    try:
        signature = inspect.signature(build)
    except ValueError:  # some functions of C have none
        return
    try:
        signature.bind(**point, **_seed_argument(build, 0))
    except TypeError as error:
        raise TypeError(
            f"build{signature} does not take the parameters {', '.join(point)}: {error}"
        ) from None


def _seed_argument(build: Build, seed: int) -> dict[str, int]:
    """{"seed": seed} if `build` takes it."""
    try:
        parameters = inspect.signature(build).parameters
    except ValueError:
        return {"seed": seed}
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {"seed": seed} if takes_all or "seed" in parameters else {}


def train_member(build: Build, point: Point, seed: int) -> Member:
    """One training, from its seed; an error becomes the member's."""
    started = time.perf_counter()
    try:
        manual_seed(seed)
        result = build(**point, **_seed_argument(build, seed))
        watch = GradientWatch(silent=True)
        if isinstance(result, Mapping) and not isinstance(result, History) and "model" in result:
            options = {"seed": seed, "progress": False, **result}
            model, data = options.pop("model"), options.pop("data", None)
            options["callbacks"] = [*options.get("callbacks", ()), watch]
            result = fit(model, data, **options)
        history = result if isinstance(result, History) else None
        values = _values(result)
    except Exception as error:  # all that goes wrong in one training, so that the others go on
        told = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        return Member(point, seed, seconds=seconds, error=told, details=traceback.format_exc())
    return Member(point, seed, values, history, time.perf_counter() - started, watch.found)


def _values(result: object) -> dict[str, float]:
    """The results by name: the last value of each curve of a history, or those of a mapping."""
    if isinstance(result, History):
        return {name: float(curve[-1]) for name, curve in result.items() if curve}
    if not isinstance(result, Mapping):
        raise TypeError(
            "build must return the arguments of fn.fit as a dict, with the model among them, a History, or "
            f"{{name: number}}; it returned {result!r}"
        )
    return {str(name): float(value) for name, value in result.items()}


def _in_threads(
    build: Build, places: Sequence[Place], jobs: int | str, take: Callable[[Member], None]
) -> None:
    """Let threads of this process train; `take` gets the members as they are finished."""
    workers = get_num_threads() if isinstance(jobs, str) else jobs
    stop = threading.Event()

    def member(place: Place) -> Member:
        with stopped_by(stop):
            return train_member(build, *place)

    with _one_thread_each():
        # Each training has its own context: its default generator, its backend.
        if workers == 1:
            for place in places:
                take(contextvars.copy_context().run(train_member, build, *place))
            return
        pool = ThreadPoolExecutor(workers, "fastnn-sweep")
        futures: list[Future[Member]] = []
        taken: set[Future[Member]] = set()
        try:
            for place in places:
                futures.append(pool.submit(contextvars.copy_context().run, member, place))
            for future in as_completed(futures):
                take(future.result())
                taken.add(future)
        finally:  # after Ctrl-C trainings end after the update that they are at
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for future in futures:
                if future not in taken and not future.cancelled() and future.exception() is None:
                    take(future.result())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = get_num_threads()
    set_num_threads(1)
    try:
        yield
    finally:
        set_num_threads(before)


def _by_joblib(
    build: Build, places: Sequence[Place], jobs: int | str, take: Callable[[Member], None]
) -> None:
    """The same by the workers of joblib."""
    try:
        import joblib
    except ImportError as error:
        raise ImportError('executor="joblib" needs joblib: pip install joblib') from error
    # "auto" is what joblib.parallel_config says, or all there are.
    count = jobs if not isinstance(jobs, str) else None if joblib.effective_n_jobs() > 1 else -1
    tasks = (joblib.delayed(_elsewhere)(build, *place, active_backend()) for place in places)
    for member in joblib.Parallel(n_jobs=count, return_as="generator_unordered")(tasks):
        take(member)


def _elsewhere(build: Build, point: Point, seed: int, backend_name: str) -> Member:
    """`train_member` in a process that may be another one, in a context of its own."""
    with _one_thread_each(), backend(backend_name):
        return contextvars.copy_context().run(train_member, build, point, seed)


def _bar(total: int, progress: bool | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="sweep", disable=None if progress is None else not progress, leave=False)


def _report(study: Study) -> None:
    """Warn of members that failed; RuntimeError if all did."""
    failed = study.failed
    if not failed:
        return
    if len(failed) == len(study):
        raise RuntimeError(f"all {len(failed)} trainings failed, the first with:\n{failed[0].details}")
    warn(
        f"{len(failed)} of {len(study)} trainings failed, the first with {failed[0].error}: see study.failed"
    )
