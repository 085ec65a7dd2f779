"""What surrounds a run cannot spoil it: pictures, printing, a full disk, another run in its folder."""

import contextlib
import errno
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

from fastnn.cli import train_run
from fastnn.cli.main import main
from fastnn.cli.run_folder import locked, plain_warnings
from fastnn.files import write_atomic
from fastnn.studies.study import Study
from fastnn.training import resume
from fastnn.training.fit import fit

SHORT = ["train", "digits", "--epochs", "2", "--out"]
RESULTS = {"config.json", "history.json", "weights.safetensors"}


def names(folder):
    return {path.name for path in folder.iterdir()}


def run(folder, words, *, shell="", **variables):
    command = f"{sys.executable} -m fastnn {words} {shell}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        timeout=60,
    )


def test_an_unknown_backend_of_matplotlib_costs_only_the_pictures(tmp_path):
    process = run(tmp_path, "train digits --epochs 1 --out r", MPLBACKEND="no_such_backend")
    assert process.returncode == 0, process.stderr
    assert names(tmp_path / "r") >= RESULTS


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_in_another_encoding_fails_no_run(tmp_path, encoding):
    process = run(tmp_path, "train digits --epochs 1 --out żółw", PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert process.returncode == 0, process.stderr
    assert b"written to \\u017c" in process.stdout
    assert names(tmp_path / "żółw") >= RESULTS


def test_a_reader_that_goes_away_ends_no_training(tmp_path):
    process = run(tmp_path, "train digits --epochs 3 --out r", shell="| head -1")
    assert (process.returncode, process.stderr) == (0, b"")
    assert names(tmp_path / "r") > RESULTS
    assert run(tmp_path, "config", shell="| true").returncode == 0


def test_a_full_disk_costs_one_file_and_is_reported(tmp_path, monkeypatch, capsys):
    def full(model, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_run, "save", full)
    assert main([*SHORT, "r"]) == 1
    assert "cannot write r/weights.safetensors: No space left on device" in capsys.readouterr().err
    assert names(tmp_path / "r") >= {"history.json", "curves.png", "confusion.png", "checkpoint"}


def fails_after(count, function):
    """`function` with an error of a full disk from call `count` + 1 on."""
    calls = []

    def call(*arguments):
        calls.append(1)
        if len(calls) > count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*arguments)

    return call


def test_a_disk_that_is_full_during_the_run_costs_no_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT, "whole"]) == 0
    monkeypatch.setattr(train_run, "CHECKPOINT_SECONDS", 0)
    for count, state in ((0, "there is no checkpoint"), (1, "it still holds the state after update")):
        monkeypatch.setattr(resume, "write_atomic", fails_after(count, write_atomic))
        with pytest.warns(UserWarning, match=rf"No space left on device; {state}") as warned:
            assert main([*SHORT, f"r{count}"]) == 0
        assert len(warned) == 2
        assert f"cannot write the checkpoint r{count}/checkpoint after upd" in str(warned[0].message)
        assert names(tmp_path / f"r{count}") == names(tmp_path / "whole")
        weights = [tmp_path / folder / "weights.safetensors" for folder in ("whole", f"r{count}")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_results_that_found_no_room_are_written_by_resuming(tmp_path, monkeypatch, capsys, full_disk):
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT, "whole"]) == 0
    train = fit

    def train_and_fill(**arguments):
        history = train(**arguments)
        limit.enter_context(full_disk(2000))
        return history

    monkeypatch.setattr(train_run, "fit", train_and_fill)
    with contextlib.ExitStack() as limit:
        assert main([*SHORT, "r"]) == 1
        error = capsys.readouterr().err
        assert "cannot write r/weights.safetensors: File too large" in error
        assert "make room, then write them with --resume" in error
        assert names(tmp_path / "r") == {"config.json", "checkpoint"}
    monkeypatch.setattr(train_run, "fit", train)
    assert main([*SHORT, "r", "--resume"]) == 0
    weights = [tmp_path / folder / "weights.safetensors" for folder in ("whole", "r")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_sweep_goes_on_when_its_study_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("dataset: digits\nepochs: 1")
    sweep = ["sweep", "x.yaml", "--grid", "batch_size=32,64", "--jobs", "1", "--out"]
    save = Study.save
    tries = []

    def full_twice(self, path):
        tries.append(path)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, path)

    monkeypatch.setattr(Study, "save", full_twice)
    with pytest.warns(UserWarning, match="cannot write s/study.json after run 1: No space left on device"):
        assert main([*sweep, "s"]) == 0
    assert len(Study.load(tmp_path / "s" / "study.json")) == len(tries) - 1
    monkeypatch.setattr(Study, "save", fails_after(0, save))
    with pytest.warns(UserWarning, match="cannot write t/study.json"):
        assert main([*sweep, "t"]) == 1
    assert "fastnn: error: cannot write t/study.json: No space left on device" in capsys.readouterr().err
    assert "table.txt" in names(tmp_path / "t")


