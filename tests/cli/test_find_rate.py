"""`fastnn train DATASET --find-lr`."""

import pytest

from fastnn.cli import main

pytest.importorskip("matplotlib")


def test_a_rate_is_printed_and_drawn_but_nothing_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["train", "digits", "--find-lr", "--out", "a/b", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("try lr=0.")
    assert printed.endswith("written to a/b/find_lr.png\n")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["find_lr.png"]
    assert (tmp_path / "a/b/find_lr.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_goes_to_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["train", "digits", "--find-lr", "--optimizer", "adam", "--loss", "squared_error"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["find_lr.png"]


def test_settings_that_do_not_fit_the_data_fail(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["train", "digits", "--find-lr", "--layers", "3,4"]) == 1
    assert "the layers 3,4 do not fit the data set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
