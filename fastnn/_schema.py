"""Check JSON content against a schema, so that readers of files need not expect strange types.

A schema is a function `check(value, field)` that raises ValueError, which names the field, or a dict of
schemas by the names of the fields of an object.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

Check = Callable[[Any, str], None]
Schema = Check | Mapping[str, Any]


def check_fields(value: Any, schema: Schema, field: str = "") -> None:
    """Raise ValueError, which names the field, unless `value` fits the schema.

    All fields of the schema must be there. Others are ignored.
    """
    if not isinstance(schema, Mapping):
        schema(value, field)
        return
    if not isinstance(value, Mapping):
        raise ValueError(f"{field or 'the content'} must be an object, got {reprlib.repr(value)}")
    for name, inner in schema.items():
        path = f"{field}.{name}" if field else name
        if name not in value:
            raise ValueError(f"{path} is missing")
        check_fields(value[name], inner, path)


def anything(value: Any, field: str) -> None:
    """Accept any value."""


def text(value: Any, field: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{field} must be a text, got {reprlib.repr(value)}")


def count(value: Any, field: str) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"{field} must be an integer of at least 0, got {reprlib.repr(value)}")


def number(value: Any, field: str) -> None:
    if not is_number(value):
        raise ValueError(f"{field} must be a number, got {reprlib.repr(value)}")


def numbers(value: Any, field: str) -> None:
    if not isinstance(value, (list, tuple)) or not all(map(is_number, value)):
        raise ValueError(f"{field} must be a list of numbers, got {reprlib.repr(value)}")


def sizes(value: Any, field: str) -> None:
    if not isinstance(value, (list, tuple)) or not all(type(side) is int and side >= 0 for side in value):
        raise ValueError(f"{field} must be a list of integers of at least 0, got {reprlib.repr(value)}")


def is_number(value: object) -> bool:
    """Whether `value` is a number, also NaN or inf; an integer must not exceed the range of floats."""
    return isinstance(value, Real) and (not isinstance(value, int) or abs(value) < 2**1023)


def optional(check: Check) -> Check:
    """The same check, which also accepts None."""

    def checked(value: Any, field: str) -> None:
        if value is not None:
            check(value, field)

    return checked


def each(schema: Schema) -> Check:
    """A check of all values of an object, whose names are free."""

    def checked(value: Any, field: str) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{field} must be an object, got {reprlib.repr(value)}")
        for name, item in value.items():
            check_fields(item, schema, f"{field}[{reprlib.repr(name)}]")

    return checked
