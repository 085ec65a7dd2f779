"""The space of a hyper-parameter search: ranges of numbers, and choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._validation import as_float, flag
from fastnn.studies.study import Point, plain

Choices = dict[Any, Any]  # the values, by what Optuna stores for them


@dataclass(frozen=True)
class Range:
    """A range of numbers for `fn.tune`, both ends included: integers if both ends are, else floats.

    With `log`, each factor is as likely as any other: 0.001 to 0.01 as 0.01 to 0.1. That suits learning rates
    and numbers of units.

    >>> fn.tune(build, {"lr": fn.Range(1e-4, 1e-1, log=True), "hidden": fn.Range(16, 256, log=True)})

    Raises ValueError unless `low` and `high` are finite numbers with low < high, and low > 0 with `log`.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if not math.isfinite(as_float(end := getattr(self, name))):
                raise ValueError(f"{name} must be a finite number, not {end!r}")
        flag(self.log, "log")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 in a range with log=True, got {self.low}")

    @property
    def is_integer(self) -> bool:
        """Whether both ends are integers."""
        return all(isinstance(end, (int, np.integer)) for end in (self.low, self.high))


Space = Mapping[str, Range | Iterable[Any]]
Dimensions = Mapping[str, Range | Choices]


def dimensions_of(space: Space) -> Dimensions:
    """Check a space: ranges unchanged, choices as {what JSON can represent: value}.

    Raises TypeError or ValueError if the space is malformed or empty, or has the same choice twice.
    """
    if not isinstance(space, Mapping) or not all(isinstance(name, str) for name in space):
        raise TypeError(f"the space must be a dict {{parameter: fn.Range or list of choices}}, not {space!r}")
    if not space:
        raise ValueError("the space has no parameter")
    return {
        name: values if isinstance(values, Range) else _choices(name, values)
        for name, values in space.items()
    }


def first_point(dimensions: Dimensions) -> Point:
    """A point of the space: the low ends and the first choices."""
    return {
        name: dimension.low if isinstance(dimension, Range) else next(iter(dimension.values()))
        for name, dimension in dimensions.items()
    }


def described(dimensions: Dimensions) -> dict[str, Any]:
    """The space as JSON can represent it."""
    return {
        name: repr(dimension) if isinstance(dimension, Range) else list(dimension)
        for name, dimension in dimensions.items()
    }


def _choices(name: str, values: Iterable[Any]) -> Choices:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"the space must have an fn.Range or a list of choices for {name!r}, not {values!r}")
    listed = list(values)
    if isinstance(values, tuple) and len(values) == 2 and as_float(values[0]) < as_float(values[1]):
        raise TypeError(  # other libraries write ranges so
            f"the space has {values!r} for {name!r}: pass the list {listed!r} for two choices, or the range "
            f"fn.Range{values!r}"
        )
    choices = {_label(value): value for value in listed}
    if not choices or len(choices) < len(listed):
        raise ValueError(f"the choices for {name!r} must be different, and at least one, not {listed!r}")
    return choices


def _label(value: Any) -> Any:
    """The text that Optuna stores for a choice; numbers, texts and None stay as they are."""
    found = plain(value)
    return str(found) if isinstance(found, list) else found