def test_warnings_are_printed_without_their_place_in_the_code():
    before = warnings.formatwarning
    with plain_warnings():
        text = warnings.formatwarning(UserWarning("too hot"), UserWarning, "loop.py", 7)
    assert text == "fastnn: warning: too hot\n"
    assert warnings.formatwarning is before


def test_a_second_run_in_the_folder_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT, "r"]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    with locked(tmp_path / "r"):
        assert main([*SHORT, "r", "--overwrite"]) == 1
        assert (
            "another run is writing to r: wait for its end, or choose another --out"
            in capsys.readouterr().err
        )
        (tmp_path / "x.yaml").write_text("dataset: digits")
    assert {path: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before
    with locked(tmp_path / "s"):
        assert main(["sweep", "x.yaml", "--grid", "epochs=1", "--out", "s"]) == 1
        assert "another run is writing to s" in capsys.readouterr().err
    assert main([*SHORT, "r", "--overwrite"]) == 0


def test_written_lists_only_what_this_run_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").touch()
    assert main([*SHORT, "r"]) == 0
    written = capsys.readouterr().out.splitlines()[-1]
    assert "weights.safetensors" in written
    assert "notes" not in written


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(["train", "digits", "--epochs", "1", "--out=~/r"]) == 0
    assert main(["curves", "~/r", "--out=~/c.png"]) == 0
    assert names(tmp_path) == {"home"}
    assert names(tmp_path / "home") >= {"r", "c.png"}


def test_no_home_folder_is_an_error_of_one_line(homeless, capsys):
    assert main(["curves", "~/r"]) == 1
    assert capsys.readouterr().err == "fastnn: error: [Errno 2] the user has no home folder: '~/r'\n"


def test_a_sweep_of_failures_ends_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("dataset: digits\nepochs: 1")
    assert main(["sweep", "x.yaml", "--grid", "optimizer.lr=1e30", "--seeds", "0,1", "--out", "s"]) == 1
    error = capsys.readouterr().err
    assert "fastnn: error: all 2 runs failed: NonFiniteError: " in error
    assert "Traceback" not in error


def test_too_little_memory_is_an_error_of_one_line(capsys):
    assert main(["profile", "--batch-size", "999999999999"]) == 1
    assert capsys.readouterr().err.startswith("fastnn: error: not enough memory: ")


# --- without POSIX ---


@pytest.fixture
def windows(monkeypatch):
    """The modules and functions of POSIX are missing, and `msvcrt` locks files."""
    from fastnn import files
    from fastnn.cli import run_folder

    fcntl = pytest.importorskip("fcntl", reason="this is Windows")
    flock, busy = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB

    def locking(descriptor, mode, nbytes):
        assert os.path.isfile(f"/proc/self/fd/{descriptor}")  # Windows does not open folders
        try:
            flock(descriptor, busy)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    monkeypatch.setattr(run_folder, "fcntl", None)
    monkeypatch.setattr(files, "IS_WINDOWS", True)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    for name in ("fchown", "fchmod", "kill", "getuid", "geteuid"):
        monkeypatch.delattr(os, name)


def test_a_run_locks_its_folder_on_windows(tmp_path, windows):
    with locked(tmp_path / "r"):
        with pytest.raises(FileExistsError, match="another run is writing to"), locked(tmp_path / "r"):
            pytest.fail("locked twice")
        assert names(tmp_path / "r") <= {".lock"}
    assert names(tmp_path / "r") == set()
    with locked(tmp_path / "r"):
        pass


def test_a_folder_that_windows_cannot_lock_is_used(tmp_path, windows, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(sys.modules["msvcrt"], "locking", fail)
    with locked(tmp_path / "r"):
        assert names(tmp_path / "r") == {".lock"}


def test_a_run_is_trained_and_resumed_on_windows(tmp_path, windows, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT, "r"]) == 0
    assert names(tmp_path / "r") >= RESULTS
    (tmp_path / "r" / f".checkpoint.{2**22 + 1}-ab.tmp").touch()  # of a process that was killed
    assert main([*SHORT, "r", "--overwrite"]) == 0
    assert not any(name.startswith(".") for name in names(tmp_path / "r"))


def test_a_file_in_place_of_the_folder_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").touch()
    assert main([*SHORT, "r"]) == 1
    assert capsys.readouterr().err == "fastnn: error: r is a file: choose a folder as --out\n"
