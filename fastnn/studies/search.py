"""The parts of a hyper-parameter search that need Optuna: storage, sampler, pruner, and its trials."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from fastnn._validation import choose
from fastnn.files import user_path
from fastnn.studies.space import Choices, Dimensions, Range
from fastnn.studies.tuning import Trial
from fastnn.training.callbacks import Callback, Training

PRUNERS = {
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}
SETTINGS, ERROR = "fastnn", "error"  # attributes of Optuna's study and of its trials


class SeededSampler(optuna.samplers.BaseSampler):
    """The sampler TPE (Bergstra et al., 2011) with a seed of its own for each trial.

    With one seed for all, a search that continues would repeat its first, random trials, and so would each
    process that shares it. With these seeds it makes the trials of a search that was not interrupted.
    """

    study: optuna.Study

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        # Not `study`, which shows only some trials to a sampler beside the Hyperband pruner.
        earlier = self.study.get_trials(deepcopy=False)[: trial.number]
        place = sum(not is_interrupted(each) for each in earlier)
        seed = np.random.SeedSequence([self._seed, place]).generate_state(1)[0]
        self._sampler = optuna.samplers.TPESampler(seed=int(seed))
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


class Pruning(Callback):
    """Report the value of a curve after each epoch, and stop the training if the pruner says so."""

    curve: str  # not `monitor`, which `fit` checks: its error would fail one trial after the other
    trial: Any
    pruned: bool

    def __init__(self, curve: str, trial: Any) -> None:
        self.curve, self.trial = curve, trial
        self.pruned = False
        self._reports = 0

    def on_validation(self, training: Training, values: Mapping[str, float]) -> None:
        self._report(training, values)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        self._report(training, values)
        if self.curve not in values and training.validate_every is None:
            training.stop(f"it has no curve {self.curve!r}")

    def _report(self, training: Training, values: Mapping[str, float]) -> None:
        if self.curve in values:
            self.trial.report(values[self.curve], step=self._reports)
            self._reports += 1
            if self.trial.should_prune():
                self.pruned = True
                training.stop("the pruner stopped it")


def open_study(
    storage: Any, name: str, *, mode: str, pruner: Any, seed: int, settings: Mapping[str, Any]
) -> optuna.Study:
    """Open the study `name` of a storage, a new one if there is none.

    Raises ValueError if it was searched with other settings, or if the storage cannot be read, and TypeError
    if the storage or the name has the wrong type.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a text, not {name!r}")
    if not isinstance(storage, (str, os.PathLike, optuna.storages.BaseStorage, type(None))):
        raise TypeError(f"storage must be a path, a URL, a storage of Optuna or None, not {storage!r}")
    sampler, chosen = SeededSampler(seed), _pruner(pruner)
    with _quiet():
        try:
            study = optuna.create_study(
                storage=_storage(storage),
                study_name=name,
                direction="maximize" if mode == "max" else "minimize",
                load_if_exists=True,
                sampler=sampler,
                pruner=chosen,
            )
        except (OSError, ImportError):
            raise
        except Exception as error:  # of the parser of the file, or of the database
            raise ValueError(
                f"cannot open the storage {storage!r}: {type(error).__name__}: {error}"
            ) from error
    sampler.study = study
    written = study.user_attrs.get(SETTINGS)
    if written is None and study.get_trials(deepcopy=False):
        raise ValueError(f"the storage has a study {name!r} that fn.tune did not make: choose another name")
    others = [key for key, value in settings.items() if written is not None and written.get(key) != value]
    if others:
        key = others[0]
        raise ValueError(
            f"the storage has a search {name!r} with {key} = {written[key]!r}, not {settings[key]!r}: choose "
            "another name or storage"
        )
    study.set_user_attr(SETTINGS, dict(settings))
    return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line that Optuna logs about a new study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _storage(storage: Any) -> Any:
    """A path becomes a journal file, which several machines may share; all else is as Optuna takes it."""
    if not isinstance(storage, (str, os.PathLike)) or "://" in str(storage):
        return storage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

    # An absolute path: the lock is a link to the file, and Optuna 5.0.0 waits forever for the lock that a
    # killed process has left behind if the link leads nowhere, as "runs/search.log" does inside of "runs".
    path = os.path.abspath(user_path(storage))
    # Windows lets only administrators make links.
    lock = JournalFileOpenLock(path) if os.name == "nt" else None
    return JournalStorage(JournalFileBackend(path, lock))


def _pruner(pruner: Any) -> optuna.pruners.BasePruner:
    if pruner is None:
        return optuna.pruners.NopPruner()
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    return choose(pruner, PRUNERS, "pruner")()


def distributions_of(dimensions: Dimensions) -> dict[str, Any]:
    """The distributions of Optuna."""
    return {name: _distribution(dimension) for name, dimension in dimensions.items()}


def _distribution(dimension: Range | Choices) -> Any:
    if not isinstance(dimension, Range):
        return optuna.distributions.CategoricalDistribution(list(dimension))
    if dimension.is_integer:
        low, high = int(dimension.low), int(dimension.high)
        return optuna.distributions.IntDistribution(low, high, log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def point_of(dimensions: Dimensions, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters for `build`: the choices themselves instead of their labels."""
    return {
        name: value if isinstance(dimension := dimensions[name], Range) else dimension[value]
        for name, value in parameters.items()
    }


def is_interrupted(trial: Any) -> bool:
    """Whether the trial ended without a result and without an error of its own, such as by Ctrl-C."""
    return bool(trial.state == TrialState.FAIL and ERROR not in trial.user_attrs)


def counts(study: Any) -> tuple[int, int]:
    """The number of trials with a result, and of those that failed with an error."""
    trials = study.get_trials(deepcopy=False)
    done = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    failed = sum(trial.state == TrialState.FAIL and not is_interrupted(trial) for trial in trials)
    return done, failed


def trials_of(study: Any, dimensions: Dimensions) -> list[Trial]:
    """The trials of Optuna's study, without the interrupted ones."""
    return [_trial(each, dimensions) for each in study.get_trials() if not is_interrupted(each)]


def _trial(found: Any, dimensions: Dimensions) -> Trial:
    error = found.user_attrs.get(ERROR)
    state = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed", TrialState.PRUNED: "pruned"}.get(
        found.state, "running"
    )
    return Trial(
        point_of(dimensions, found.params),
        "diverged" if state == "pruned" and error else state,
        math.nan if found.value is None else found.value,
        list(found.intermediate_values.values()),
        found.duration.total_seconds() if found.duration else math.nan,
        error,
    )
