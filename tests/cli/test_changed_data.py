"""The test set of a run is drawn again from its data: a note says if they have changed since the training."""

import json
import shutil

import pytest

from fastnn.cli.main import main
from tests.cli.own_files import flowers, pictures

NOTE = "{} has changed since the training: the test set is not that of the run"
COMMANDS = (["evaluate", "run"], ["picture", "confusion", "run"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*words):
    assert main(["train", *words, "--epochs", "1", "--out", "run"]) == 0


def check(name, capsys, *, changed):
    for command in COMMANDS:
        capsys.readouterr()
        assert main(command) == 0
        assert (NOTE.format(name) in capsys.readouterr().err) == changed


@pytest.mark.parametrize("test", ["0.2", "g.csv"])
def test_a_changed_table(here, capsys, test):
    flowers(here / "f.csv")
    flowers(here / "g.csv", seed=1)
    train("f.csv", "--label", "species", "--drop", "id", "--test", test)
    check(".csv", capsys, changed=False)
    changed, other = ("g.csv", "f.csv") if test == "g.csv" else ("f.csv", "g.csv")
    flowers(here / other, seed=2)
    check(".csv", capsys, changed=False)
    lines = (here / changed).read_text().splitlines()
    (here / changed).write_text("\n".join([lines[0], *lines[:0:-1]]))  # the same rows in another order
    check(changed, capsys, changed=True)


@pytest.mark.parametrize("test", ["0.2", "other"])
def test_a_changed_folder(here, capsys, test):
    pictures(here / "photos", 6)
    pictures(here / "other", 6)
    train("photos/", "--size", "8", "--test", test)
    check("photos", capsys, changed=False)
    name = "other" if test == "other" else "photos"
    shutil.copy(here / name / "red one" / "1.png", here / name / "red one" / "9.png")
    check(name, capsys, changed=True)


def test_runs_of_before_have_no_checksum_and_give_no_note(here, capsys):
    flowers(here / "f.csv")
    train("f.csv", "--label", "species", "--drop", "id")
    about = json.loads((here / "run" / "data.json").read_text())
    assert about.pop("source").startswith("sha256:")
    (here / "run" / "data.json").write_text(json.dumps(about))
    flowers(here / "f.csv", seed=2)
    check("f.csv", capsys, changed=False)
