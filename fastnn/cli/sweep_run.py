"""Run a sweep over settings and write its results into a folder: `fastnn sweep`.

The folder has these files::

    config.json     the settings that all runs share, the grid, the seeds, and the software versions
    study.json      all runs with their curves; read it with `fn.Study.load`
    table.txt       mean and standard deviation of each result over the seeds
    bands.png       the validation accuracy, or R2 for regression, of each point of the grid
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastnn._validation import warn
from fastnn.cli.own_data import absolute, folder_name, load, prepared, source_of
from fastnn.cli.own_settings import TableSettings
from fastnn.cli.run_folder import Results, locked
from fastnn.cli.settings import Settings
from fastnn.cli.settings_file import changed
from fastnn.cli.train_run import (
    CONFIG,
    check_layers,
    fit_arguments,
    new_folder,
    plain,
    write_json,
)
from fastnn.config import environment
from fastnn.documents import read_json
from fastnn.files import write_atomic
from fastnn.kernels import active_backend, backend
from fastnn.studies.executors import check_workers
from fastnn.studies.study import Member, Study
from fastnn.studies.sweep import check_different, points_of, seeds_of, sweep

STUDY, TABLE, BANDS = "study.json", "table.txt", "bands.png"
# Settings that decide which data are loaded, or how the process computes.
SHARED = (
    *("dataset", "backend", "threads", "seed"),
    *("path", "test", "label", "task", "drop", "categorical", "missing", "image", "header", "size", "colour"),
)
VALIDATION = 0.1


class SavedStudy(Study):
    """A study that is written to `path` after every run, so that an interruption loses no finished run.

    If it cannot be written, the sweep goes on: a warning says so, and the end of the sweep tries again.
    """

    path: Path
    is_failing = False

    def add(self, member: Member) -> None:
        super().add(member)
        try:
            self.save(self.path)
            self.is_failing = False
        except OSError as error:
            if not self.is_failing:  # one warning is enough
                warn(f"cannot write {self.path} after run {len(self)}: {error.strerror or error}")
            self.is_failing = True


def run(
    settings: Settings,
    grid: dict[str, list[Any]],
    seeds: Sequence[int],
    *,
    jobs: int | str = "auto",
    executor: str = "threads",
    out: Path | None = None,
    resume: bool = False,
    download: bool = True,
) -> Path:
    """Train with every combination of settings in a grid, with each seed, and write the results.

    The runs are compared on a validation set, a fraction `settings.validation` of the training set. A sweep
    needs one: a fraction of 0 is replaced by 0.1.

    Args:
        settings: The settings that all runs share.
        grid: The values to try for each setting, such as {"optimizer.lr": [0.1, 0.3]}.
        seeds: Seeds of the runs.
        jobs: Number of runs that train at the same time, as in `fn.sweep`.
        executor: Where the runs train, as in `fn.sweep`.
        out: Folder to write to. Default: the first unused runs/sweep-<data>-<number>.
        resume: Continue the interrupted sweep in `out`.
        download: Whether missing data may be downloaded.

    Returns:
        The folder with the results.

    Raises:
        ValueError: If a setting is invalid or does not fit the processor, or if `out` has a different sweep.
        FileExistsError: If `out` has a sweep or a run and `resume` is False.
        DatasetNotFoundError: If the data set is missing.
        ConnectionError: If the scheduler of `executor` does not answer.
    """
    if settings.validation == 0:
        settings = dataclasses.replace(settings, validation=VALIDATION)
    for name in SHARED:
        if name in grid:
            hint = ": use --seeds" if name == "seed" else ""
            raise ValueError(f"{name} cannot vary in a sweep, because all runs share it{hint}")
    check_workers(jobs, executor)
    points = points_of(grid)
    check_different(points)
    seeds = seeds_of(seeds)
    settings = absolute(settings)
    variants = [changed(settings, point) for point in points]  # reject invalid settings before all else
    if executor == "threads":  # other executors may have other processors
        for variant in variants:
            variant.check_processor()
    loaded = load(settings, download=download)
    for variant in variants:
        check_layers(variant, loaded.description)
    config = {"settings": plain(settings), "grid": grid, "seeds": list(seeds)}
    folder = _folder(config, out, resume, folder_name(settings))  # fails before anything is made

    def build(seed: int, **point: Any) -> dict[str, Any]:
        chosen = dataclasses.replace(changed(settings, point), seed=seed)
        return fit_arguments(chosen, *prepared(chosen, loaded))

    with locked(folder):
        study = _study(config, folder, resume)
        write_json(folder / CONFIG, {**config, "environment": environment()}, indent=2)
        samples = "images" if loaded.description.is_image else "rows"
        validation = f"{settings.validation:.0%} of the training {samples} for validation"
        print(f"{source_of(settings)}: {len(points)} points x {len(seeds)} seeds, {validation}", flush=True)
        try:
            with backend(settings.backend or active_backend()):
                sweep(build, points, seeds=seeds, jobs=jobs, executor=executor, study=study)
        except RuntimeError as error:
            if not study.failed or len(study.failed) < len(study):
                raise
            raise ValueError(f"all {len(study)} runs failed: {study.failed[0].error}") from error
        finally:
            is_regression = isinstance(settings, TableSettings) and settings.is_regression
            _write_results(folder, study, "val_r2" if is_regression else "val_accuracy")
    return folder


def _folder(config: dict[str, Any], out: Path | None, resume: bool, name: str) -> Path:
    """Return the folder of the sweep, a new one without `out`."""
    if out is None:
        if resume:
            raise ValueError("--resume needs --out, the folder of the sweep")
        return new_folder(f"sweep-{name}")
    _study(config, out, resume)
    return out


def _study(config: dict[str, Any], folder: Path, resume: bool) -> SavedStudy:
    """Return the study of the sweep, which is empty or the one to continue."""
    study = SavedStudy()
    if (folder / CONFIG).exists():
        if not resume:
            raise FileExistsError(
                f"{folder} already has a sweep or a run: choose another --out, or continue the sweep with "
                "--resume"
            )
        written = read_json(folder / CONFIG)
        if any(written.get(name) != json.loads(json.dumps(value)) for name, value in config.items()):
            raise ValueError(f"{folder} has a different sweep, or a single run: see its {CONFIG}")
        if (folder / STUDY).exists():
            study = SavedStudy.load(folder / STUDY)
    study.path = folder / STUDY
    return study


def _write_results(folder: Path, study: Study, score: str) -> None:
    """Write and print the table, draw the picture of `score`, and print which files were written."""
    results = Results(folder)
    results.write(CONFIG, lambda path: None)  # written before the training
    results.write(STUDY, study.save)  # once more: `sweep` has sorted the runs into the order of the grid
    results.write(TABLE, lambda path: write_atomic(path, f"{study}\n".encode()))
    print(study)
    if study.points():
        results.decorate(BANDS, lambda path: study.plot(path, name=score))
        best = ", ".join(f"{name} {value}" for name, value in study.best(score, mode="max").items())
        words = "R2" if score == "val_r2" else "accuracy"
        print(f"best validation {words}: {best or 'the only point'}")
    results.finish()
