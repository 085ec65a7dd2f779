"""Compare finished runs on a page in the browser: `fastnn board`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.board.server import Events, Reply, Routes, as_json, static
from fastnn.documents import read_json
from fastnn.history import History

CONFIG, HISTORY = "config.json", "history.json"  # the files of a run, which `fastnn train` writes
DEEPEST = 4  # levels of folders below the given one in which runs are looked for
MOST_RUNS = 500
POINTS = 400  # of a curve: longer ones are thinned out to means


def routes(folder: Path) -> Routes:
    """Return the function that answers the requests of the page about the runs in `folder`."""

    def answer(method: str, path: str) -> Reply | Events | None:
        if method != "GET":
            return None
        if path == "runs.json":
            return Reply(as_json(described(folder)), "json")
        if path.startswith("pictures/"):
            return _picture(folder, path.removeprefix("pictures/"))
        return static(path or "runs.html")

    return answer


def described(folder: Path) -> dict[str, Any]:
    """Return the runs in a folder for the page: settings, results, curves and pictures of each.

    A run that cannot be read is listed with the reason.
    """
    runs = []
    for run in find(folder):
        name = str(run.relative_to(folder)) if run != folder else run.name
        try:
            runs.append({"name": name, **_run(run)})
        except (OSError, ValueError) as error:
            runs.append({"name": name, "error": str(error)})
    return {"folder": str(folder), "runs": runs}


def find(folder: Path) -> list[Path]:
    """Return the folders of runs in `folder`, sorted by name: at most MOST_RUNS, DEEPEST levels deep."""
    return sorted(run for run, _ in zip(_walk(folder), range(MOST_RUNS), strict=False))


def _walk(folder: Path) -> Iterator[Path]:
    for path, inner, names in os.walk(folder):
        if len(Path(path).relative_to(folder).parts) >= DEEPEST:
            inner.clear()
        if {CONFIG, HISTORY} <= set(names):
            yield Path(path)


def flattened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the optimizer's description by its class name and one "optimizer.<argument>" per argument."""
    settings = dict(settings)
    described = settings.pop("optimizer", None)
    if not isinstance(described, dict) or not isinstance(described.get("init_args"), dict):
        return settings
    arguments = {f"optimizer.{name}": value for name, value in described["init_args"].items()}
    name = str(described.get("class_path")).rpartition(".")[2]
    return {**settings, "optimizer": name, **arguments}


def _run(run: Path) -> dict[str, Any]:
    """Read one run. Raises ValueError or OSError if its files are damaged."""
    settings = read_json(run / CONFIG).get("settings")
    if not isinstance(settings, dict):
        raise ValueError(f"{run / CONFIG} has no settings: the folder is no run of fastnn train")
    content = read_json(run / HISTORY)
    try:
        history = History.from_dict(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run / HISTORY} is not the history of a run: {error}") from None
    test = content.get("test")
    seconds = content.get("seconds")
    return {
        "settings": {name: _plain(value) for name, value in flattened(settings).items()},
        "test": {n: v for n, v in test.items() if _is_number(v)} if isinstance(test, dict) else {},
        "seconds": seconds if _is_number(seconds) else None,
        "stopped": history.stopped,
        "epochs": history.epochs,
        "updates": len(history.updates["loss"]),
        "curves": {name: _thinned(history.epochs_of(name), history[name]) for name in history},
        "loss": _thinned(range(1, len(history.updates["loss"]) + 1), history.updates["loss"]),
        "pictures": sorted(path.name for path in run.glob("*.png") if path.is_file()),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: object) -> str | int | float | bool | None:
    """A setting as the page shows it."""
    if isinstance(value, (list, tuple)):
        return "-".join(map(str, value))
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _thinned(x: Any, y: list[float]) -> list[tuple[float, float]]:
    """Return the points (x, y) of a curve, neighbours replaced by their mean if there are too many."""
    count = min(len(x), len(y))
    size = -(-count // POINTS) or 1
    starts = np.arange(0, count, size)
    if not len(starts):
        return []
    counts = np.diff([*starts, count])
    means = [np.add.reduceat(np.asarray(values[:count], float), starts) / counts for values in (x, y)]
    return [(float(a), float(b)) for a, b in zip(*means, strict=True)]


def _picture(folder: Path, path: str) -> Reply | None:
    """Return a picture of a run; None unless it is one that `described` lists."""
    name, _, picture = path.rpartition("/")
    for run in find(folder):
        if name == (str(run.relative_to(folder)) if run != folder else run.name):
            known = [file for file in run.glob("*.png") if file.name == picture and file.is_file()]
            return Reply(known[0].read_bytes(), "png") if known else None
    return None
