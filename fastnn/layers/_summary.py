"""The table that `model.summary()` gives."""

from __future__ import annotations

import math

from fastnn._validation import Shape
from fastnn.layers.base import Layer
from fastnn.layers.sequential import Sequential

HEADER = ("layer", "", "output of a sample", "bytes", "FLOP", "trainable", "fixed", "bytes")

MOST = 40  # characters of a layer, so that a table of usual shapes stays below 110


def summary(model: Layer, input_shape: Shape | None) -> str:
    """One row per layer; shapes start at the first layer that knows what it takes.

    Frozen parameters and buffers count as fixed.
    """
    rows = [HEADER]
    itemsize = model.dtype.itemsize
    shape = input_shape
    nbytes: list[int | None] = []
    flop: list[int | None] = []
    for index, layer in enumerate(model.layers if isinstance(model, Sequential) else [model]):
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


def _counts(layer: Layer) -> tuple[str, str, str]:
    """How many numbers are trained, how many are not, buffers among them, and the memory of all of them."""
    params = layer.parameters()
    trainable = sum(param.size for param in params if not param.frozen)
    held = (*params, *layer.buffers())
    fixed = sum(array.size for array in held) - trainable
    memory = sum(array.size * array.dtype.itemsize for array in held)
    return f"{trainable:,}", f"{fixed:,}", _short(memory)


def _sum(numbers: list[int | None]) -> int | None:
    """None if one of them is not known."""
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
