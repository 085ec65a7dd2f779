"""What runs where: threads, instruction set, backend, versions."""

from __future__ import annotations

import os
import platform

import numpy as np

from fastnn._threadpools import register_with_threadpoolctl
from fastnn._validation import positive_int
from fastnn.kernels import active_backend

register_with_threadpoolctl()


def set_num_threads(count: int) -> None:
    """Let the compiled kernels (backend "aot") use up to `count` threads, at least 1, process-wide.

    Results have the same bits whatever the count. Without this call the count is what the machine allows
    this process: the environment variable OMP_NUM_THREADS, else CPU affinity and cgroup quota. For a while
    it can also be bounded by `with threadpoolctl.threadpool_limits(1):`, together with that of BLAS.
    """
    from fastnn.kernels import core

    core.set_num_threads(positive_int(count, "count"))


def get_num_threads() -> int:
    """How many threads the compiled kernels may use."""
    from fastnn.kernels import core

    return int(core.get_num_threads())


def show_config() -> None:
    """Print versions, backend, instruction set and threads: what a report of a problem needs."""
    from importlib import metadata  # 14 ms of import time

    from fastnn.kernels import core, cpu

    rows = {
        "fastnn": metadata.version("fastnn-kernels"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": metadata.version("numba"),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "backend": active_backend(),
        "instruction set": f"{core.isa()} (this machine can run: {', '.join(cpu.supported())})",
        "threads": str(get_num_threads()),
    }
    width = max(map(len, rows))
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows.items()))
