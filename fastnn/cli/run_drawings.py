"""The pictures and lists of mistakes that `fastnn train` adds to the results of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastnn import metrics, viz
from fastnn._validation import Array
from fastnn.cli.description import Description
from fastnn.cli.named_data import Part
from fastnn.cli.own_settings import FolderSettings
from fastnn.cli.run_folder import Results
from fastnn.cli.settings import Settings
from fastnn.files import write_atomic
from fastnn.history import History
from fastnn.layers import Sequential
from fastnn.prediction import probabilities
from fastnn.tables import csv_text

CURVES, IMAGES, CONFUSION, MISTAKES = "curves.png", "weights.png", "confusion.png", "mistakes.png"
IMPORTANCE, PREDICTIONS, WRONG_ROWS = "importance.png", "predictions.png", "mistakes.csv"

# The importance of a column takes a prediction for each column: within these bounds, less than a second.
MOST_ROWS, MOST_COLUMNS, MOST_BARS = 1000, 200, 30


def draw_training(results: Results, model: Sequential, history: History, about: Description) -> None:
    """Draw the curves and, if the samples are images, the weights of the first layer."""
    if history.updates["loss"]:
        results.decorate(CURVES, lambda path: viz.save_curves(history, path))
    first = next(iter(model.parameters())).value
    if about.is_image and np.isfinite(first).all():  # weights of a diverged run may have no colour
        results.decorate(IMAGES, lambda path: draw_first_layer(first, about, path))


def draw_first_layer(weights: Array, about: Description, path: Path) -> Path:
    """Draw the weights of a dense layer, (in, out), or a convolution, (R, S, C, O), that takes images."""
    if weights.ndim == 4 and weights.shape[2] == 1:
        return viz.save_weights(
            weights.reshape(-1, weights.shape[3]), path, image_shape=(weights.shape[0], weights.shape[1])
        )
    if weights.ndim == 4 or about.channels == 3:
        return viz.save_filters(weights.reshape(*about.inputs, -1) if weights.ndim == 2 else weights, path)
    return viz.save_weights(weights, path, image_shape=(about.inputs[0], about.inputs[1]))


def viewable(settings: Settings, images: Array) -> Array:
    """The images as `fn.viz` must get them: it draws grey ones as ink on paper, which suits no photograph."""
    is_grey_photo = isinstance(settings, FolderSettings) and images.ndim == 3
    return np.repeat(images[..., np.newaxis], 3, axis=3) if is_grey_photo else images


def draw_test(
    results: Results,
    settings: Settings,
    model: Sequential,
    test: Part,
    about: Description,
    rows: Array | None,
) -> None:
    """Draw what the network does with the test set, `test` = (x, y) with labels as in `Description.ready`.

    Images: the confusion matrix and the misclassified images. A table: the confusion matrix, or predicted
    against true values, and the importance of the columns; the misclassified rows in a CSV file, where `rows`
    are the numbers of the rows.
    """
    x, y = test
    outputs = model.predict(x)
    if about.classes is None:
        results.decorate(PREDICTIONS, lambda path: draw_predictions(outputs, y, about, path))
    else:
        results.decorate(CONFUSION, lambda path: draw_confusion(outputs, y, about, path))
    if about.is_image:
        results.decorate(MISTAKES, lambda path: draw_mistakes(settings, x, outputs, y, about, path))
        return
    if about.classes is not None and rows is not None:
        results.decorate(WRONG_ROWS, lambda path: _write_mistakes(outputs, y, about, rows, path))
    if len(about.columns) > 1:
        results.decorate(IMPORTANCE, lambda path: draw_importance(model, test, about, path))


def draw_confusion(outputs: Array, y: Array, about: Description, path: Path) -> Path:
    """Draw the confusion matrix of the logits (N, C) for the labels (N,)."""
    return viz.save_confusion(y, outputs.argmax(axis=1), path, classes=about.outputs, names=about.names)


def draw_mistakes(
    settings: Settings, x: Array, outputs: Array, y: Array, about: Description, path: Path
) -> Path:
    """Draw the misclassified images."""
    return viz.save_mistakes(viewable(settings, x), outputs, y, path, names=about.names)


def draw_predictions(outputs: Array, y: Array, about: Description, path: Path) -> Path:
    """Draw predicted against true values, both in the units of the label."""
    return viz.save_predictions(
        about.in_units(y), about.in_units(outputs), path, label=about.label or "value"
    )


def draw_importance(model: Sequential, test: Part, about: Description, path: Path) -> Path:
    """Draw how much worse the network is on the test set when the values of one column are shuffled."""
    found = importance(model, test, about)[:MOST_BARS]
    score = "R2" if about.classes is None else "accuracy"
    number = f"The {len(found)} most important of {len(about.columns):,} columns"
    title = number if len(found) < len(about.columns) else "Importance of the columns"
    return viz.save_bars(
        found, path, title=f"{title}: loss of {score} when a column is shuffled", label=f"loss of {score}"
    )


def importance(model: Sequential, test: Part, about: Description) -> list[tuple[str, float]]:
    """The columns with the decrease of the score when their values are shuffled, the largest first.

    The score is the accuracy or R2 (permutation importance, Breiman 2001, "Random forests"). Of many rows or
    columns, the first ones are used, and the columns whose weights in the first layer are largest.
    """
    x, y = (values[:MOST_ROWS] for values in test)
    weights = next(iter(model.parameters())).value
    ends = np.cumsum([column.width for column in about.columns])
    norms = [
        float(np.linalg.norm(weights[end - column.width : end]))
        for column, end in zip(about.columns, ends, strict=True)
    ]
    chosen = np.sort(np.argsort(norms)[::-1][:MOST_COLUMNS])
    score = metrics.r2 if about.classes is None else metrics.accuracy
    before = score(model.predict(x), y)
    generator = np.random.default_rng(0)
    found = []
    for index in chosen:
        column, end = about.columns[index], ends[index]
        shuffled, place = x.copy(), slice(end - column.width, end)
        shuffled[:, place] = x[generator.permutation(len(x)), place]
        found.append((column.name, float(before - score(model.predict(shuffled), y))))
    return sorted(found, key=lambda pair: -pair[1])


def _write_mistakes(outputs: Array, y: Array, about: Description, rows: Array, path: Path) -> None:
    """Write the misclassified rows, the most confident first: row, true and predicted class, probability."""
    assert about.classes is not None
    predicted = outputs.argmax(axis=1)
    confidence = probabilities(outputs, False).max(axis=1)
    wrong = np.flatnonzero(predicted != y)
    lines = [
        (rows[i], about.classes[y[i]], about.classes[predicted[i]], f"{confidence[i]:.4f}")
        for i in wrong[np.argsort(-confidence[wrong], kind="stable")]
    ]
    text = csv_text(["row", "true", "predicted", "probability"], lines)
    write_atomic(path, text.encode())
