"""The table that `model.summary()` gives."""

from __future__ import annotations

from fastnn._door import Shape
from fastnn.layers.base import Layer
from fastnn.layers.sequential import Sequential

HEADER = ("layer", "", "output of a sample", "trainable", "fixed")


def summary(model: Layer, input_shape: Shape | None) -> str:
    """One row per layer; shapes start at the first layer that knows what it takes.

    Frozen parameters and buffers count as fixed.
    """
    rows = [HEADER]
    shape = input_shape
    for index, layer in enumerate(model.layers if isinstance(model, Sequential) else [model]):
        shape = shape if shape is not None else layer.input_shape
        shape = None if shape is None else layer.output_shape(shape)
        rows.append((str(index), repr(layer), "?" if shape is None else str(shape), *_counts(layer)))
    rows.append(("", "total", "", *_counts(model)))

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


def _counts(layer: Layer) -> tuple[str, str]:
    params = layer.parameters()
    trainable = sum(param.size for param in params if not param.frozen)
    fixed = sum(held.size for held in (*params, *layer.buffers())) - trainable
    return f"{trainable:,}", f"{fixed:,}"
