"""Draw the trials of a hyper-parameter search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastnn.viz._drawing import BLUE, NOISE, ORANGE, heading, new_figure, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_trials(values: Sequence[tuple[str, float]], *, name: str, mode: str, log: bool = False) -> Figure:
    """Draw the (state, value) of each trial, and the best value so far of the complete ones.

    `mode` is "max" or "min". Raises ValueError if no trial has a finite value.
    """
    drawn = [
        (number, state == "complete", value)
        for number, (state, value) in enumerate(values, 1)
        if math.isfinite(value)
    ]
    if not drawn:
        raise ValueError("no trial has a value: there is nothing to draw")
    figure = new_figure(6, 3.5)
    axes = figure.add_subplot()
    for complete, marker, colour, label in ((True, "o", BLUE, "complete"), (False, "x", NOISE, "pruned")):
        chosen = [(number, value) for number, done, value in drawn if done == complete]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), marker, color=colour, label=label, markersize=5)
    finished = [(number, value) for number, done, value in drawn if done]
    if finished:
        numbers, reached = zip(*finished, strict=True)
        best = (np.maximum if mode == "max" else np.minimum).accumulate(reached)
        axes.step([*numbers, len(values)], [*best, best[-1]], where="post", color=ORANGE, label="best so far")
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("trial")
    axes.set_ylabel(name)
    whole_numbers(axes, len(values))
    heading(axes, "trials", axes.get_legend_handles_labels()[1])
    return figure
