"""Apply a trained network to new data: `fastnn predict` and `fastnn evaluate`.

The new data are a CSV file, a picture, a folder of pictures, or a NumPy file (.npy) with samples in rows.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import metrics
from fastnn._validation import Array, choose
from fastnn.cli.description import Column, Description
from fastnn.cli.own_data import load, note, notes_printed
from fastnn.cli.own_settings import TableSettings
from fastnn.cli.run_pictures import settings_and_model
from fastnn.cli.settings import Settings
from fastnn.cli.table_data import features_of, labels_of, nearest, text_columns
from fastnn.data import DatasetError, DatasetNotFoundError
from fastnn.data.csv_columns import CsvColumns, read_columns
from fastnn.data.image_files import by_numbers, is_picture, pictures_below
from fastnn.data.images import read_image
from fastnn.files import write_atomic
from fastnn.layers import Sequential
from fastnn.prediction import probabilities
from fastnn.tables import csv_text

FORMATS = ("csv", "kaggle")
KAGGLE = ("ImageId", "Label")  # of the competition "Digit Recognizer"
MOST_EXTRA = 5  # columns to name in a note


@dataclass(frozen=True)
class Samples:
    """New data: the inputs (N, ...), a name for each sample, and the labels, if there are any."""

    x: Array
    id_name: str
    ids: Sequence[object]
    labels: Array | None = None


def predict(
    run: Path,
    data: Path,
    *,
    out: Path | None = None,
    id_column: str | None = None,
    with_probabilities: bool = False,
    form: str = "csv",
) -> None:
    """Write a CSV file with a prediction for each sample; with labels in the data, print the score.

    Args:
        run: Folder of the run.
        data: The new data.
        out: File to write, atomically. Default: the output stream.
        id_column: Column of a CSV file that names the rows in the result. Default: row numbers from 1, or the
            names of the pictures.
        with_probabilities: Add a column with the probability of each class.
        form: "csv", or "kaggle": the columns ImageId and Label.

    Raises:
        FileNotFoundError: If the folder has no run, or there is no folder for `out`.
        DatasetNotFoundError: If the data are missing.
        DatasetError: If the data are damaged or do not fit the network.
        ValueError: If an argument is invalid, or if a column is missing.
    """
    choose(form, dict.fromkeys(FORMATS), "format")
    if form == "kaggle" and id_column is not None:
        raise ValueError("--format kaggle counts the rows, so it takes no --id")
    if out is not None and not out.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(out.parent))
    settings, about, model = settings_and_model(run)
    if with_probabilities and about.classes is None:
        raise ValueError("--probabilities is for classification: this run predicts a number")
    with notes_printed():
        samples = read_samples(settings, about, data, id_column)
        outputs = _outputs(model, samples.x)
    header, columns = _result(about, samples, outputs, with_probabilities)
    if form == "kaggle":
        header, columns = list(KAGGLE), [range(1, len(outputs) + 1), columns[1]]
    text = csv_text(header, list(zip(*columns, strict=True)))
    if out is None:
        print(text, end="")
    else:
        write_atomic(out, text.encode())
        print(f"{len(outputs):,} predictions written to {out}")
    if samples.labels is not None:
        print(_score(about, outputs, samples.labels), file=sys.stderr if out is None else sys.stdout)


def evaluate(run: Path, data: Path | None, *, download: bool = True) -> None:
    """Print how well the network of a run does on labelled data: by default, on the test set of the run.

    Raises as `predict`, and ValueError if the data have no labels.
    """
    settings, about, model = settings_and_model(run)
    with notes_printed():
        if data is None:
            loaded = load(settings, download=download, known=about)
            (x, _), labels = about.ready(loaded.test), loaded.test[1]
        else:
            samples = read_samples(settings, about, data, None)
            if samples.labels is None:
                wanted = (
                    "sub-folders named like the classes" if about.label is None else f"column {about.label!r}"
                )
                raise ValueError(f"{data} has no labels ({wanted}): fastnn predict needs none")
            x, labels = samples.x, samples.labels
        outputs = _outputs(model, x)
    print(_score(about, outputs, labels))
    if about.classes is not None:
        print(metrics.report(outputs, labels, names=about.names))


def _outputs(model: Sequential, x: Array) -> Array:
    """The outputs of the network. Raises ValueError if a sample is so far off that they are not finite."""
    outputs = model.predict(x)
    bad = ~np.isfinite(outputs).all(axis=1)
    if bad.any():
        raise ValueError(
            f"the outputs for row {int(bad.argmax()) + 1} are not finite: its values are far outside the "
            "range of the training data"
        )
    return outputs


def _result(
    about: Description, samples: Samples, outputs: Array, with_probabilities: bool
) -> tuple[list[str], list[Sequence[object]]]:
    """The header and the columns of the result."""
    header = [samples.id_name, about.label or "class"]
    if about.classes is None:
        return header, [samples.ids, [f"{value:.7g}" for value in about.in_units(outputs)]]
    columns: list[Sequence[object]] = [samples.ids, [about.classes[i] for i in outputs.argmax(axis=1)]]
    if with_probabilities:
        header += [f"p({label})" for label in about.classes]
        columns += [[f"{value:.6f}" for value in column] for column in probabilities(outputs, False).T]
    return header, columns


def _score(about: Description, outputs: Array, labels: Array) -> str:
    """The accuracy, or R2 and the mean absolute error, in words."""
    if about.classes is not None:
        right = int((outputs.argmax(axis=1) == labels).sum())
        return f"accuracy {right / len(labels):.4f}: {right:,} of {len(labels):,} correct"
    values = about.in_units(outputs)
    error = f"mean absolute error {metrics.mean_absolute_error(values, labels):.4g}"
    return error if len(labels) < 2 else f"R2 {metrics.r2(values, labels):.4f}, {error}"


def read_samples(settings: Settings, about: Description, path: Path, id_column: str | None) -> Samples:
    """Read new data in the form that the network takes.

    Raises as `predict`.
    """
    if not path.exists():
        raise DatasetNotFoundError(f"{path}: no such file or folder")
    pictures = path.is_dir() or is_picture(path)
    if id_column is not None and (pictures or path.suffix.lower() == ".npy"):
        raise ValueError("--id names a column of a CSV file: pictures and arrays have none")
    if pictures:
        return _pictures(about, path)
    if path.suffix.lower() == ".npy":
        return _array(about, path)
    return _table(settings, about, path, id_column)


def _table(settings: Settings, about: Description, path: Path, id_column: str | None) -> Samples:
    """Read a CSV file. Its columns are found by name if the network was trained on a CSV file."""
    as_text = text_columns(about)
    if id_column is not None and id_column not in [about.label, *(column.name for column in about.columns)]:
        as_text.add(id_column)
    header = settings.header if isinstance(settings, TableSettings) else None
    table = read_columns(path, header=header, categorical=as_text)
    if id_column is not None and id_column not in table.values:
        raise ValueError(f"{path} has no column {id_column!r} for --id{nearest(id_column, table.values)}")
    if not about.columns:
        about = _with_pixels(about, table, id_column)
    x, notes = features_of(about, table)
    used = {column.name for column in about.columns} | {about.label, id_column}
    if extra := [name for name in table.values if name not in used and name.strip()]:
        shown = ", ".join(extra[:MOST_EXTRA]) + (", ..." if len(extra) > MOST_EXTRA else "")
        notes.append(f"{len(extra)} column{'s' * (len(extra) > 1)} of {path} not used: {shown}")
    note(*notes)
    labels = None
    if about.label in table.values:
        try:
            labels = labels_of(about, table)
        except DatasetError as error:
            note(f"no score: {error}")
    ids: Sequence[object] = range(1, len(x) + 1)
    if id_column is not None:
        if id_column not in as_text:  # the network takes its numbers: read their spelling apart
            table = read_columns(path, header=header, categorical=[id_column])
        ids = _texts(table.values[id_column])
    return Samples(about.standardized(x), id_column or "row", ids, labels)


def _with_pixels(about: Description, table: CsvColumns, id_column: str | None) -> Description:
    """The description with all columns of a table, in their order, as pixels; "label" has the labels."""
    if not about.is_image:
        raise ValueError("the network takes neither columns nor images")
    label = next((name for name in table.values if name.lower() == "label"), None)
    names = [name for name in table.values if name not in (label, id_column)]
    pixels = int(np.prod(about.inputs))
    if len(names) != pixels:
        raise ValueError(
            f"{table.file} has {len(names)} columns beside the label, but the images of this run "
            f"have {pixels} pixels: the columns must be the pixels, row by row"
        )
    return replace(about, columns=tuple(map(Column, names)), label=label)


def _texts(cells: Array) -> list[str]:
    return ["" if cell is None else str(cell) for cell in cells]


def _pictures(about: Description, path: Path) -> Samples:
    """Read a picture, or all pictures below a folder; sub-folders named like classes give the labels."""
    if not about.is_image:
        raise ValueError(
            f"{path} has pictures, but the network was trained on the columns of a table: pass a CSV file"
        )
    files = [path] if path.is_file() else [file for file in pictures_below(path) if not _hidden(file, path)]
    files.sort(key=lambda file: (by_numbers(file.parent), by_numbers(file)))
    if not files:
        raise DatasetNotFoundError(f"there are no pictures in {path}")
    images = []
    for file in files:
        try:
            images.append(read_image(file, (about.inputs[0], about.inputs[1]), about.channels == 1))
        except ImportError:
            raise
        except Exception as error:  # damaged files make Pillow raise exceptions of many types
            raise DatasetError(f"{file} cannot be read: {error}") from error
    root = path if path.is_dir() else path.parent
    names = [file.relative_to(root) for file in files]
    index = {str(label): number for number, label in enumerate(about.classes or ())}
    folders = [name.parts[0] if len(name.parts) == 2 else "" for name in names]
    labels = np.array([index[each] for each in folders]) if all(each in index for each in folders) else None
    return Samples(np.stack(images), "file", [name.as_posix() for name in names], labels)


def _hidden(file: Path, root: Path) -> bool:
    """Whether a name below `root` starts with a dot: macOS adds ._name to archives, which has no picture."""
    return any(name.startswith(".") for name in file.relative_to(root).parts)


def _array(about: Description, path: Path) -> Samples:
    """Read a NumPy file of samples: shape (N, ...), (N, values per sample), or one sample."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DatasetError(f"{path} is no NumPy array of numbers: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        raise DatasetError(f"{path} is no NumPy array of numbers")
    inputs = about.inputs if about.is_image else (len(about.columns),)
    if array.shape == inputs:
        array = array[np.newaxis]
    if (
        not array.ndim
        or array.shape[1:] not in (inputs, (*inputs, 1), (int(np.prod(inputs)),))
        or not len(array)
    ):
        shape = ", ".join(map(str, inputs))
        raise DatasetError(f"{path} has shape {array.shape}, but the network takes (N, {shape})")
    array = array.reshape(len(array), *inputs)
    if not np.isfinite(array).all():
        row = int((~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).argmax())
        raise DatasetError(f"{path} has NaN or inf in sample {row}")
    ids = range(1, len(array) + 1)
    if about.is_image:
        return Samples(array, "row", ids)
    if text := next((column.name for column in about.columns if column.categories is not None), None):
        raise ValueError(f"column {text!r} of this run is text, which an array cannot hold: pass a CSV file")
    values: dict[str, Any] = {
        column.name: array[:, i].astype(np.float64) for i, column in enumerate(about.columns)
    }
    x, _ = features_of(about, CsvColumns(path, values))
    return Samples(about.standardized(x), "row", ids)
