"""Which classes are taken for which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import new_figure, save_figure

# Beyond so many classes cells are too small for numbers.
MOST_NUMBERS = 25


def save_confusion(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    classes: int | None = None,
) -> Path:
    """Draw how often a class (rows) is taken for which (columns) into the picture `path`; returns its path.

    y, predicted: labels (N,). Colour shows mistakes alone, as shares of their row: with the many that are
    right on the same scale they would all be white. The diagonal is grey, and says how many are right.
    """
    labels, answers = np.asarray(y), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != answers.shape or labels.size == 0:
        raise ValueError(f"two rows of labels (N,) are wanted, not {labels.shape} and {answers.shape}")
    if (
        min(labels.min(), answers.min()) < 0
        or labels.dtype.kind not in "iu"
        or answers.dtype.kind not in "iu"
    ):
        raise ValueError("labels must be whole numbers of at least 0")
    count = max(int(max(labels.max(), answers.max())) + 1, classes or 0, len(names or ()))
    if names is not None and len(names) != count:
        raise ValueError(f"there are {len(names)} names for {count} classes")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, answers), 1)

    side = min(max(0.5 * count + 1.6, 4), 14)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, np.nan)
    largest = np.nanmax(shares) if count > 1 else 0
    colours = axes.imshow(shares, cmap="Reds", vmin=0, vmax=largest or 1)
    axes.set_facecolor("0.88")  # seen through the diagonal
    figure.colorbar(colours, ax=axes, label="share of the class", shrink=0.8, format="{x:.1%}")
    if count <= MOST_NUMBERS:
        for row, column in np.argwhere(table):
            dark = row != column and shares[row, column] > 0.6 * largest
            axes.text(
                column,
                row,
                f"{table[row, column]:,}",
                ha="center",
                va="center",
                fontsize=8,
                color="w" if dark else "k",
            )
        words = list(names) if names is not None else list(map(str, range(count)))
        turned = 0 if max(map(len, words)) <= 3 else 60
        axes.set_xticks(
            range(count),
            words,
            rotation=turned,
            ha="center" if not turned else "right",
            rotation_mode="anchor",
        )
        axes.set_yticks(range(count), words)
    right = int(np.trace(table))
    axes.set(
        xlabel="answer",
        ylabel="class",
        title=f"{right:,} of {len(labels):,} right ({right / len(labels):.2%})",
    )
    return save_figure(figure, path)
