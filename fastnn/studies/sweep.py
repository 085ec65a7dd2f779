"""Train many small networks at the same time, one thread each, in one process or with joblib in several."""

from __future__ import annotations

import contextvars
import inspect
import itertools
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fastnn._validation import choose, flag, positive_int, warn
from fastnn.config import get_num_threads, set_num_threads
from fastnn.history import History
from fastnn.kernels import active_backend, backend
from fastnn.rng import manual_seed
from fastnn.studies.study import Member, Point, Study, point_key
from fastnn.studies.turns import Place, train_in_turns
from fastnn.training.callbacks import callbacks_of
from fastnn.training.fit import fit
from fastnn.training.turns import Turns, in_one_turn, turns_of
from fastnn.training.watch import GradientWatch, SparingWatch

Build = Callable[..., Mapping[str, Any] | History]

EXECUTORS = {
    "threads": "threads of this process, which share the data",
    "joblib": "the workers of joblib: processes, or as set by joblib.parallel_config",
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
    watch: bool = True,
    population: bool = True,
) -> Study:
    """Train at each point of a grid with each seed, several runs at a time, and return the results.

    Each run computes on one thread, so that networks too small for two threads still keep two cores busy.
    The results equal those of jobs=1, bit for bit. If a run raises an error, the others continue, and the
    sweep warns at the end.

    Args:
        build: Function of the parameters, called as `build(**point, seed=seed)`, or without `seed` if it has
            no such argument. It returns the arguments of `fn.fit` as a dict, {"model": ..., "data": ...}; or
            it trains by itself and returns a `History` or a dict {name: number} of results.
            `fn.manual_seed(seed)` is called before it, and `fit` gets seed=seed.
        grid: Values to try for each parameter, {parameter: values}, in all combinations; or a list of points,
            {parameter: value}.
        seeds: Seeds of the runs at each point, different non-negative integers.
        jobs: Number of runs at the same time. "auto": the number of threads that fastnn uses.
        executor: "threads" trains in threads of this process, which share the data; during the sweep, all
            fastnn calls in the process compute on one thread. "joblib" trains in the workers of joblib:
            processes by default, or Dask and Ray:
            `with joblib.parallel_config(backend="dask"): fn.sweep(..., executor="joblib")`.
        study: Study to add the runs to. After Ctrl-C it has the finished runs; a sweep that gets it again
            trains the missing and the failed ones.
        progress: Whether to show a progress bar. None: only if the error stream is a terminal.
        watch: Whether to look for trainings that go wrong, as `fit` does, where that costs less than 1 %;
            the study lists what was found. An `fn.GradientWatch` among the callbacks that `build` returns
            checks after every epoch instead, which more than doubles the time of tiny networks.
        population: Whether small models of one architecture are trained together with executor="threads": one
            call makes their updates, each model in a lane of the vectors of the processor. It is faster, with
            the same bits; `member.together` says how many were. Runs with callbacks, augmentation or layers
            other than `Linear` and activations are trained alone.

    Returns:
        The study, with the runs in the order of the grid and the seeds.

    Raises:
        ValueError: If the grid, the seeds, the jobs or the executor are invalid.
        TypeError: If the grid or the seeds have the wrong type, or if `build` does not take the parameters.
        RuntimeError: If all runs failed; the message has the first traceback.
    """
    points, numbers = points_of(grid), seeds_of(seeds)
    check_workers(jobs, executor)
    flag(watch, "watch")
    flag(population, "population")
    if not callable(build):
        raise TypeError(f"build must be a function of the parameters, not {build!r}")
    for point in points:
        _check_arguments(build, point)
    check_different(points)
    study = Study() if study is None else study
    order = [(point, seed) for point in points for seed in numbers]
    missing = [place for place in order if not study.has(*place)]
    try:
        with _bar(len(order), progress) as bar:

            def add(member: Member) -> None:
                study.add(member)
                bar.update(sum(study.has(*place) for place in order) - bar.n)

            bar.update(len(order) - len(missing))
            if executor == "threads":
                _in_threads(build, missing, jobs, add, watch=watch, population=population)
            else:
                _by_joblib(build, missing, jobs, add, watch=watch)
    finally:
        study.sort(order)
    _report(study)
    return study


def check_workers(jobs: int | str, executor: str) -> None:
    """Raise ValueError if the executor is unknown, or if `jobs` is neither "auto" nor a positive integer."""
    choose(executor, EXECUTORS, "executor")
    if jobs != "auto":
        positive_int(jobs, "jobs")


def points_of(grid: Mapping[str, Iterable[Any]] | Sequence[Point]) -> list[Point]:
    """List the points of a grid. Raises TypeError or ValueError if the grid is malformed or has no points."""
    if isinstance(grid, Mapping):
        columns = {}
        for name, values in grid.items():
            if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
                raise TypeError(f"the grid must have a list of values for {name!r}, not {values!r}")
            columns[name] = list(values)
            if not columns[name]:
                raise ValueError(f"the grid has no value for {name!r}")
        combinations = itertools.product(*columns.values())
        return [dict(zip(columns, combination, strict=True)) for combination in combinations]
    points = list(grid)
    if not points or not all(isinstance(point, Mapping) for point in points):
        raise TypeError(
            "the grid must be a dict {parameter: values}, or a list of at least one dict {parameter: value}"
        )
    return points


def seeds_of(seeds: Iterable[int]) -> list[int]:
    """Check the seeds. Raises TypeError or ValueError unless they are different non-negative integers."""
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        raise TypeError(f"seeds must be a sequence of integers, such as range(3), not {seeds!r}")
    numbers = list(seeds)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise ValueError(f"a seed must be a non-negative integer, not {number!r}")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds must be at least one integer, without repetitions, not {numbers}")
    return [int(number) for number in numbers]


