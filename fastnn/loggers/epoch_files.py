"""`CSVLogger` and `JSONLogger`: one line per epoch."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastnn.files import user_path, write_atomic
from fastnn.loggers.appending import Complaints, append_whole
from fastnn.training.callbacks import Callback, Training

Row = Mapping[str, Any]


class _EpochFile(Callback):
    """Base class: one line for each epoch.

    A training starts the file anew; a resumed training keeps the epochs before, and drops later ones, which
    it repeats.
    """

    in_first_process_only = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = user_path(os.fspath(path))
        self._rows: list[Row] = []
        self._validated: Row = {}
        self._complaints = Complaints(self._path)

    def on_train_begin(self, training: Training) -> None:
        self._started = time.perf_counter()
        self._complaints = Complaints(self._path)
        self._rows, self._validated = [], {}
        if training.updates > 0 and self._path.is_file():
            text = self._path.read_text("utf-8", "replace")
            whole = text[: text.rfind("\n") + 1]  # a killed process may leave half a line
            self._rows = [row for row in self._parse(whole) if _epoch(row) in range(1, training.epoch + 1)]
        # The first write raises: an unusable path is noticed before the training.
        self._is_complete = False
        self._write()

    def on_epoch_begin(self, training: Training) -> None:
        self._started = time.perf_counter()

    def on_validation(self, training: Training, values: Mapping[str, float]) -> None:
        self._validated = dict(values)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        rates = training.history.updates.get("lr")
        row = {
            "epoch": training.epoch + 1,
            "updates": training.updates,
            "seconds": round(time.perf_counter() - self._started, 3),
            "lr": rates[-1] if rates else training.optimizer.lr,
            **{name: float(value) for name, value in {**values, **self._validated, **values}.items()},
        }
        self._validated = {}
        self._is_complete = self._is_complete and self._fits(row)
        self._rows.append(row)
        try:
            self._write()
        except OSError as error:
            self._is_complete = False
            self._complaints.tell(error)

    def _write(self) -> None:
        """Append the last row, or write all of them if the file lacks others."""
        if self._is_complete:
            append_whole(self._path, self._lines(self._rows[-1:]).encode())
        else:
            write_atomic(self._path, (self._header() + self._lines(self._rows)).encode())
            self._is_complete = True

    def _fits(self, row: Row) -> bool:
        """Whether the file can hold another row as it is."""
        return True

    def _header(self) -> str:
        return ""

    def _lines(self, rows: Iterable[Row]) -> str:
        raise NotImplementedError

    def _parse(self, text: str) -> Iterable[Row]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self._path)!r})"


def _epoch(row: Row) -> int:
    """The number of the epoch of a row, from 1; 0 for a line that is no row."""
    try:
        return int(row["epoch"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return 0


class CSVLogger(_EpochFile):
    """Writes a line per epoch to a CSV file, for spreadsheets and `pandas.read_csv`.

    The columns are the number of the epoch, from 1, the updates made, the seconds of the epoch, the learning
    rate, and the values of the history: loss, accuracy, val_loss, metrics. With `validate_every`, the results
    are those of the last validation of the epoch. NaN and inf are "nan" and "inf". A
    value that appears later adds a column.

    Each epoch is appended by one write: a killed training leaves whole lines. A new training starts the file
    anew; one that resumes from a checkpoint continues it, without repeated epochs. If the disk is full, a
    warning says so, the training goes on, and the missing lines follow when there is space.

    >>> fn.fit(model, (x, y), callbacks=fn.CSVLogger("log.csv"))

    `fit` raises OSError before the first update if the file cannot be written.
    """

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def _fits(self, row: Row) -> bool:
        return bool(self._rows) and row.keys() <= set(self._columns())

    def _header(self) -> str:
        columns = self._columns()
        return _csv_line(columns) if columns else ""

    def _lines(self, rows: Iterable[Row]) -> str:
        columns = self._columns()
        return "".join(_csv_line([row.get(name, "") for name in columns]) for row in rows)

    def _parse(self, text: str) -> Iterable[Row]:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:  # a cell that is too long
                continue
            yield {name: value for name, value in row.items() if name is not None and value}


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


class JSONLogger(_EpochFile):
    """Writes a line of JSON per epoch to a file, for programs and `pandas.read_json(path, lines=True)`.

    Each line is an object with the values that `CSVLogger` describes, and the file is written as there. JSON
    has no NaN and no inf: both are null.

    >>> fn.fit(model, (x, y), callbacks=fn.JSONLogger("log.jsonl"))
    """

    def _lines(self, rows: Iterable[Row]) -> str:
        return "".join(json.dumps(_finite(row), allow_nan=False) + "\n" for row in rows)

    def _parse(self, text: str) -> Iterable[Row]:
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def _finite(row: Row) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
