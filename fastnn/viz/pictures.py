"""Samples as pictures: of each class, changed at random, and those that a model takes for something else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastnn.viz._drawing import Array, new_figure, save_figure


def save_classes(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    count: int = 10,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw the first `count` images of each class, a row for each, into the picture `path`; returns its path.

    x: images (N, H, W) or (N, H, W, C), y: labels (N,); `names` are those of the classes.
    """
    images, labels = _images(x), np.asarray(y)
    classes = np.unique(labels)
    rows = [images[labels == label][:count] for label in classes]
    titles = [_name(label, names) for label in classes]
    return _rows(rows, titles, path)


def save_augmented(
    x: npt.ArrayLike,
    augment: Callable[..., Array],
    path: str | os.PathLike[str],
    *,
    versions: int = 8,
    seed: int = 0,
) -> Path:
    """Draw images beside `versions` that `augment(images, seed=...)` makes of them; returns the path.

    x: a few images (N, H, W) or (N, H, W, C), a row for each: on the left as it is.
    """
    images = _images(x)
    changed = [_images(augment(images, seed=seed + number)) for number in range(versions)]
    rows = [np.stack([image, *(version[row] for version in changed)]) for row, image in enumerate(images)]
    return _rows(rows, None, path, columns=["as it is", *([""] * versions)], title=repr(augment))


def save_mistakes(
    x: npt.ArrayLike,
    outputs: npt.ArrayLike,
    y: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    most: int = 40,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw the images that a model takes for another class, the surest first, into `path`; returns the path.

    x: images (N, H, W) or (N, H, W, C), outputs: logits (N, C), y: labels (N,). Above each stand the label,
    what the model says and how sure it is, by softmax.
    """
    images, logits, labels = _images(x), np.asarray(outputs, np.float64), np.asarray(y)
    if logits.ndim != 2 or len(logits) != len(images) or labels.shape != (len(images),):
        raise ValueError(
            f"images (N, ...), outputs (N, C) and labels (N,) are wanted, not {images.shape}, {logits.shape} "
            f"and {labels.shape}"
        )
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    said = logits.argmax(axis=1)
    sure = chances[np.arange(len(said)), said]
    wrong = np.flatnonzero(said != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    across = min(10, max(len(worst), 1))
    down = math.ceil(max(len(worst), 1) / across)
    figure = new_figure(max(1.15 * across, 4), 1.45 * down + 0.5)
    figure.suptitle(f"{len(wrong):,} of {len(labels):,} taken for another class: label → answer")
    for axes in figure.subplots(down, across, squeeze=False).flat:
        axes.set_axis_off()
    for axes, index in zip(figure.axes, worst, strict=False):
        axes.imshow(images[index], cmap="gray_r")
        answer = f"{_name(labels[index], names)} → {_name(said[index], names)}"
        axes.set_title(f"{answer}\n{sure[index]:.0%}", fontsize=8)
    return save_figure(figure, path)


def _rows(
    rows: Sequence[Array],
    titles: Sequence[str] | None,
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] = (),
    title: str = "",
) -> Path:
    """Rows of images, with a title on the left of each, and above the columns."""
    if not rows or not max(map(len, rows)):
        raise ValueError("there are no images to draw")
    across = max(map(len, rows))
    figure = new_figure(max(0.8 * across, 3) + 0.8, 0.8 * len(rows) + 0.5)
    if title:
        figure.suptitle(title, fontsize=9)
    grid = figure.subplots(len(rows), across, squeeze=False)
    for number, (row, images) in enumerate(zip(grid, rows, strict=True)):
        for place, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if place < len(images):
                axes.imshow(images[place], cmap="gray_r")
        if titles is not None:
            row[0].set_ylabel(titles[number], rotation=0, ha="right", va="center", fontsize=9)
    for axes, words in zip(grid[0], columns, strict=False):
        axes.set_title(words, fontsize=8)
    return save_figure(figure, path)


def _name(label: int, names: Sequence[str] | None) -> str:
    return str(label) if names is None else names[int(label)]


def _images(x: npt.ArrayLike) -> Array:
    """Images as matplotlib takes them: (N, H, W), or (N, H, W, 3) of bytes or of numbers from 0 to 1."""
    images = np.asarray(x)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise ValueError(f"images (N, H, W) or (N, H, W, 1 or 3) are wanted, not {images.shape}")
    return np.clip(images, 0, 1) if images.ndim == 4 and images.dtype.kind == "f" else images
