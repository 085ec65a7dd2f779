"""The threads of each of several processes."""

import sys

import pytest

import fastnn as fn
from fastnn.cli import mpi_run
from fastnn.training import launchers
from fastnn.training.processes import ALONE, SeveralProcesses


class Four:
    """A communicator of four processes, two of which share the CPUs of this one."""

    def Get_rank(self):  # noqa: N802
        return 0

    def Get_size(self):  # noqa: N802
        return 4

    def allgather(self, sendobj):
        place, report = sendobj
        return [(place, report)] * 2 + [(("another machine", place[1]), report)] * 2


@pytest.mark.parametrize(
    ("threads", "variable", "expected"), [(None, None, 4), (3, None, 3), (None, "8", 8), (3, "8", 3)]
)
def test_processes_divide_their_cpus(threads, variable, expected, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    before = fn.get_num_threads()
    try:
        fn.set_num_threads(8)
        mpi_run.share_threads(SeveralProcesses(Four()), threads)
        assert fn.get_num_threads() == expected
    finally:
        fn.set_num_threads(before)


def test_without_mpirun_there_is_one_process(monkeypatch):
    for _, *names in launchers.VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    assert mpi_run.started_processes() is ALONE


def test_a_missing_mpi4py_is_named(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"MPICH started 2 processes.*pip install 'fastnn-kernels\[mpi\]'"):
        mpi_run.started_processes()
