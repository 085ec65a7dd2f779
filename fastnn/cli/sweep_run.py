"""A sweep over settings, from a configuration to a folder of files: what `fastnn sweep` does.

config.json     the settings that all trainings share, grid and seeds, the versions they met
study.json      all trainings with their curves, for `fn.Study.load`
table.txt       mean and standard deviation over the seeds of each result
bands.png       the validation accuracy of each point of the grid
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastnn.cli.settings import DATASETS, Settings
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
from fastnn.files import write_atomic
from fastnn.kernels import active_backend, backend
from fastnn.studies.study import Member, Study
from fastnn.studies.sweep import check_workers, points_of, sweep

STUDY, TABLE, BANDS = "study.json", "table.txt", "bands.png"
VALIDATION = 0.1


class SavedStudy(Study):
    """A study that is written whenever a training has ended: whatever happens, nothing is lost."""

    path: Path

    def add(self, member: Member) -> None:
        super().add(member)
        self.save(self.path)


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
    """Train at each point of the grid of settings with each seed; returns the folder of what comes out.

    Trainings are compared by data held out of the training data: `settings.validation` of them, a tenth if
    that is 0. `out` is the folder, by default the first unused runs/sweep-<dataset>-<number>; with `resume`
    the sweep there goes on. The rest is as in `fn.sweep`.

    Raises ValueError for settings that cannot be meant and a folder that holds another sweep,
    FileExistsError for one in use, `DatasetNotFoundError` for missing data.
    """
    if settings.validation == 0:
        settings = dataclasses.replace(settings, validation=VALIDATION)
    for name in ("dataset", "backend", "threads", "seed"):
        if name in grid:
            hint = ": use --seeds" if name == "seed" else ""
            raise ValueError(f"{name} cannot be varied, since all trainings share it{hint}")
    check_workers(jobs, executor)
    points = points_of(grid)
    dataset = DATASETS[settings.dataset]
    for each in (changed(settings, point) for point in points):  # before anything is trained
        if each.model == "mlp":
            check_layers(each.layers, dataset)
    part, _ = dataset.load(download)
    what = {"settings": plain(settings), "grid": grid, "seeds": list(seeds)}
    folder, study = _folder_and_study(what, out, resume)
    write_json(folder / CONFIG, {**what, "environment": environment()}, indent=2)

    def build(seed: int, **point: Any) -> dict[str, Any]:
        return fit_arguments(dataclasses.replace(changed(settings, point), seed=seed), part)

    held_out = f"{settings.validation:.0%} of the training data held out"
    print(f"{settings.dataset}: {len(points)} points x {len(seeds)} seeds, {held_out}", flush=True)
    try:
        with backend(settings.backend or active_backend()):
            sweep(build, points, seeds=seeds, jobs=jobs, executor=executor, study=study)
    finally:
        _write_results(folder, study)
    return folder


def _folder_and_study(what: dict[str, Any], out: Path | None, resume: bool) -> tuple[Path, SavedStudy]:
    """Where to write, and the study to go on with."""
    if out is None and resume:
        raise ValueError("--resume needs --out, the folder of the sweep")
    folder = new_folder(f"sweep-{what['settings']['dataset']}") if out is None else out
    study = SavedStudy()
    if (folder / CONFIG).exists():
        if not resume:
            raise FileExistsError(f"{folder} is in use: choose another --out, or --resume the sweep in it")
        written = json.loads((folder / CONFIG).read_text())
        if any(written.get(name) != json.loads(json.dumps(value)) for name, value in what.items()):
            raise ValueError(f"{folder} holds another sweep, or a run: see its {CONFIG}")
        if (folder / STUDY).exists():
            study = SavedStudy.load(folder / STUDY)
    folder.mkdir(parents=True, exist_ok=True)
    study.path = folder / STUDY
    return folder, study


def _write_results(folder: Path, study: Study) -> None:
    """Print the table, write it and the picture, and say where."""
    study.save(folder / STUDY)  # in the order of the grid
    print(study)
    write_atomic(folder / TABLE, f"{study}\n".encode())
    try:
        if study.points():
            study.plot(folder / BANDS)
            best = ", ".join(f"{name} {value}" for name, value in study.best().items())
            print(f"best by validation accuracy: {best or 'the only point'}")
    except ImportError as error:
        print(f"no picture: {error}")
    written = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    print(f"written to {folder}: {', '.join(written)}", flush=True)
