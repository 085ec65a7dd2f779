"""Draw what a trained network looks at: saliency, occlusion, units that speak for a class, embeddings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastnn import insight
from fastnn._validation import choose
from fastnn.feeding import sample_shape
from fastnn.layers import Layer
from fastnn.layers.sequential import flat_layers
from fastnn.viz._drawing import Array, finish, new_figure, shortened
from fastnn.viz.pictures import images_of
from fastnn.viz.weights import draw_mosaic, image_sides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("pca", "tsne")
# Ten colours for ten classes: matplotlib's "tab10".
SPECTRUM = [f"C{number}" for number in range(10)]
MOST_IMAGES = 12
TSNE_NEIGHBOURS = 30  # scikit-learn's default perplexity


def saliency(
    model: Layer,
    x: npt.ArrayLike,
    path: str | os.PathLike[str] | None = None,
    *,
    classes: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    window: int | None = None,
) -> Path | Figure:
    """Draw images beside the absolute gradients of a class's output, and beside the effect of covering parts.

    Each row has an image, the largest absolute gradient over the channels of each pixel (`fn.saliency`), and
    by how much the probability of the class drops where a square is covered (`fn.occlusion`): red where the
    network needs the pixels, blue where they speak against the class.

    Args:
        model: A trained classifier.
        x: Images (N, H, W), (N, H, W, 1) or (N, H, W, 3), at most 12.
        path: Picture to write (.png, .svg, .pdf).
        classes: The class of each image or of all, as for `fn.saliency`. Default: the predicted ones.
        names: Names of the classes. Default: `model.classes`, or their numbers.
        window: Side of the squares in pixels, as for `fn.occlusion`.

    Returns:
        The path of the picture; without a path, the matplotlib figure, which a notebook shows.

    Raises:
        ValueError: If images or classes do not fit.
        ImportError: If matplotlib is missing.
    """
    x = np.asarray(x)
    shown = images_of(x)
    if not 0 < len(x) <= MOST_IMAGES:
        raise ValueError(f"saliency draws 1 to {MOST_IMAGES} images, not {len(x)}")
    probabilities = model.predict_proba(x)
    chosen = insight.numbers_of(model, classes, probabilities, slice(None), len(x))
    gradients = np.abs(insight.saliency(model, x, classes=classes)).reshape(*x.shape[:3], -1).max(axis=3)
    drops = insight.occlusion(model, x, classes=classes, window=window)

    figure = new_figure(5.4, 1.5 * len(x) + 0.6)
    grid = figure.subplots(len(x), 3, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], ("image", "gradient", "drop if covered"), strict=True):
        axes.set_title(title, fontsize=9)
    bound = float(np.abs(drops).max()) or 1.0
    for row, number in enumerate(chosen):
        image, gradient, drop = grid[row]
        image.imshow(shown[row], cmap="gray_r")
        gradient.imshow(gradients[row], cmap="magma")
        last = drop.imshow(drops[row], cmap="RdBu_r", vmin=-bound, vmax=bound)
        label = f"{shortened(_name(model, int(number), names), 16)}\n{probabilities[row, number]:.0%}"
        image.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9, parse_math=False)
    figure.colorbar(last, ax=grid[:, 2], label="drop of the probability", shrink=min(1.0, 3 / len(x)))
    return finish(figure, path)


def top_units(
    model: Layer,
    cls: object,
    path: str | os.PathLike[str] | None = None,
    *,
    k: int = 10,
    image_shape: tuple[int, int] | None = None,
) -> Path | Figure:
    """Draw the weights of the hidden units that speak most for a class (`fn.top_units`), as images.

    The title of an image is the number of the unit and its weight on the class. If there are several hidden
    layers, an image is the product of the weight matrices up to the unit, without the activations.

    Args:
        model: A network of dense layers on images.
        cls: The class, as for `fn.top_units`.
        path: Picture to write (.png, .svg, .pdf).
        k: Number of units.
        image_shape: Height and width of an image. Default: the shape of the samples in the training, or
            square.

    Returns:
        The path of the picture; without a path, the matplotlib figure.

    Raises:
        ValueError: If the network has no hidden layer or other layers with weights than `Linear`, or if the
            class or the image shape does not fit.
        ImportError: If matplotlib is missing.
    """
    units = insight.top_units(model, cls, k)
    *hidden, _ = insight.dense_layers(model)
    others = [layer for layer in flat_layers(model) if layer.parameters()]
    if not hidden or len(others) > len(hidden) + 1:
        raise ValueError(f"top_units draws networks of at least two Linear layers, not {model!r:.200}")
    weights = hidden[0].weight.value
    for layer in hidden[1:]:
        weights = weights @ layer.weight.value
    trained_on = sample_shape(model)
    if image_shape is None and trained_on is not None and len(trained_on) == 2:
        image_shape = (trained_on[0], trained_on[1])
    height, width = image_sides(len(weights), image_shape)
    images = weights[:, [unit.number for unit in units]].T.reshape(-1, height, width)
    titles = [f"{unit.number}: {unit.weight:+.2g}" for unit in units]
    title = f"Units with the largest weights on class {shortened(str(cls), 30)} (number: weight)"
    return finish(draw_mosaic(images, None, titles, title), path)


def embedding(
    features: npt.ArrayLike,
    y: npt.ArrayLike | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    method: str = "pca",
    seed: int = 0,
) -> Path | Figure:
    """Draw samples as points in two dimensions, by scikit-learn's PCA or t-SNE of their features.

    >>> z = fn.features(model, x_test[:1000], upto=-2)
    >>> fn.viz.embedding(z, y_test[:1000], "embedding.png", method="tsne")

    Args:
        features: Features (N, ...), for example outputs of a hidden layer. t-SNE of 1000 samples takes
            seconds.
        y: Labels (N,), which colour the points.
        path: Picture to write (.png, .svg, .pdf).
        method: "pca" or "tsne".
        seed: Seed of t-SNE.

    Returns:
        The path of the picture; without a path, the matplotlib figure.

    Raises:
        ValueError: If the method is unknown, or the shapes do not fit.
        ImportError: If scikit-learn or matplotlib is missing.
    """
    choose(method, dict.fromkeys(METHODS), "method")
    rows = np.asarray(features, np.float64)
    rows = rows.reshape(len(rows), -1)
    labels = None if y is None else np.asarray(y)
    if len(rows) < 2 or (labels is not None and labels.shape != rows.shape[:1]):
        raise ValueError(
            "embedding takes features (N, ...) of at least 2 samples and labels (N,), not "
            f"{rows.shape} and {None if labels is None else labels.shape}"
        )
    points, title = _embedded(rows, method, seed)
    figure = new_figure(6.5, 5)
    axes = figure.add_subplot()
    for place, label in enumerate([None] if labels is None else np.unique(labels)):
        part = points if labels is None else points[labels == label]
        colour = SPECTRUM[place % len(SPECTRUM)]
        name = None if label is None else shortened(str(label), 20)
        axes.scatter(part[:, 0], part[:, 1], s=9, color=colour, label=name)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, loc="left", fontsize=11)
    if labels is not None:
        figure.legend(loc="outside right upper", fontsize=9, markerscale=2, frameon=False)
    return finish(figure, path)


def _embedded(rows: Array, method: str, seed: int) -> tuple[Array, str]:
    """The points (N, 2) for the rows, and the title of the picture."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("embeddings need scikit-learn: pip install 'fastnn-kernels[demo]'") from error
    count = min(2, *rows.shape)
    if method == "pca":
        found = PCA(count, svd_solver="full").fit(rows)
        points = found.transform(rows)
        kept = found.explained_variance_ratio_.sum()
        title = f"PCA of {rows.shape[1]:,} features: {kept:.0%} of the variance"
    else:
        perplexity = min(TSNE_NEIGHBOURS, (len(rows) - 1) / 3)
        start = "pca" if count == 2 else "random"
        tsne = TSNE(2, perplexity=perplexity, init=start, random_state=seed)
        points = tsne.fit_transform(rows)
        title = f"t-SNE of {rows.shape[1]:,} features"
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))), title


def _name(model: Layer, number: int, names: Sequence[str] | None) -> str:
    labels = model.classes if names is None else names
    return str(number) if labels is None else str(labels[number])
