"""Every function that writes a file does so atomically: `tests/test_files.py` says what that means."""

import errno
import os

import numpy as np
import pytest

import fastnn as fn
from fastnn.measure.compare import Race, plot
from fastnn.studies.study import Member, Study


def model():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 16), fn.Linear(16, 3))


def history():
    found = fn.History()
    found.updates["loss"] = [3.0, 2.0, 1.0]
    found.add_epoch({"loss": 2.0})
    return found


def train(path):
    x = np.random.default_rng(0).random((20, 6), np.float32)
    fn.fit(model(), (x, np.arange(20) % 3), checkpoint=path, progress=False)


def write_idx(path):
    fn.data.write_idx(path, np.random.default_rng(0).integers(0, 256, 9000).astype(np.uint8))


WRITERS = {
    "weights.safetensors": lambda path: fn.save(model(), path),
    "checkpoint": train,
    "study.json": Study([Member({"width": 1}, seed, {"accuracy": 0.5}) for seed in range(9)]).save,
    "curves.png": lambda path: history().plot(path),
    "curves.svg": lambda path: history().plot(path),
    "curves": lambda path: history().plot(path),  # matplotlib would write curves.png
    "races.png": lambda path: plot([Race("dense", "2x2", {"numpy": 2.0, "aot": 1.0})], path),
    "images.idx": write_idx,
    "images.idx.gz": write_idx,
}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path):
    """The file of each writer."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / request.param


@pytest.fixture
def write(path):
    return WRITERS[path.name]


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_nothing_but_the_file_is_written(path, write):
    write(path)
    assert names(path.parent) == [path.name]
    assert path.stat().st_size > 100


def test_link_stays_and_its_target_is_written(path, write, tmp_path):
    path.symlink_to(tmp_path / "target")
    write(path)
    assert path.is_symlink()
    assert not (tmp_path / "target").is_symlink()
    assert names(path.parent) == [path.name]
    assert names(tmp_path) == ["folder", "target"]


def test_full_disk_keeps_the_old_file_and_is_named(path, write, full_disk):
    write(path)
    before = path.read_bytes()
    with full_disk(100), pytest.raises(OSError, match="File too large") as error:
        write(path)
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_failing_disk_leaves_nothing_and_is_named(path, write, monkeypatch):
    def fail(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as error:
        write(path)
    assert error.value.filename == str(path)
    assert names(path.parent) == []


def test_missing_folder_is_named(path, write, tmp_path):
    if path.name == "checkpoint":
        write(tmp_path / "missing" / path.name)  # as `fit` has always done
        assert names(tmp_path / "missing") == [path.name]
        return
    with pytest.raises(FileNotFoundError) as error:
        write(tmp_path / "missing" / path.name)
    assert error.value.filename == str(tmp_path / "missing")


def test_home_is_expanded(path, write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.chdir(tmp_path)
    write(f"~/{path.name}")
    assert names(path.parent) == [path.name]
    assert names(tmp_path) == ["folder"]


def test_unknown_format_of_a_picture_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="Format 'doc' is not supported"):
        history().plot(tmp_path / "curves.doc")
    assert names(tmp_path) == []
