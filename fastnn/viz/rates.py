"""Draw a learning-rate range test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn.viz._drawing import NOISE, TRAINING, VALIDATION, Array, heading, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_rates(rates: Array, losses: Array, smoothed: Array, suggestion: float | None) -> Figure:
    """Draw losses (N,), also smoothed, over the learning rates (N,), with a mark at the suggested rate."""
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=NOISE, linewidth=0.8, label="each update")
    axes.plot(rates, smoothed, color=TRAINING, label="smoothed")
    labels = ["each update", "smoothed"]
    if suggestion is not None:
        labels.append(f"suggestion {suggestion:.2g}")
        axes.axvline(suggestion, color=VALIDATION, linestyle="--", label=labels[-1])
    low, high = float(smoothed.min()), float(smoothed.max())
    start = float(smoothed[0])
    # The losses at the end, of a diverging training, would press the interesting part to the bottom.
    top = min(high, start + 0.5 * (start - low)) if start > low else high
    room = 0.08 * (top - low) or 0.1
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - room, top + room))
    axes.grid(alpha=0.3)
    heading(axes, "Learning-rate range test", labels)
    return figure
