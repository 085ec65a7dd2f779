"""Draw confusion matrices."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.classes import class_count, numbers_of_text
from fastnn.viz._drawing import finish, new_figure, shortened

# The picture has a cell for each pair of classes.
MOST_ROWS = 2**11

# With more classes than this, the cells are too small for counts.
MOST_CLASSES_WITH_COUNTS = 25


def save_confusion(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    classes: int | None = None,
) -> Path:
    """Draw the confusion matrix: true classes in rows, predicted classes in columns.

    Colour shows only the mistakes, as fractions of their row: on one scale with the many correct
    predictions, all mistakes would be white. The diagonal is grey and has the counts of correct predictions.

    Args:
        y: True labels, integers (N,), or text.
        predicted: Predicted labels of the same kind, (N,).
        path: Picture to write (.png, .svg, .pdf).
        names: Names of the classes. Default: their numbers, or the labels in sorted order if they are text.
        classes: Number of classes, if larger than the largest label + 1.

    Returns:
        The path of the picture.

    Raises:
        ValueError: If the labels are empty, differ in shape or are not integers >= 0, or if the number of
            names is not the number of classes.
        ImportError: If matplotlib is missing.
    """
    text = numbers_of_text(predicted, y)
    if text is not None:
        predicted, y, names = text[0], text[1], names or text[2]
    labels, predictions = np.asarray(y), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predictions.shape or labels.size == 0:
        raise ValueError(
            f"y and predicted must be labels of the same shape (N,), N >= 1, not {labels.shape} and "
            f"{predictions.shape}"
        )
    integers = labels.dtype.kind in "iu" and predictions.dtype.kind in "iu"
    if not integers or min(labels.min(), predictions.min()) < 0:
        raise ValueError("labels must be integers of at least 0")
    last = np.array([max(labels.max(), predictions.max(), (classes or 0) - 1, len(names or ()) - 1)])
    count = class_count(last, None, most=MOST_ROWS)
    if names is not None and len(names) != count:
        raise ValueError(f"there are {len(names)} names for {count} classes")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, predictions), 1)

    labels_of_classes = [shortened(name, 24) for name in names or map(str, range(count))]
    longest = max(map(len, labels_of_classes))
    rotated = longest > 3
    side = min(max(0.5 * count, 2.8), 9.5)
    beside = 0.075 * longest  # room for the names, in inches
    figure = new_figure(side + 2.3 + beside, side + 1.2 + beside * rotated)
    axes = figure.add_subplot()
    fractions = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(fractions, np.nan)
    largest = np.nanmax(fractions) if count > 1 else 0
    colours = axes.imshow(fractions, cmap="Reds", vmin=0, vmax=largest or 1)
    axes.set_facecolor("0.88")  # visible on the diagonal, where the picture has no colour
    bar = figure.colorbar(colours, ax=axes, shrink=0.8, format="{x:.1%}")
    bar.set_label("mistakes, fraction of the true class")
    if count <= MOST_CLASSES_WITH_COUNTS:
        size = min(8.0, 72 * side / count / (0.65 * len(f"{table.max():,}")))
        for row, column in np.argwhere(table):
            dark = row != column and fractions[row, column] > 0.6 * largest
            axes.text(
                column,
                row,
                f"{table[row, column]:,}",
                ha="center",
                va="center",
                fontsize=size,
                color="w" if dark else "k",
            )
    # Names below 5 points are illegible: with very many classes, not every class has its name.
    size = min(10.0, 0.75 * 72 * side / count)
    every = math.ceil(5 / size)
    ticks, size = range(0, count, every), max(size, 5)
    axes.set_xticks(
        ticks,
        labels_of_classes[::every],
        rotation=60 if rotated else 0,
        ha="right" if rotated else "center",
        rotation_mode="anchor",
        fontsize=size,
        parse_math=False,
    )
    axes.set_yticks(ticks, labels_of_classes[::every], fontsize=size, parse_math=False)
    correct = int(np.trace(table))
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.suptitle(
        f"Confusion matrix: {correct:,} of {len(labels):,} correct ({correct / len(labels):.2%})",
        fontsize=11,
    )
    return finish(figure, path)
