"""What the inputs and outputs of a run mean: `data.json`, which `fastnn predict` reads.

For the user's own data, the file has these fields::

    {
      "version": 1,
      "inputs": [4],                 shape of a sample: [F], [H, W] or [H, W, 3]
      "label": "species",            the column of the labels; null for pictures
      "classes": ["setosa", ...],    text or integers, in the order of the outputs; null for regression
      "target": null,                {"mean": ..., "std": ...} of the labels, for regression
      "missing": "error",            what to do with missing cells: "error" or "mean"
      "columns": [                   the columns of a CSV file, in the order of the features
        {"name": "width", "categories": null, "mean": 1.2, "std": 0.8},
        {"name": "colour", "categories": ["green", "red"], "mean": null, "std": null}
      ],
      "source": "sha256:..."         checksum of the CSV file that has the test rows; [40, 38]: the number of
    }                                pictures of each class in the folder; null or missing: unknown

A column of numbers becomes the feature (value - mean) / std, where mean and std are those of the training
rows; a column of text becomes one feature of 0 and 1 per category. Columns of pixels have neither: they form
an image. A folder of pictures has no columns. The content is data alone: nothing in it is imported or run.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._schema import anything, check_fields, count, number, optional, text
from fastnn._validation import Array
from fastnn.cli.named_data import DATASETS, Part
from fastnn.cli.own_settings import MISSING_RULES, OwnSettings, check_sides
from fastnn.cli.settings import Settings
from fastnn.documents import read_json

DATA = "data.json"
VERSION = 1
MOST_INPUTS = 2**24

SCHEMA = {
    "version": count,
    "inputs": anything,
    "label": optional(text),
    "classes": anything,
    "target": anything,
    "missing": text,
    "columns": anything,
}
STATISTICS = {"mean": number, "std": number}
COLUMN = {"name": text, "categories": anything, "mean": optional(number), "std": optional(number)}


@dataclass(frozen=True)
class Column:
    """A column of a CSV file: text with `categories`, or numbers with their mean and standard deviation."""

    name: str
    categories: tuple[str, ...] | None = None
    mean: float | None = None
    std: float | None = None

    @property
    def width(self) -> int:
        """The number of features."""
        return 1 if self.categories is None else len(self.categories)


@dataclass(frozen=True)
class Description:
    """The inputs and the outputs of a network; `data.json` documents the fields, in the module docstring."""

    inputs: tuple[int, ...]
    classes: tuple[Any, ...] | None
    label: str | None = None
    target: tuple[float, float] | None = None
    missing: str = "error"
    columns: tuple[Column, ...] = ()
    source: str | tuple[int, ...] | None = None

    @property
    def is_image(self) -> bool:
        return len(self.inputs) > 1

    @property
    def channels(self) -> int:
        return self.inputs[2] if len(self.inputs) == 3 else 1

    @property
    def outputs(self) -> int:
        return 1 if self.classes is None else len(self.classes)

    @property
    def names(self) -> list[str] | None:
        """The names of the classes; None if they are the numbers of the outputs, or for regression."""
        if self.classes is None or self.classes == tuple(range(len(self.classes))):
            return None
        return [str(label) for label in self.classes]

    def sizes(self, hidden: tuple[int, ...]) -> tuple[int, ...]:
        """The layer sizes of an mlp."""
        return math.prod(self.inputs), *hidden, self.outputs

    def fitted(self, part: Part) -> Description:
        """The same with the mean and the standard deviation of each column of numbers of the training set."""
        x, y = part
        if self.is_image:
            return self
        columns, place = [], 0
        for column in self.columns:
            if column.categories is None:
                mean, std = _statistics(x[:, place])
                column = dataclasses.replace(column, mean=mean, std=std)
            columns.append(column)
            place += column.width
        target = _statistics(y) if self.classes is None else None
        return dataclasses.replace(self, columns=tuple(columns), target=target)

    def ready(self, part: Part) -> Part:
        """The inputs and the targets as the network takes them: standardized, except pixels and classes."""
        x, y = part
        return self.standardized(x), y if self.target is None else self._scaled_target(y)

    def standardized(self, x: Array) -> Array:
        """The features (N, F), float32; a missing number becomes the mean, which is 0."""
        if self.is_image:
            return x
        mean = np.concatenate([[column.mean or 0.0] * column.width for column in self.columns])
        std = np.concatenate([[column.std or 1.0] * column.width for column in self.columns])
        features: Array = ((x - mean) / std).astype(np.float32)
        features[np.isnan(features)] = 0
        return features

    def _scaled_target(self, y: Array) -> Array:
        assert self.target is not None
        mean, std = self.target
        scaled: Array = ((y - mean) / std).astype(np.float32)[:, None]
        return scaled

    def in_units(self, outputs: Array) -> Array:
        """The outputs (N, 1) of a regression as values (N,) of the label, in its own units."""
        assert self.target is not None
        mean, std = self.target
        values: Array = outputs[:, 0].astype(np.float64) * std + mean
        return values

    def as_dict(self) -> dict[str, Any]:
        """The content of `data.json`."""
        target = None if self.target is None else dict(zip(("mean", "std"), self.target, strict=True))
        columns = [dataclasses.asdict(column) for column in self.columns]
        return {"version": VERSION, **vars(self), "target": target, "columns": columns}


def _statistics(values: Array) -> tuple[float, float]:
    """Mean and standard deviation without NaN; (0, 1) if there is no value, a deviation of 1 if it is 0."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return 0.0, 1.0
    std = float(known.std())
    return float(known.mean()), std if std > 1e-12 * max(float(np.abs(known).max()), 1e-300) else 1.0


