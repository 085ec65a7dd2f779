"""Draw pictures of training runs: `fastnn picture` (one run) and `fastnn curves` (several runs)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import viz
from fastnn._validation import Array, choose
from fastnn.board.runs import flattened
from fastnn.cli import train_run
from fastnn.cli.settings import DATASETS, Settings
from fastnn.cli.settings_file import settings_from
from fastnn.documents import read_json
from fastnn.history import History
from fastnn.layers import Conv2d, Linear, MaxPool2d, Sequential
from fastnn.nets.features import features
from fastnn.studies.study import label_of
from fastnn.weights import load

Part = tuple[Array, Array]

IGNORED = ("seed", "threads")  # runs that differ only in these settings form one line
MOST_CHARACTERS = 60  # of the label of a line


def draw(kind: str, run: Path, out: Path | None = None, *, download: bool = False) -> Path:
    """Draw one picture of a training run.

    Args:
        kind: What to draw, a key of `KINDS`.
        run: Folder of the run.
        out: Picture to write. Default: <kind>.png in the folder of the run.
        download: Whether missing data may be downloaded.

    Returns:
        The path of the picture.

    Raises:
        ValueError: If the kind is unknown, or if the run has nothing of this kind to show (no convolutions,
            no augmentation).
        FileNotFoundError: If the folder has no run.
        DatasetNotFoundError: If the data set is missing.
    """
    drawing = choose(kind, KINDS, "picture")
    settings, model = settings_and_model(run)
    target = run / f"{kind}.png" if out is None else out
    _, test = DATASETS[settings.dataset].load(download)
    return drawing(settings, model, test, target)


def draw_bands(folders: Sequence[Path], out: Path, *, name: str, log: bool = False) -> Path:
    """Draw the curve `name` of several runs into the picture `out` and return its path.

    Runs that differ only in the seed (or in the number of threads) form one line, their mean, in a band of
    one standard deviation. The label of a line has the settings that tell the lines apart; the remaining
    differences are listed below.

    Raises FileNotFoundError if a folder has no run, and ValueError if a run does not have the curve.
    """
    groups: dict[str, tuple[dict[str, Any], list[History]]] = {}
    for folder in folders:
        saved = {key: value for key, value in _saved_settings(folder).items() if key not in IGNORED}
        settings = flattened(saved)
        history = _history(folder / train_run.HISTORY)
        groups.setdefault(json.dumps(settings), (settings, []))[1].append(history)
    distinct = [settings for settings, _ in groups.values()]
    names = dict.fromkeys(key for settings in distinct for key in settings)
    differing = [name for name in names if any(s.get(name) != distinct[0].get(name) for s in distinct)]
    chosen = _distinguishing(distinct, differing)
    lines = {_label(settings, chosen): histories for settings, histories in groups.values()}
    others = [name for name in differing if name not in chosen]
    note = f"The runs also differ in {', '.join(others)}." if others else ""
    return viz.save_bands(lines, out, name=name, log=log, note=note)


def _distinguishing(groups: Sequence[dict[str, Any]], differing: Sequence[str]) -> list[str]:
    """Choose the settings for the labels: all that differ if the labels stay short, or else few.

    The few tell the groups apart; labels with all of them would fill the picture.
    """
    if max(len(_label(settings, differing)) for settings in groups) <= MOST_CHARACTERS:
        return list(differing)
    chosen: list[str] = []

    def labels(names: Sequence[str]) -> int:
        return len({_label(settings, names) for settings in groups})

    while labels(chosen) < len(groups):
        chosen.append(max(differing, key=lambda name: labels([*chosen, name])))
    return [name for name in differing if name in chosen]


def _history(path: Path) -> History:
    """Read the curves of a run. Raises ValueError if the file is no history.json."""
    try:
        history = History.from_dict(read_json(path))
        for curve in itertools.chain(history.values(), history.updates.values()):
            np.asarray(curve, np.float64).reshape(len(curve))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not the history of a run: {error}") from None
    return history


def _label(settings: dict[str, Any], names: Sequence[str]) -> str:
    """Label of a line, such as "optimizer.lr 0.1, epochs 5"."""
    return label_of({name: settings[name] for name in names if name in settings}) or str(
        settings.get("dataset")
    )


def _saved_settings(run: Path) -> dict[str, Any]:
    """Load the settings of the run in a folder. Raises FileNotFoundError if the folder has no run."""
    config = run / train_run.CONFIG
    if not config.is_file() or not (run / train_run.HISTORY).is_file():
        raise FileNotFoundError(
            f"{run} has no finished run: {train_run.CONFIG} or {train_run.HISTORY} is missing (fastnn train "
            "writes them)"
        )
    written = read_json(config).get("settings")
    if not isinstance(written, dict):
        raise ValueError(f"{config} has no settings: the folder is no run of fastnn train")
    return written


def settings_and_model(run: Path) -> tuple[Settings, Sequential]:
    """Load the settings and the trained model of the run in a folder."""
    written = _saved_settings(run)
    # A picture needs no optimizer, and it may be a class of the user, which no file may import.
    written.pop("optimizer", None)
    known = {field.name for field in fields(Settings)}
    try:
        settings = settings_from({name: value for name, value in written.items() if name in known})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{run / train_run.CONFIG}: {error}") from None
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
        raise ValueError("the model of this run has no convolutions, so there are no feature maps to draw")
    maps = {
        f"{type(layer).__name__} {index}": features(model, image, upto=index)[0] for index, layer in shown
    }
    return viz.save_maps(image[0], maps, path)


def _classes(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    return viz.save_classes(*test, path)


def _augmented(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    augment = settings.augmentation()
    if augment is None:
        raise ValueError("this run has no augmentation: --rotate, --shift and --zoom were 0")
    x, y = test
    one_of_each = np.unique(y, return_index=True)[1][:6]
    return viz.save_augmented(x[one_of_each], augment, path)


def _saliency(settings: Settings, model: Sequential, test: Part, path: Path) -> Path:
    x, y = test
    one_of_each = np.unique(y, return_index=True)[1][:10]
    viz.saliency(model, x[one_of_each], path, classes=y[one_of_each])
    return path


KINDS: dict[str, Callable[[Settings, Sequential, Part, Path], Path]] = {
    "confusion": _confusion,
    "mistakes": _mistakes,
    "filters": _filters,
    "maps": _maps,
    "classes": _classes,
    "augmented": _augmented,
    "saliency": _saliency,
}
