"""Draw learning curves, weights, filters, feature maps, samples and misclassified images.

Each `save_` function writes a picture (.png, .svg, .pdf) and returns its path; each `draw_` function returns
the matplotlib figure, which a notebook shows; the others do the one with a path and the other without. The
functions need matplotlib (the extra `demo`) and import it when they are called; without it they raise
ImportError, which says what to install. `insight` draws what models do; the other modules import nothing of
fastnn but paths.
"""

from fastnn.viz.confusion import save_confusion
from fastnn.viz.curves import draw_bands, draw_bars, draw_curves, save_bands, save_bars, save_curves
from fastnn.viz.insight import embedding, saliency, top_units
from fastnn.viz.lines import draw_lines, save_lines
from fastnn.viz.pictures import save_augmented, save_classes, save_mistakes
from fastnn.viz.regression import save_predictions
from fastnn.viz.surface import loss_surface
from fastnn.viz.weights import save_filters, save_maps, save_weights

__all__ = [
    "draw_bands",
    "draw_bars",
    "draw_curves",
    "draw_lines",
    "embedding",
    "loss_surface",
    "saliency",
    "save_augmented",
    "save_bands",
    "save_bars",
    "save_classes",
    "save_confusion",
    "save_curves",
    "save_filters",
    "save_lines",
    "save_maps",
    "save_mistakes",
    "save_predictions",
    "save_weights",
    "top_units",
]
