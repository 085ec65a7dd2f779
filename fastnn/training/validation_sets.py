"""The data sets that `fit` evaluates while it trains: their names, and when they are evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from fastnn._validation import positive_int
from fastnn.training.samples import DataOrBatches

Validation = DataOrBatches | float | Mapping[str, DataOrBatches | float] | None

SINGLE = "val"  # the name of a data set that is passed without a name
EVERY_EPOCH = "epoch"


def named_sets(validation: Validation) -> dict[str, DataOrBatches | float]:
    """The data sets by name, none for None.

    Raises TypeError for a name that is no text, ValueError for an empty name or an empty dict.
    """
    if validation is None:
        return {}
    if not isinstance(validation, Mapping):
        return {SINGLE: cast(DataOrBatches | float, validation)}
    if not validation:
        raise ValueError('validation is an empty dict: pass {"valid": (x, y), ...}, or leave it out')
    for name in validation:
        if not isinstance(name, str):
            raise TypeError(f"the names of validation sets must be text, such as 'test', not {name!r}")
        if not name:
            raise ValueError("a validation set must have a name, such as 'test', not an empty one")
    return dict(validation)


def words_for(name: str) -> str:
    """What messages call a validation set."""
    return "validation data" if name == SINGLE else f"validation data {name!r}"


def prefixed(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """The results on a validation set under the names that the history uses."""
    return {f"{name}_{value_name}": value for value_name, value in values.items()}


def check_distinct(names: Iterable[str]) -> None:
    """Raise ValueError if two curves of the history would have the same name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"two results would be named {name!r} in the history: rename a validation set or a metric"
            )
        seen.add(name)


def interval(validate_every: int | str, sets: Mapping[str, object]) -> int | None:
    """The number of updates between two validations; None for one after every epoch.

    Raises ValueError or TypeError unless `validate_every` is "epoch" or a positive integer, or if it is a
    number and there are no validation sets.
    """
    if isinstance(validate_every, str):
        if validate_every != EVERY_EPOCH:
            raise ValueError(
                f'validate_every must be a number of updates, or "epoch", not {validate_every!r}'
            )
        return None
    every = positive_int(validate_every, "validate_every")
    if not sets:
        raise ValueError(
            f"validate_every={every} needs data to validate on: pass validation=(x, y), or leave it out"
        )
    return every
