"""CSVLogger and JSONLogger write whole lines, continue after a resume, and never end a training."""

import csv
import errno
import io
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import fastnn as fn
from fastnn.loggers.appending import append_whole

KINDS = {"csv": fn.CSVLogger, "json": fn.JSONLogger}


def rows_of(path, kind):
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    if kind == "json":
        return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    with open(path, newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_each_epoch_is_a_line_with_the_values_of_the_history(train, blobs, tmp_path, kind):
    history = train(KINDS[kind](tmp_path / "log"), validation=blobs)
    rows = rows_of(tmp_path / "log", kind)
    assert list(rows[0]) == [
        *("epoch", "updates", "seconds", "lr"),
        *("loss", "accuracy", "val_loss", "val_accuracy"),
    ]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["updates"] for row in rows] == [4, 8, 12]
    for name, curve in history.items():
        assert [row[name] for row in rows] == curve


def test_learning_rate_is_that_of_the_last_update(train, tmp_path, kind):
    history = train(KINDS[kind](tmp_path / "log"), schedule=fn.schedules.Exponential(0.5))
    assert [row["lr"] for row in rows_of(tmp_path / "log", kind)] == history.updates["lr"][3::4]


def test_another_training_starts_the_file_anew(train, tmp_path, kind):
    logger = KINDS[kind](tmp_path / "log")
    for epochs in (3, 2):
        train(logger, epochs=epochs)
        assert len(rows_of(tmp_path / "log", kind)) == epochs


def test_resumed_training_continues_without_repeated_epochs(train, stop, tmp_path, kind):
    """The checkpoint is older than the last line: the repeated epochs replace it."""
    log, path = tmp_path / "log", tmp_path / "checkpoint"
    checkpoint = fn.Checkpoint(path, seconds=0)
    with pytest.raises(RuntimeError):
        train([KINDS[kind](log), stop(2)], epochs=4, checkpoint=checkpoint)
    first, older = rows_of(log, kind), path.read_bytes()
    with pytest.raises(RuntimeError):
        train([KINDS[kind](log), stop(3)], epochs=4, checkpoint=checkpoint)
    assert [row["epoch"] for row in rows_of(log, kind)] == [1, 2, 3]
    with open(log, "a") as file:
        file.write('{"epoch": 4, "lo' if kind == "json" else "4,1")  # a line that a kill cut off
    path.write_bytes(older)
    train([KINDS[kind](log), stop(9)], epochs=4, checkpoint=checkpoint)
    rows = rows_of(log, kind)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[0] == first[0]


def test_strange_lines_are_dropped_when_a_training_resumes(train, stop, tmp_path, kind):
    log, checkpoint = tmp_path / "log", fn.Checkpoint(tmp_path / "checkpoint", seconds=0)
    with pytest.raises(RuntimeError):
        train([KINDS[kind](log), stop(2)], epochs=3, checkpoint=checkpoint)
    with open(log, "ab") as file:
        file.write(b'[]\nnull\n{"epoch": "x"}\n{"epoch": Infinity}\n\xff\xfe\n')
        file.write(b"[" * 100_000 + b"\n,,,\n" + b"x" * 200_000 + b"\n")
    train([KINDS[kind](log), stop(9)], epochs=3, checkpoint=checkpoint)
    assert [row["epoch"] for row in rows_of(log, kind)] == [1, 2, 3]


class Strange(fn.Callback):
    """Adds values that are not finite, and one that comes later."""

    def on_epoch_end(self, training, values):
        values["a,b"] = [math.nan, math.inf, -math.inf][training.epoch]
        if training.epoch:
            values["late"] = 1.0


def test_values_that_are_not_finite_and_late_columns(train, tmp_path, kind):
    train([Strange(), KINDS[kind](tmp_path / "log")])
    rows = rows_of(tmp_path / "log", kind)
    values = [row["a,b"] for row in rows]
    if kind == "json":
        assert values == [None, None, None]
    else:
        np.testing.assert_array_equal(values, [math.nan, math.inf, -math.inf])
    assert [row.get("late") for row in rows] == [None, 1.0, 1.0]


def test_full_disk_warns_once_and_the_lines_follow_later(train, tmp_path, kind, full_disk):
    class Fill(fn.Callback):
        def on_epoch_end(self, training, values):
            full_disk[:] = [True] * (training.epoch in (1, 2))

    with pytest.warns(UserWarning, match=r"log cannot be written: .*No space left.*goes on") as caught:
        train([Fill(), KINDS[kind](tmp_path / "log")], epochs=4)
    assert len(caught) == 1
    assert [row["epoch"] for row in rows_of(tmp_path / "log", kind)] == [1, 2, 3, 4]


def test_partial_write_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "log"
    append_whole(path, b"whole\n")

    class Full(io.FileIO):
        def write(self, content):
            if len(content) < 6:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content[:4])

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Full(path, mode))
    with pytest.raises(OSError, match="No space left"):
        append_whole(path, b"too long\n")
    monkeypatch.undo()
    assert path.read_bytes() == b"whole\n"


@pytest.mark.parametrize(("path", "error"), [(".", IsADirectoryError), ("no/log", FileNotFoundError)])
def test_unusable_path_is_an_error_before_the_training(train, tmp_path, kind, path, error):
    epochs = []
    with pytest.raises(error):
        train([KINDS[kind](tmp_path / path), lambda training: epochs.append(1)])
    assert not epochs


def test_path_that_is_no_path_is_a_type_error(kind):
    with pytest.raises(TypeError, match="PathLike"):
        KINDS[kind](3)


def test_killed_process_leaves_whole_lines(tmp_path, kind):
    program = f"""
import os, signal
import numpy as np
import fastnn as fn

def kill(training):
    if training.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)

x, y = np.zeros((8, 2), "f"), np.zeros(8, int)
model = fn.Sequential(fn.Linear(2, 2))
log = fn.{KINDS[kind].__name__}({str(tmp_path / "log")!r})
fn.fit(model, (x, y), epochs=5, callbacks=[log, kill], watch=False)
"""
    process = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True)
    assert process.returncode == -9
    assert [row["epoch"] for row in rows_of(tmp_path / "log", kind)] == [1, 2]


def test_logging_adds_no_call_per_update(kind, tmp_path):
    """Updates run at once without Python unless a callback overrides `on_update`."""
    assert type(KINDS[kind](tmp_path / "log")).on_update is fn.Callback.on_update