def named(settings: Settings) -> Description:
    """The description of a data set that the program knows by name."""
    dataset = DATASETS[settings.dataset]
    classes = tuple(range(dataset.classes)) if dataset.names is None else dataset.names
    return Description(dataset.image, classes)


def read(settings: Settings, run: Path) -> Description:
    """The description of a run: that of the named data set, or the content of its `data.json`.

    Raises ValueError, with the path, if the file is not such a description, and OSError if it cannot be read.
    """
    if not isinstance(settings, OwnSettings):
        return named(settings)
    path = run / DATA
    try:
        return description_from(read_json(path))
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None


def description_from(content: dict[str, Any]) -> Description:
    """Make a description from what `as_dict` returned. Raises ValueError, which names the field."""
    check_fields(content, SCHEMA)
    if content["version"] != VERSION:
        raise ValueError(
            f"version must be {VERSION}, got {content['version']}: a newer fastnn wrote the file"
        )
    inputs = _inputs(content["inputs"])
    classes = _classes(content["classes"])
    target = content["target"]
    if target is not None:
        check_fields(target, STATISTICS, "target")
        _check_statistics(target, "target")
    if (target is None) == (classes is None):
        raise ValueError("either classes or target must be null: a network has classes, or predicts a number")
    if content["missing"] not in MISSING_RULES:
        raise ValueError(f"missing must be one of {', '.join(MISSING_RULES)}, got {content['missing']!r:.60}")
    columns = _columns(content["columns"], pixels=len(inputs) > 1)
    features = sum(column.width for column in columns)
    if (columns or len(inputs) == 1) and features != math.prod(inputs):
        raise ValueError(f"the columns have {features} features, but inputs is {list(inputs)}")
    return Description(
        inputs,
        classes,
        content["label"],
        None if target is None else (float(target["mean"]), float(target["std"])),
        content["missing"],
        columns,
        _source(content.get("source")),
    )


def _inputs(value: Any) -> tuple[int, ...]:
    valid = isinstance(value, list) and 1 <= len(value) <= 3 and all(type(n) is int and n > 0 for n in value)
    if not valid or math.prod(value) > MOST_INPUTS or value[2:] not in ([], [3]):
        raise ValueError(f"inputs must be the shape of a sample, [F], [H, W] or [H, W, 3], got {value!r:.60}")
    if len(value) > 1:
        check_sides(tuple(value[:2]), "inputs")
    return tuple(value)


def _classes(value: Any) -> tuple[Any, ...] | None:
    if value is None:
        return None
    kinds = {type(label) for label in value} if isinstance(value, list) else set()
    if kinds not in ({str}, {int}) or not 2 <= len(set(value)) == len(value):
        raise ValueError(
            f"classes must be a list of different texts, or of different integers, got {value!r:.60}"
        )
    if kinds == {int} and not all(abs(label) < 2**63 for label in value):
        raise ValueError("classes must be below 2^63")
    return tuple(value)


def _columns(value: Any, *, pixels: bool) -> tuple[Column, ...]:
    if not isinstance(value, list):
        raise ValueError(f"columns must be a list, got {value!r:.60}")
    columns = []
    for index, item in enumerate(value):
        field = f"columns[{index}]"
        check_fields(item, COLUMN, field)
        categories = item["categories"]
        if categories is not None:
            texts = isinstance(categories, list) and all(isinstance(each, str) for each in categories)
            if pixels or not texts or len(set(categories)) < len(categories):
                raise ValueError(f"{field}.categories must be a list of different texts, or null")
        elif not pixels:
            check_fields(item, STATISTICS, field)
            _check_statistics(item, field)
        mean, std = (None if item[name] is None else float(item[name]) for name in ("mean", "std"))
        columns.append(Column(item["name"], None if categories is None else tuple(categories), mean, std))
    if len({column.name for column in columns}) < len(columns):
        raise ValueError("two columns have the same name")
    return tuple(columns)


def _source(value: Any) -> str | tuple[int, ...] | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise ValueError(f"source must be a checksum, numbers of pictures or null, got {value!r:.60}")
    return tuple(value)


def _check_statistics(item: dict[str, Any], field: str) -> None:
    if not (math.isfinite(item["mean"]) and math.isfinite(item["std"]) and item["std"] > 0):
        raise ValueError(f"{field} must have a finite mean and a positive finite std")
