"""What `fit` shows: a line per epoch and a bar, in a terminal, in a notebook, in a file."""

import io
import sys
import types

import numpy as np
import pytest

import fastnn as fn


def train(**options):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 6), np.float32), np.arange(40) % 3
    options = {"epochs": 2, "batch_size": 10, "seed": 0, **options}
    return fn.fit(fn.Linear(6, 3), (x, y), **options), (x, y)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Broken(Terminal):
    """A stream whose reader has gone."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        if "loss" in text:  # a line, not the bar
            raise self.error
        return super().write(text)


@pytest.fixture
def shown(monkeypatch):
    """A function that trains with such an error stream; returns the history and what was written."""

    def run(stream, **options):
        monkeypatch.setattr(sys, "stderr", stream)
        return train(**options)[0], stream.getvalue()

    return run


@pytest.fixture
def notebook(monkeypatch):
    """As inside a Jupyter kernel."""
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


def lines_of(text):
    """The lines that stay, without the bars that were replaced."""
    return [line.rpartition("\r")[2].strip() for line in text.split("\n") if line.rpartition("\r")[2].strip()]


def test_terminal_shows_a_line_per_epoch_and_a_bar(shown):
    history, text = shown(Terminal())
    lines = lines_of(text)
    assert len(lines) == 2
    for epoch, line in enumerate(lines):
        assert line.startswith(f"epoch {epoch + 1}/2  loss {history['loss'][epoch]:.4g}  accuracy ")
        assert line.endswith(" s")
    assert "/4 [" in text  # the bar of four updates


def test_validation_and_metrics_are_shown(shown):
    _, data = train()
    history, text = shown(Terminal(), validation=data, metrics="f1", schedule=fn.schedules.Cosine())
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_f1", "lr"):
        assert f"  {name} {history[name][-1]:.4g}  " in lines_of(text)[-1]


def test_validation_within_an_epoch_is_shown_beside_the_bar(shown):
    _, data = train()
    _, text = shown(Terminal(), validation={"valid": data, "test": data}, validate_every=3)
    assert "valid_loss=" in text
    assert "test_accuracy=" in text


def test_notebook_shows_the_same(shown, notebook):
    _, text = shown(io.StringIO())
    assert len(lines_of(text)) == 2
    assert "/4 [" in text


def test_ipython_in_a_terminal_is_no_notebook(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert shown(io.StringIO())[1] == ""


def test_file_gets_lines_only_if_they_are_asked_for(shown):
    assert shown(io.StringIO())[1] == ""
    assert shown(io.StringIO(), progress="bar")[1] == ""
    text = shown(io.StringIO(), progress=True)[1]
    assert "\r" not in text
    assert [line.split("  ")[0] for line in text.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_progress_false_shows_nothing_and_bar_no_lines(shown, notebook):
    assert shown(Terminal(), progress=False)[1] == ""
    text = shown(Terminal(), progress="bar")[1]
    assert lines_of(text) == []
    assert "/4 [" in text


@pytest.mark.parametrize("progress", [True, None])
@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError("full"), UnicodeEncodeError("ascii", "x", 0, 1, "")]
)
def test_broken_stream_does_not_end_the_training(shown, error, progress):
    assert shown(Broken(error), progress=progress)[0].epochs == 2


@pytest.mark.parametrize("stream", [None, "closed"])
def test_missing_stream_does_not_end_the_training(monkeypatch, stream, capsys):
    """As in a program without a console."""
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    for progress in (None, True, False):
        assert train(progress=progress)[0].epochs == 2
    assert capsys.readouterr().out == ""


def test_stopped_training_shows_the_epochs_that_were_made(shown):
    def stop(training):
        training.stop()

    assert len(lines_of(shown(Terminal(), callbacks=stop, epochs=5)[1])) == 1


def test_a_hidden_bar_costs_nothing(monkeypatch):
    import tqdm.auto

    monkeypatch.setattr(tqdm.auto, "tqdm", None)  # calling it would raise
    history, _ = train(progress=False)
    assert len(history["loss"]) == 2
