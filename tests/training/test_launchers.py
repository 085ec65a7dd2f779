"""How the processes of a training were started: by which launcher, and for which MPI library."""

import sys
from types import ModuleType

import pytest

import fastnn as fn
from fastnn.training import launchers
from fastnn.training.processes import ALONE, check_launcher, processes_of


@pytest.mark.parametrize(("launcher", "rank", "size"), launchers.VARIABLES)
def test_launchers_are_recognised(launcher, rank, size, monkeypatch):
    for _, *names in launchers.VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    assert launchers.launched() == (0, 1, "")
    monkeypatch.setenv(rank, "3")
    assert launchers.launched() == (0, 1, "")
    monkeypatch.setenv(size, "4")
    assert launchers.launched() == (3, 4, launcher)


class FakeMPI:
    """What `from mpi4py import MPI` gives, for a library."""

    def __init__(self, library, size):
        self.library, self.size = library, size
        self.COMM_WORLD = self

    def get_vendor(self):
        return self.library, (5, 0)

    def Is_initialized(self):  # noqa: N802
        return True

    def Get_size(self):  # noqa: N802
        return self.size

    Get_rank = Allreduce = allgather = None


@pytest.mark.parametrize(
    ("variables", "library", "size", "fits"),
    [
        (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), "MPICH", 1, False),
        (("PMI_RANK", "PMI_SIZE"), "Open MPI", 1, False),
        (("PMI_RANK", "PMI_SIZE"), "MPICH", 1, False),  # of another build
        (("PMI_RANK", "PMI_SIZE"), "Intel MPI", 2, True),
        (("PMIX_RANK", "SLURM_STEP_NUM_TASKS"), "Open MPI", 2, True),
        (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), "Open MPI", 2, True),
    ],
)
def test_another_mpi_library_than_that_of_mpirun(variables, library, size, fits, monkeypatch):
    for _, *names in launchers.VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    fake = ModuleType("mpi4py")
    fake.MPI = FakeMPI(library, size)
    monkeypatch.setitem(sys.modules, "mpi4py", fake)
    assert processes_of(FakeMPI(library, 1)) is ALONE  # not started by mpirun
    for name, value in zip(variables, "02", strict=True):
        monkeypatch.setenv(name, value)
    if fits:
        check_launcher()
    else:
        with pytest.raises(fn.ProcessError, match=f"started 2 processes, but mpi4py uses .*{library} 5.0"):
            processes_of(FakeMPI(library, 1))
