"""The table that `model.summary()` returns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from fastnn._validation import Shape
from fastnn.param import Buffer, Param

HEADER = ("layer", "", "output of a sample", "bytes", "FLOP", "trainable", "fixed", "bytes")

MOST = 40  # characters of a layer, so that a table with usual shapes is less than 110 wide


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


def summary(model: Stage, stages: Iterable[Stage], input_shape: Shape | None) -> str:
    """One row per stage, and one for the whole model.

    Shapes start at the first stage that knows its input shape. Frozen parameters and buffers count as fixed.
    """
    rows = [HEADER]
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
        rows.append(
            (str(index), _cut(repr(layer)), output, _short(nbytes[-1]), _short(flop[-1]), *_counts(layer))
        )
    rows.append(("", "total", "", _short(_sum(nbytes)), _short(_sum(flop)), *_counts(model)))

    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.rjust(width) if column >= 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _counts(layer: Stage) -> tuple[str, str, str]:
    """The number of trained elements, of fixed ones (buffers included), and the memory of both."""
    params = layer.parameters()
    trainable = sum(param.size for param in params if not param.frozen)
    held = (*params, *layer.buffers())
    fixed = sum(array.size for array in held) - trainable
    memory = sum(array.size * array.dtype.itemsize for array in held)
    return f"{trainable:,}", f"{fixed:,}", _short(memory)


def _sum(numbers: list[int | None]) -> int | None:
    """The sum; None if one of the numbers is unknown."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _short(number: int | None) -> str:
    """999, 1.0 k, 12.3 M, 123 G, ?"""
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
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."
