"""Recognise processes that `mpirun`, `mpiexec` or `srun` started, by the environment variables they set."""

from __future__ import annotations

import os
from typing import NamedTuple


class Launched(NamedTuple):
    """The place of this process among those that one command started."""

    rank: int
    size: int
    launcher: str


# Names of the launchers, and the variables that hold the rank of a process and the number of processes.
VARIABLES = (
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("MPICH", "PMI_RANK", "PMI_SIZE"),  # and Intel MPI, which is made of it
    # srun --mpi=pmix sets no PMI_SIZE. SLURM_PROCID alone is no sign of MPI: sbatch sets it, too.
    ("SLURM", "PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)


def launched() -> Launched:
    """Return the rank of this process and the number of processes that were started; 0 and 1 without MPI."""
    for launcher, rank, size in VARIABLES:
        values = [os.environ.get(name, "") for name in (rank, size)]
        if all(value.isdecimal() for value in values):
            return Launched(int(values[0]), int(values[1]), launcher)
    return Launched(0, 1, "")
