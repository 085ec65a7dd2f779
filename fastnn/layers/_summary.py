"""Formats the table of `model.summary()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from fastnn._validation import Shape
from fastnn.param import Buffer, Param
from fastnn.tables import aligned

HEADER = ("layer", "", "output of a sample", "bytes", "FLOP", "trainable", "fixed", "bytes")

MAX_LAYER_WIDTH = 40  # characters, so that a table of usual shapes is narrower than 110


class Stage(Protocol):
    """A layer, as far as a summary uses it."""

    @property
    def input_shape(self) -> Shape | None: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def output_shape(self, shape: Shape) -> Shape: ...

    def flop(self, shape: Shape) -> int: ...

    def parameters(self) -> list[Param]: ...

    def buffers(self) -> list[Buffer]: ...


class Table(str):
    """A table that the interactive interpreter and notebooks show as it is, without quotes and escapes."""

    def __repr__(self) -> str:
        return str(self)


def summary(model: Stage, stages: Iterable[Stage], input_shape: Shape | None) -> Table:
    """Return a table with one row per stage, and one for the whole model.

    Without `input_shape`, shapes and FLOP are known from the first stage on that has an `input_shape` of its
    own; before it they are "?". Frozen parameters and buffers count as fixed.
    """
    lines = aligned(summary_rows(model, stages, input_shape), left=3)
    rule = "-" * max(map(len, lines))
    return Table("\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]]))


def summary_rows(model: Stage, stages: Iterable[Stage], input_shape: Shape | None) -> list[tuple[str, ...]]:
    """Return the rows of the table of `summary`: the header, the stages, the whole model."""
    rows: list[tuple[str, ...]] = [HEADER]
    itemsize = model.dtype.itemsize
    shape = input_shape
    nbytes: list[int | None] = []
    flop: list[int | None] = []
    for index, layer in enumerate(stages):
        shape = shape if shape is not None else layer.input_shape
        flop.append(None if shape is None else layer.flop(shape))
        shape = None if shape is None else layer.output_shape(shape)
        nbytes.append(None if shape is None else math.prod(shape) * itemsize)
        output = "?" if shape is None else str(shape)
        rows.append((str(index), _cut(repr(layer)), output, _si(nbytes[-1]), _si(flop[-1]), *_counts(layer)))
    rows.append(("", "total", "", _si(_sum(nbytes)), _si(_sum(flop)), *_counts(model)))
    return rows


def _counts(layer: Stage) -> tuple[str, str, str]:
    """Return the number of trainable values, of fixed values (buffers included), and the bytes of both."""
    params = layer.parameters()
    trainable = sum(param.size for param in params if not param.frozen)
    held = (*params, *layer.buffers())
    fixed = sum(array.size for array in held) - trainable
    memory = sum(array.size * array.dtype.itemsize for array in held)
    return f"{trainable:,}", f"{fixed:,}", _si(memory)


def _sum(numbers: list[int | None]) -> int | None:
    """Return the sum, or None if one of the numbers is None."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _si(number: int | None) -> str:
    """Format a number with an SI prefix: "999", "1.0 k", "12.3 M", "123 G"; None as "?"."""
    if number is None:
        return "?"
    if number < 1000:
        return str(number)
    value, units = number / 1000, iter("kMGTPE")
    unit = next(units)
    while value >= 999.5:
        value, unit = value / 1000, next(units)
    return f"{value:.{0 if value >= 99.95 else 1}f} {unit}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LAYER_WIDTH else f"{text[: MAX_LAYER_WIDTH - 3]}..."
