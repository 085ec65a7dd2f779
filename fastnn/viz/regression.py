"""Draw the predictions of a regression."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import BLUE, finish, new_figure, shortened


def save_predictions(
    y: npt.ArrayLike, predicted: npt.ArrayLike, path: str | os.PathLike[str], *, label: str = "value"
) -> Path:
    """Draw predicted against true values; on the grey line, a prediction is exact.

    Args:
        y: True values (N,).
        predicted: Predicted values (N,).
        path: Picture to write (.png, .svg, .pdf).
        label: Name of the quantity.

    Returns:
        The path of the picture.

    Raises:
        ValueError: If the values are empty, differ in shape, or are not finite.
        ImportError: If matplotlib is missing.
    """
    true, found = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    if true.ndim != 1 or true.shape != found.shape or not true.size:
        raise ValueError(
            f"y and predicted must have the same shape (N,), N >= 1, not {true.shape}, {found.shape}"
        )
    if not (np.isfinite(true).all() and np.isfinite(found).all()):
        raise ValueError("y and predicted must be finite")
    figure = new_figure(5.6, 5.4)
    axes = figure.add_subplot()
    ends = min(true.min(), found.min()), max(true.max(), found.max())
    axes.plot(ends, ends, color="0.7", zorder=1)
    axes.scatter(true, found, s=14 if len(true) < 1000 else 4, color=BLUE, alpha=0.5, linewidths=0, zorder=2)
    name = shortened(label, 40)
    axes.set_xlabel(f"true {name}", parse_math=False)
    axes.set_ylabel(f"predicted {name}", parse_math=False)
    axes.grid(alpha=0.3)
    error = float(np.abs(true - found).mean())
    figure.suptitle(f"{len(true):,} predictions, mean absolute error {error:.4g}", fontsize=11)
    return finish(figure, path)
