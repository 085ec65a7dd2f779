"""Find a learning rate with the settings of a run: `fastnn train DATASET --find-lr`."""

from __future__ import annotations

from pathlib import Path

from fastnn.cli import train_run
from fastnn.cli.own_data import load, prepared
from fastnn.cli.settings import Settings
from fastnn.config import set_num_threads
from fastnn.kernels import active_backend, backend
from fastnn.training.options import OPTION_NAMES
from fastnn.training.rate_test import find_lr

PICTURE = "find_lr.png"


def run(settings: Settings, *, out: Path | None = None, download: bool = True) -> Path:
    """Print a learning rate at which the loss falls, and draw the test; train nothing.

    The picture is `find_lr.png` in the folder `out`, which is made, or in the current folder. Returns its
    path. Raises DatasetNotFoundError if the data set is missing, and ValueError if the settings do not fit.
    """
    settings.check_processor()
    loaded = load(settings, download=download)
    train_run.check_layers(settings, loaded.description)
    if settings.threads is not None:
        set_num_threads(settings.threads)
    with backend(settings.backend or active_backend()):
        arguments = train_run.fit_arguments(settings, *prepared(settings, loaded))
        options = {name: arguments[name] for name in OPTION_NAMES if name not in ("schedule", "ema")}
        found = find_lr(
            arguments["model"],
            arguments["data"],
            loss=settings.loss,
            optimizer=settings.optimizer,
            batch_size=settings.batch_size,
            seed=settings.seed,
            **options,
        )
    print(found)
    folder = Path() if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    path = found.plot(folder / PICTURE)
    print(f"written to {path}")
    return path
