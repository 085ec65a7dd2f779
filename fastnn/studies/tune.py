"""Search hyper-parameters with Optuna, and stop the trials that are worse than others: `fn.tune`."""

from __future__ import annotations

import contextvars
import math
import os
from typing import TYPE_CHECKING, Any

from fastnn._validation import counter_value, positive_int, warn
from fastnn.history import better
from fastnn.studies.space import Space, described, dimensions_of, first_point
from fastnn.studies.study import Member
from fastnn.studies.sweep import Build, check_build, train_member
from fastnn.studies.tuning import Tuning

if TYPE_CHECKING:
    import optuna


def tune(
    build: Build,
    space: Space,
    *,
    trials: int = 50,
    monitor: str = "val_loss",
    mode: str = "auto",
    pruner: str | optuna.pruners.BasePruner | None = "median",
    seed: int = 0,
    storage: str | os.PathLike[str] | optuna.storages.BaseStorage | None = None,
    name: str = "fastnn",
    progress: bool | None = None,
) -> Tuning:
    """Search the point of a space with the best validation result, by Optuna's sampler TPE.

    >>> space = {"lr": fn.Range(1e-4, 1e-1, log=True), "hidden": [32, 64, 128]}
    >>> found = fn.tune(build, space, trials=30, storage="search.log")
    >>> print(found, found.best)

    The trials run one after the other. A search with the same arguments makes the same trials.

    Args:
        build: Function of the parameters, as in `fn.sweep`. Trials are pruned if it returns the arguments of
            `fn.fit` with a validation set.
        space: For each parameter an `fn.Range` or a list of choices, which may be any objects.
        trials: Number of trials, including those in the storage that did not fail.
        monitor: Curve or result whose last value is to be best.
        mode: "max", "min", or "auto", which decides by the name of `monitor`, as in `fn.EarlyStopping`.
        pruner: When to stop a trial after an epoch: "median" (worse than the median of the earlier trials at
            this epoch), "halving", "hyperband", a pruner of Optuna, or None, never.
        seed: Seed of the sampler, and of every training.
        storage: File, or URL of a database, in which Optuna keeps the trials. A search that gets it again
            continues, and several processes with the same storage share the trials, up to one more for each
            process. None: in memory.
        name: Name of the search in the storage.
        progress: Whether to show a progress bar. None: only if the error stream is a terminal.

    Returns:
        The trials: `.best` is the best point, `print` shows a table, `.plot()` draws them.

    Raises:
        ValueError: If an argument is invalid, if the trainings have no result `monitor`, or if the storage
            has a search `name` with other settings.
        TypeError: If the space has the wrong type, or if `build` does not take the parameters.
        ImportError: If Optuna is missing.
        RuntimeError: If all trials failed.
    """
    dimensions = dimensions_of(space)
    positive_int(trials, "trials")
    seed = counter_value(seed, "seed")
    mode = better(mode, monitor)
    check_build(build, [first_point(dimensions)])
    try:
        from optuna.trial import TrialState

        from fastnn.studies import search
    except ImportError as error:
        raise ImportError("fn.tune needs Optuna: pip install 'fastnn-kernels[tune]'") from error
    from tqdm import tqdm

    settings = {"monitor": monitor, "mode": mode, "seed": seed, "space": described(dimensions)}
    study = search.open_study(storage, name, mode=mode, pruner=pruner, seed=seed, settings=settings)
    distributions = search.distributions_of(dimensions)
    _, failed_before = search.counts(study)  # by an error that may have been mended: they do not count
    disable = None if progress is None else not progress
    with tqdm(total=trials, desc="tune", disable=disable, leave=False) as bar:
        while (done := sum(search.counts(study)) - failed_before) < trials:
            bar.update(done - bar.n)
            trial = study.ask(distributions)
            try:
                pruning = search.Pruning(monitor, trial)
                point = search.point_of(dimensions, trial.params)
                context = contextvars.copy_context()
                member = context.run(train_member, build, point, seed, watch=False, callbacks=[pruning])
                _finish(study, trial, member, monitor, pruning.pruned)
            except BaseException:  # Ctrl-C, or no result `monitor`: the trial does not count
                study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                raise
    found = Tuning(search.trials_of(study, dimensions), monitor, mode, study)
    _report(found, failed_before)
    return found


def _finish(study: Any, trial: Any, member: Member, monitor: str, pruned: bool) -> None:
    """Tell Optuna the result of a trial. Raises ValueError if the training has no result `monitor`."""
    from optuna.trial import TrialState

    from fastnn.studies.search import ERROR

    error = member.error
    if error is None and monitor not in member.values:
        raise ValueError(
            f"the training has no result {monitor!r}, only {', '.join(member.values) or 'none'}: pass "
            "another monitor, or let build return a validation set"
        )
    if error is None and not math.isfinite(member.values[monitor]):
        error = f"{monitor} is {member.values[monitor]}"
        pruned = True
    elif error is not None:
        # TPE learns from pruned trials, and avoids such learning rates; it would ignore a failed one.
        pruned = error.startswith("NonFiniteError")
    if error is not None:
        trial.set_user_attr(ERROR, error)
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
    elif error is not None:
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, member.values[monitor])


def _report(found: Tuning, before: int) -> None:
    """Warn if trials failed after the first `before` failures. Raises RuntimeError if all trials failed."""
    failed = [trial for trial in found.trials if trial.state == "failed"]
    if len(failed) == len(found.trials):
        raise RuntimeError(f"all {len(failed)} trials failed, the first one with {failed[0].error}")
    if new := failed[before:]:
        warn(f"{len(new)} of {len(found.trials)} trials failed, the first one with {new[0].error}")
