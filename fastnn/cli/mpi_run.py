"""`mpirun -n 2 fastnn train ...`: the processes that train together, and how many threads each uses."""

from __future__ import annotations

import os

from fastnn.config import get_num_threads, set_num_threads
from fastnn.training.agreement import place
from fastnn.training.launchers import launched
from fastnn.training.processes import ALONE, Processes, check_launcher, processes_of


def started_processes() -> Processes:
    """The processes that mpirun or srun started with this one; `ALONE` if there are no others.

    Raises ImportError if mpi4py or its MPI library is missing, `ProcessError` if it uses another MPI library
    than mpirun.
    """
    started = launched()
    if started.size == 1:
        return ALONE
    try:
        import mpi4py

        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is mpi4py, but no MPI library
        raise ImportError(
            f"mpirun of {started.launcher} started {started.size} processes, which need mpi4py and an MPI "
            f"library to train together: pip install 'fastnn-kernels[mpi]' ({error})"
        ) from error
    check_launcher()  # first, since MPI ends a process that another library's mpirun has started
    if not MPI.Is_initialized():
        MPI.Init_thread()
    return processes_of(MPI.COMM_WORLD)


def share_threads(processes: Processes, threads: int | None) -> None:
    """Set the number of threads; None: divide the CPUs among the processes that share them.

    OMP_NUM_THREADS counts for each process, as everywhere.
    """
    if threads is None and processes.size > 1:
        sharing = processes.gather(place()).count(place())
        if "OMP_NUM_THREADS" not in os.environ:
            threads = max(1, get_num_threads() // sharing)
    if threads is not None:
        set_num_threads(threads)
