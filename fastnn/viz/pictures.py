"""Draw sample images: of each class, with augmentation, and those that a model misclassifies."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import Array, finish, new_figure, shortened, wrapped


def save_classes(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    count: int = 10,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw the first images of each class, one row per class.

    Args:
        x: Images (N, H, W), (N, H, W, 1) or (N, H, W, 3), uint8 or floats. Floats of colour images are
            clipped to [0, 1]; grey images are scaled from their smallest to their largest value.
        y: Labels, integers (N,).
        path: Picture to write (.png, .svg, .pdf).
        count: Number of images per class.
        names: Names of the classes. Default: their numbers.

    Returns:
        The path of the picture.

    Raises:
        ValueError: If x has another shape, or if there are no images.
        ImportError: If matplotlib is missing.
    """
    images, labels = images_of(x), np.asarray(y)
    classes = np.unique(labels)
    rows = [images[labels == label][:count] for label in classes]
    titles = [shortened(_name(label, names), 20) for label in classes]
    shown = max(map(len, rows), default=0)
    images_of_each = "The first image" if shown == 1 else f"The first {shown} images"
    return _rows(rows, titles, path, title=f"{images_of_each} of each class")


def save_augmented(
    x: npt.ArrayLike,
    augment: Callable[..., Array],
    path: str | os.PathLike[str],
    *,
    versions: int = 8,
    seed: int = 0,
) -> Path:
    """Draw each image beside augmented versions of it, one row per image, and return the path of the picture.

    `x` has a few images, as in `save_classes`. `augment(images, seed=...)` returns augmented images of the
    same shape; it is called `versions` times, with the seeds `seed`, `seed` + 1 and so on. Raises as
    `save_classes`.
    """
    images = images_of(x)
    augmented = [images_of(augment(images, seed=seed + number)) for number in range(versions)]
    rows = [np.stack([image, *(version[row] for version in augmented)]) for row, image in enumerate(images)]
    return _rows(rows, None, path, columns=["original", *([""] * versions)], title=repr(augment))


def save_mistakes(
    x: npt.ArrayLike,
    outputs: npt.ArrayLike,
    y: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    most: int = 40,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw the images that a model misclassifies, the most confident mistakes first.

    Above each image are the true class, the predicted class and the softmax probability of the latter.

    Args:
        x: Images, as in `save_classes`.
        outputs: Logits of the model, (N, C).
        y: True labels, integers (N,).
        path: Picture to write (.png, .svg, .pdf).
        most: Largest number of images to draw.
        names: Names of the classes. Default: their numbers.

    Returns:
        The path of the picture.

    Raises:
        ValueError: If the shapes do not fit together.
        ImportError: If matplotlib is missing.
    """
    images, logits, labels = images_of(x), np.asarray(outputs, np.float64), np.asarray(y)
    if logits.ndim != 2 or len(logits) != len(images) or labels.shape != (len(images),):
        raise ValueError(
            "x, outputs and y must have the shapes (N, ...), (N, C) and (N,), not "
            f"{images.shape}, {logits.shape} and {labels.shape}"
        )
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    confidence = probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    pairs = [
        tuple(shortened(_name(label, names), 13) for label in (labels[index], predicted[index]))
        for index in worst
    ]
    # Long names do not fit beside each other above an image of 1.15 inches.
    arrow = " → " if max((len(true + found) for true, found in pairs), default=0) <= 12 else " →\n"
    across = min(10, max(len(worst), 1))
    down = math.ceil(max(len(worst), 1) / across)
    figure = new_figure(max(1.15 * across, 5), (1.45 + 0.15 * arrow.count("\n")) * down + 0.5)
    figure.suptitle(
        f"{len(wrong):,} of {len(labels):,} misclassified: true → predicted class, probability", fontsize=11
    )
    for axes in figure.subplots(down, across, squeeze=False).flat:
        axes.set_axis_off()
    for axes, index, pair in zip(figure.axes, worst, pairs, strict=False):
        axes.imshow(images[index], cmap="gray_r")
        axes.set_title(f"{arrow.join(pair)}\n{confidence[index]:.0%}", fontsize=8, parse_math=False)
    return finish(figure, path)


def _rows(
    rows: Sequence[Array],
    titles: Sequence[str] | None,
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] = (),
    title: str = "",
) -> Path:
    """Draw rows of images, with a title on the left of each row and above each column."""
    if not rows or not max(map(len, rows)):
        raise ValueError("there are no images to draw")
    # More than 20 rows are put side by side, because a picture 80 inches high can hardly be looked at.
    blocks = math.ceil(len(rows) / MOST_ROWS)
    down, across = math.ceil(len(rows) / blocks), max(map(len, rows))
    beside = max(0.3, 0.11 * max(map(len, titles or [""])))  # room for the titles of the rows, in inches
    cell = min(0.8, 24 / (blocks * across))
    width = max(blocks * (cell * across + beside), 3.5)
    figure = new_figure(width, cell * down + 0.7)
    figure.suptitle(wrapped(title, width, 10), fontsize=10, parse_math=False)
    panels = figure.subfigures(1, blocks, squeeze=False)[0]
    for number, panel in enumerate(panels):
        part = rows[number * down : (number + 1) * down]
        grid = panel.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for place, (row, images) in enumerate(zip(grid, part, strict=False)):
            for axes, image in zip(row, images, strict=False):
                axes.imshow(image, cmap="gray_r")
            if titles is not None:
                row[0].set_ylabel(
                    titles[number * down + place],
                    rotation=0,
                    ha="right",
                    va="center",
                    fontsize=9,
                    parse_math=False,
                )
        for axes, heading in zip(grid[0], columns, strict=False):
            axes.set_title(heading, fontsize=8)
    return finish(figure, path)


MOST_ROWS = 20


def _name(label: int, names: Sequence[str] | None) -> str:
    return str(label) if names is None else names[int(label)]


def images_of(x: npt.ArrayLike) -> Array:
    """Convert images to a form that matplotlib draws: (N, H, W), or (N, H, W, 3) with floats in [0, 1]."""
    images = np.asarray(x)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise ValueError(
            f"images must have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), not {images.shape}"
        )
    return np.clip(images, 0, 1) if images.ndim == 4 and images.dtype.kind == "f" else images
