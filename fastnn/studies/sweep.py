"""Train many small networks at the same time, one thread each, in one process, several, or on a cluster."""

from __future__ import annotations

import contextvars
import inspect
import itertools
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._validation import flag, warn
from fastnn.config import get_num_threads
from fastnn.history import History
from fastnn.kernels import active_backend, backend, core
from fastnn.rng import manual_seed
from fastnn.studies.executors import check_workers, run_elsewhere
from fastnn.studies.study import Member, Point, Study, point_key
from fastnn.studies.turns import train_in_turns
from fastnn.training.callbacks import Callback, callbacks_of
from fastnn.training.fit import fit
from fastnn.training.turns import Turns, in_one_turn, turns_of
from fastnn.training.watch import GradientWatch, SparingWatch

if TYPE_CHECKING:
    import distributed

    from fastnn.studies.parcel import Place

Build = Callable[..., Mapping[str, Any] | History]


def sweep(
    build: Build,
    grid: Mapping[str, Iterable[Any]] | Sequence[Point],
    *,
    seeds: Iterable[int] = range(3),
    jobs: int | str = "auto",
    executor: str | distributed.Client = "threads",
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
            no such argument. It returns the arguments of `fn.fit` as a dict, {"model": ..., "data": ...},
            with a new model and optimizer in each call; or it trains by itself and returns a `History` or a
            dict {name: number} of results.
            `fn.manual_seed(seed)` is called before it, and `fit` gets seed=seed.
        grid: Values to try for each parameter, {parameter: values}, in all combinations; or a list of points,
            {parameter: value}.
        seeds: Seeds of the runs at each point, different non-negative integers.
        jobs: Number of runs at the same time. "auto": the number of threads that fastnn uses, or, with Dask
            and Ray, which accept nothing else, as many as the workers take.
        executor: "threads" trains in threads of this process, which share the data; during the sweep, all
            fastnn calls in the process compute on one thread. "joblib" trains in the workers of joblib:
            processes by default, or as `joblib.parallel_config` says. "dask://host:port", with the address
            of a scheduler, or a `distributed.Client` trains on the workers of a Dask cluster. "ray" trains on
            the cluster that `ray.init()` finds, or else on this machine; "ray://host:port" names the server.
            Dask and Ray send `build` and what it refers to, such as the data, once to each worker. Wherever
            a worker dies, its runs start again on another one, up to three times.
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
        TypeError: If the grid or the seeds have the wrong type, or if `build` does not take the parameters or
            cannot be sent to another process.
        ImportError: If the library of the executor is missing; or if a worker has another version of fastnn,
            or cannot import the modules that `build` uses.
        ConnectionError: If no scheduler answers, or if it disappears.
        RuntimeError: If all runs failed; the message has the first traceback.
    """
    points, numbers = points_of(grid), seeds_of(seeds)
    check_workers(jobs, executor)
    flag(watch, "watch")
    flag(population, "population")
    check_build(build, points)
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
            elif missing:
                train = _TrainInWorker(build, watch, active_backend())
                run_elsewhere(executor, train, missing, jobs, add)
    finally:
        study.sort(order)
    _report(study)
    return study


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


def check_build(build: Build, points: Iterable[Point]) -> None:
    """Raise TypeError unless `build` is a function that takes the parameters of all points."""
    if not callable(build):
        raise TypeError(f"build must be a function of the parameters, not {build!r}")
    for point in points:
        _check_arguments(build, point)


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
    callbacks: Sequence[Callback] = (),
    begin: Callable[[Mapping[str, Any]], None] = lambda arguments: None,
) -> Turns[Member]:
    """Run one training and return its results. An exception is stored in the member, not raised.

    `watch` is as in `sweep`; `callbacks` join those that `build` returns. `begin` is called with the
    arguments of `fit` before the training.
    """
    started = time.perf_counter()
    try:
        manual_seed(seed)
        result = build(**point, **_seed_argument(build, seed))
        watches: list[GradientWatch] = []
        if isinstance(result, Mapping) and not isinstance(result, History) and "model" in result:
            options = {"seed": seed, "progress": False, **result, "watch": False}
            model, data = options.pop("model"), options.pop("data", None)
            callbacks = [*callbacks_of(options.get("callbacks")), *callbacks]
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
    with core.OneThreadEach():
        train = partial(turns_of(train_member), build, watch=watch)
        train_in_turns(train, places, workers, add, together=population)


@dataclass(frozen=True)
class _TrainInWorker:
    """Call `train_member` in a context of its own, in this process or another one."""

    build: Build
    watch: bool
    backend: str

    def __call__(self, point: Point, seed: int) -> Member:
        with core.OneThreadEach(), backend(self.backend):
            context = contextvars.copy_context()
            return context.run(train_member, self.build, point, seed, watch=self.watch)


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