def check_different(points: Sequence[Point]) -> None:
    """Raise ValueError if two points have the same text, which is how a study tells points apart."""
    seen: dict[str, Point] = {}
    for point in points:
        key = point_key(point)
        if key in seen:
            raise ValueError(
                f"two points of the grid are the same, {dict(point)!r} and {dict(seen[key])!r}: remove one, "
                "or use names that build maps to objects, such as {'act': ['relu', 'mine']}"
            )
        seen[key] = point


def _check_arguments(build: Build, point: Point) -> None:
    """Raise TypeError if `build` cannot be called with the parameters of `point`."""
    try:
        signature = inspect.signature(build)
    except ValueError:  # some C functions have no signature
        return
    try:
        signature.bind(**point, **_seed_argument(build, 0))
    except TypeError as error:
        raise TypeError(
            f"build{signature} does not take the parameters {', '.join(point)}: {error}"
        ) from None


def _seed_argument(build: Build, seed: int) -> dict[str, int]:
    """Return {"seed": seed} if `build` has an argument `seed`, else {}."""
    try:
        parameters = inspect.signature(build).parameters
    except ValueError:
        return {"seed": seed}
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {"seed": seed} if takes_all or "seed" in parameters else {}


@in_one_turn
def train_member(
    build: Build,
    point: Point,
    seed: int,
    *,
    watch: bool = True,
    begin: Callable[[Mapping[str, Any]], None] = lambda arguments: None,
) -> Turns[Member]:
    """Run one training and return its results. An exception is stored in the member, not raised.

    `watch` is as in `sweep`. `begin` is called with the arguments of `fit` before the training.
    """
    started = time.perf_counter()
    try:
        manual_seed(seed)
        result = build(**point, **_seed_argument(build, seed))
        watches: list[GradientWatch] = []
        if isinstance(result, Mapping) and not isinstance(result, History) and "model" in result:
            options = {"seed": seed, "progress": False, **result, "watch": False}
            model, data = options.pop("model"), options.pop("data", None)
            callbacks = callbacks_of(options.get("callbacks"))
            watches = [callback for callback in callbacks if isinstance(callback, GradientWatch)]
            if watch and not watches:
                watches = [SparingWatch(silent=True)]
                callbacks = [*callbacks, *watches]
            options["callbacks"] = callbacks
            begin(result)
            result = yield from turns_of(fit)(model, data, **options)
        history = result if isinstance(result, History) else None
        values = _values(result)
    except Exception as error:  # whatever goes wrong in one run, the others continue
        message = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        return Member(point, seed, seconds=seconds, error=message, details=traceback.format_exc())
    found = {kind: message for each in watches for kind, message in each.found.items()}
    return Member(point, seed, values, history, time.perf_counter() - started, found)


def _values(result: object) -> dict[str, float]:
    """Return the results of a run: the last value of each curve of a history, or the values of a mapping."""
    if isinstance(result, History):
        return {name: float(curve[-1]) for name, curve in result.items() if curve}
    if not isinstance(result, Mapping):
        raise TypeError(
            "build must return the arguments of fn.fit as a dict (including the model), a History, or a dict "
            f"{{name: number}} of results; it returned {result!r}"
        )
    return {str(name): float(value) for name, value in result.items()}


def _in_threads(
    build: Build,
    places: Sequence[Place],
    jobs: int | str,
    add: Callable[[Member], None],
    *,
    watch: bool,
    population: bool,
) -> None:
    """Train in threads of this process. Calls `add` with each run when it ends."""
    workers = get_num_threads() if isinstance(jobs, str) else jobs
    with _one_thread_each():
        train = partial(turns_of(train_member), build, watch=watch)
        train_in_turns(train, places, workers, add, together=population)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the kernels compute on one thread, and restore the number of threads at the end."""
    before = get_num_threads()
    set_num_threads(1)
    try:
        yield
    finally:
        set_num_threads(before)


def _by_joblib(
    build: Build, places: Sequence[Place], jobs: int | str, add: Callable[[Member], None], *, watch: bool
) -> None:
    """Train in the workers of joblib. Calls `add` with each run when it ends."""
    try:
        import joblib
    except ImportError as error:
        raise ImportError('executor="joblib" needs joblib: pip install joblib') from error
    # "auto": as joblib.parallel_config says (None), or else all cores (-1).
    auto = None if joblib.effective_n_jobs() > 1 else -1
    count = auto if isinstance(jobs, str) else jobs
    train = partial(train_member, build, watch=watch)
    tasks = (joblib.delayed(_train_in_worker)(train, *place, active_backend()) for place in places)
    for member in joblib.Parallel(n_jobs=count, return_as="generator_unordered")(tasks):
        add(member)


def _train_in_worker(
    train: Callable[[Point, int], Member], point: Point, seed: int, backend_name: str
) -> Member:
    """Call `train` in a context of its own, in this process or another one."""
    with _one_thread_each(), backend(backend_name):
        return contextvars.copy_context().run(train, point, seed)


def _bar(total: int, progress: bool | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="sweep", disable=None if progress is None else not progress, leave=False)


def _report(study: Study) -> None:
    """Warn if some runs failed. Raises RuntimeError if all runs failed."""
    failed = study.failed
    if not failed:
        return
    if len(failed) == len(study):
        raise RuntimeError(f"all {len(failed)} runs failed, the first one with:\n{failed[0].details}")
    warn(f"{len(failed)} of {len(study)} runs failed, the first one with {failed[0].error}: see study.failed")
