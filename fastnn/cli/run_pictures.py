"""Pictures of a run that `fastnn train` has written: what `fastnn picture` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import viz
from fastnn._validation import Array, choose
from fastnn.cli import train_run
from fastnn.cli.settings import DATASETS, Settings, optimizer_from
from fastnn.history import History
from fastnn.layers import Conv2d, Linear, MaxPool2d, Sequential
from fastnn.nets.features import features
from fastnn.weights import load

Part = tuple[Array, Array]


def draw(kind: str, run: Path, out: Path | None = None, *, download: bool = False) -> Path:
    """Draw a picture of that kind, a key of `KINDS`, of the run in the folder `run`; returns its path.

    It is written to `out`, by default <kind>.png in the folder. Raises ValueError for an unknown kind, and
    for one that the run's model has nothing to show of, FileNotFoundError for a folder without a run, and
    `DatasetNotFoundError` for missing data.
    """
    drawing = choose(kind, KINDS, "picture")
    settings, model = _settings_and_model(run)
    target = run / f"{kind}.png" if out is None else out
    _, test = DATASETS[settings.dataset].load(download)
    return drawing(settings, model, test, target)


def draw_bands(folders: Sequence[Path], out: Path, *, name: str, log: bool = False) -> Path:
    """Draw the curve `name` of several runs into the picture `out`; returns its path.

    Runs whose settings differ in their seed alone become one line, their mean, in a band of one standard
    deviation; a line is called by the settings in which it differs from others. Raises FileNotFoundError for
    a folder without a run, and ValueError for a curve that a run lacks.
    """
    groups: dict[str, tuple[dict[str, Any], list[History]]] = {}
    for folder in folders:
        settings = _flat({key: value for key, value in _written_settings(folder).items() if key not in FREE})
        history = History.from_dict(json.loads((folder / train_run.HISTORY).read_text()))
        groups.setdefault(json.dumps(settings), (settings, []))[1].append(history)
    alike = [settings for settings, _ in groups.values()]
    every = dict.fromkeys(key for settings in alike for key in settings)
    names = [key for key in every if any(settings.get(key) != alike[0].get(key) for settings in alike)]
    lines = {_label(settings, names): histories for settings, histories in groups.values()}
    return viz.save_bands(lines, out, name=name, log=log)


FREE = ("seed", "threads")  # settings that do not tell two kinds of runs apart


def _label(settings: dict[str, Any], names: Sequence[str]) -> str:
    """optimizer.lr 0.1, epochs 5."""
    return ", ".join(f"{name} {settings[name]}" for name in names if name in settings) or settings["dataset"]


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the optimizer's class, and each of its arguments, as settings of their own."""
    described = settings.pop("optimizer")
    arguments = {f"optimizer.{name}": value for name, value in described["init_args"].items()}
    return {**settings, "optimizer": described["class_path"].rpartition(".")[2], **arguments}


def _written_settings(run: Path) -> dict[str, Any]:
    config = run / train_run.CONFIG
    if not config.is_file() or not (run / train_run.HISTORY).is_file():
        raise FileNotFoundError(
            f"{run} holds no run: fastnn train writes {train_run.CONFIG} and more into a folder"
        )
    written: dict[str, Any] = json.loads(config.read_text())["settings"]
    return written


def _settings_and_model(run: Path) -> tuple[Settings, Sequential]:
    written = _written_settings(run)
    written["layers"] = tuple(written["layers"])
    written["optimizer"] = optimizer_from(written["optimizer"])
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in written.items() if name in known})
    model = train_run.build(settings)
    load(model, run / train_run.WEIGHTS)
    return settings, model


def _confusion(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    x, y = test
    return viz.save_confusion(
        y, model.predict(x).argmax(axis=1), path, classes=DATASETS[settings.dataset].classes
    )


def _mistakes(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    x, y = test
    return viz.save_mistakes(x, model.predict(x), y, path)


def _filters(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    first = next((layer for layer in model if isinstance(layer, (Conv2d, Linear))), None)
    if isinstance(first, Conv2d):
        return viz.save_filters(first.weight.value, path)
    assert first is not None, "all models have such a layer"
    return viz.save_weights(first.weight.value, path, image_shape=DATASETS[settings.dataset].image)


def _maps(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    image = test[0][:1]
    kinds = (Conv2d, MaxPool2d)
    shown = [(index, layer) for index, layer in enumerate(model) if isinstance(layer, kinds)]
    if not shown:
        raise ValueError("this run's model has no convolutions whose maps could be drawn")
    maps = {
        f"{type(layer).__name__} {index}": features(model, image, upto=index)[0] for index, layer in shown
    }
    return viz.save_maps(image[0], maps, path)


def _classes(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    return viz.save_classes(*test, path)


def _augmented(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    augment = settings.augmentation()
    if augment is None:
        raise ValueError("this run did not change its images: --rotate, --shift and --zoom were 0")
    x, y = test
    one_of_each = np.unique(y, return_index=True)[1][:6]
    return viz.save_augmented(x[one_of_each], augment, path)


KINDS: dict[str, Callable[[Settings, Sequential, Part, Path], Path]] = {
    "confusion": _confusion,
    "mistakes": _mistakes,
    "filters": _filters,
    "maps": _maps,
    "classes": _classes,
    "augmented": _augmented,
}
