"""Keep the result of an experiment in a folder that is complete or not there at all.

The folder `<out>/<id>/<variant>` (`<variant>-quick` for short runs) has these files::

    result.json       table, figures, parameters, environment, and what the result depends on
    training.json     what `train` returned; arrays are in training.npz
    timelines.csv     the curves of the trainings: series, curve, epoch, update, value
    *.png, *.svg      figures
    log.txt           what was printed
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.config import environment
from fastnn.documents import read_json
from fastnn.files import is_running, write_atomic
from fastnn.history import History
from fastnn.reproduction.experiment import DATA, Experiment, Result

RESULT, TRAINING, ARRAYS, TIMELINES, LOG = (
    *("result.json", "training.json", "training.npz"),
    *("timelines.csv", "log.txt"),
)
KEYS = {"id", "title", "variant", "quick", "depends_on", "environment", "seconds", "rows", "figures"}
PARTIAL = ".partial-"
ARRAY, HISTORY = "$array", "$history"


def folder_of(out: Path, experiment: Experiment, variant: str, *, quick: bool) -> Path:
    """Return the folder of a result."""
    return out / experiment.id / (f"{variant}-quick" if quick else variant)


def dependencies(experiment: Experiment, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result depends on, for JSON: source, parameters, data, version and instruction set.

    Raises DatasetNotFoundError if data are missing.
    """
    module = sys.modules[experiment.train.__module__]
    about = environment()
    return {
        "source": hashlib.sha256(inspect.getsource(module).encode()).hexdigest(),
        "parameters": json.loads(json.dumps(dict(parameters))),
        "data": {name: _digest(DATA[name]()) for name in experiment.data},
        "fastnn": about["fastnn"],
        "instruction_set": about["instruction_set"],
    }


def _digest(content: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in _arrays(content):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(content: Any) -> Iterator[Array]:
    if isinstance(content, (tuple, list)):
        for part in content:
            yield from _arrays(part)
    else:
        yield np.asarray(content)


def finished(folder: Path) -> dict[str, Any] | None:
    """Return the result.json of a folder; None if there is none or it is damaged."""
    try:
        content = read_json(folder / RESULT)
    except (OSError, ValueError):
        return None
    return content if content.keys() >= KEYS else None


def is_complete(folder: Path, content: Mapping[str, Any]) -> bool:
    """Whether the folder has all files of its result.json, whose content is given: a user may remove some."""
    figures = [file for figure in content["figures"] for file in figure["files"]]
    return all((folder / name).is_file() for name in (TRAINING, ARRAYS, TIMELINES, *figures))


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Make a new folder that takes the place of `folder` at the end of the `with` block.

    After an exception or a crash, `folder` is as before, and a folder with the prefix PARTIAL may be left,
    which `remove_partial` removes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.parent / f"{PARTIAL}{folder.name}-{os.getpid()}"
    old = folder.parent / f"{PARTIAL}old-{folder.name}-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_partial(out: Path) -> None:
    """Remove what interrupted runs left in the folders of the experiments.

    A process that still runs keeps its folder: it would put what is left of it in the place of a result.
    """
    for partial in out.glob(f"*/{PARTIAL}*"):
        process = partial.name.rpartition("-")[2]
        if not (process.isdecimal() and is_running(int(process))):
            shutil.rmtree(partial, ignore_errors=True)


def write_training(folder: Path, result: Result) -> None:
    """Write what `train` returned. Raises TypeError for values other than it may return."""
    arrays: dict[str, Array] = {}
    tree = _packed(dict(result), "", arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(folder / ARRAYS, buffer.getvalue())
    write_atomic(folder / TRAINING, json.dumps(tree).encode())
    write_atomic(folder / TIMELINES, _timelines(result).encode())


def read_training(folder: Path) -> dict[str, Any]:
    """Read what `write_training` wrote."""
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        tree = read_json(folder / TRAINING)
        return {name: _unpacked(value, arrays) for name, value in tree.items()}


def _packed(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """Replace arrays by their names and histories by dicts."""
    if isinstance(value, History):
        return {HISTORY: _packed(value.as_dict(), path, arrays)}
    if isinstance(value, np.ndarray) and value.dtype != object:
        arrays[path] = value
        return {ARRAY: path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(name): _packed(inner, f"{path}/{name}", arrays) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        if len(value) > 1000 and all(isinstance(each, float) for each in value):
            arrays[path] = np.array(value)  # a long curve: JSON would take 20 bytes for each value
            return {ARRAY: path, "list": True}
        return [_packed(inner, f"{path}/{index}", arrays) for index, inner in enumerate(value)]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"train must return arrays, numbers, texts and histories, not {path[1:]}: {value!r:.80}")


def _unpacked(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_unpacked(inner, arrays) for inner in value]
    if not isinstance(value, dict):
        return value
    if ARRAY in value:
        array = arrays[value[ARRAY]]
        return array.tolist() if value.get("list") else array
    if HISTORY in value:
        return History.from_dict(_unpacked(value[HISTORY], arrays))
    return {name: _unpacked(inner, arrays) for name, inner in value.items()}


def _timelines(result: Result) -> str:
    """Write the curves of all histories as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["series", "curve", "epoch", "update", "value"])
    for series, history in _histories(dict(result), ""):
        for name in history:
            moments = zip(history.epochs_of(name), history.updates_of(name), history[name], strict=True)
            writer.writerows([series, name, epoch, update, value] for epoch, update, value in moments)
        for name, curve in history.updates.items():
            writer.writerows([series, name, "", number, value] for number, value in enumerate(curve, 1))
    return text.getvalue()


def _histories(value: Any, path: str) -> Iterator[tuple[str, History]]:
    if isinstance(value, History):
        yield path[1:], value
    elif isinstance(value, (Mapping, list, tuple)):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, inner in pairs:
            yield from _histories(inner, f"{path}/{name}")
