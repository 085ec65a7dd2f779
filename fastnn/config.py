"""Configuration: threads, instruction set, backend and versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._threadpools import register_with_threadpoolctl
from fastnn._validation import positive_int
from fastnn.kernels import active_backend

register_with_threadpoolctl()

MAX_THREADS = 4096  # more than the CPUs of any machine; each thread would take a stack


def set_num_threads(count: int) -> None:
    """Let the compiled kernels (backend "aot") use up to `count` threads, 1 to 4096, in the whole process.

    Results have the same bits whatever the count. Without this call the count is what the machine allows
    this process: the environment variable OMP_NUM_THREADS, else CPU affinity and cgroup quota.
    `with threadpoolctl.threadpool_limits(1):` limits it temporarily, together with the threads of BLAS.
    """
    from fastnn.kernels import core

    if positive_int(count, "count") > MAX_THREADS:
        raise ValueError(f"count must be at most {MAX_THREADS}, got a larger number: use one thread per CPU")
    core.set_num_threads(int(count))


def get_num_threads() -> int:
    """Return how many threads the compiled kernels may use."""
    from fastnn.kernels import core

    return int(core.get_num_threads())


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Return the versions, the machine, the kernels and the threads that a result was made with, for JSON."""
    from importlib import metadata  # 14 ms of import time

    from fastnn.kernels import core

    return {
        "fastnn": metadata.version("fastnn-kernels"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "processor": processor(),
        "instruction_set": core.isa(),
        "backend": active_backend(),
        "threads": get_num_threads(),
    }


def show_config() -> None:
    """Print versions, backend, instruction set and threads: include them in a bug report."""
    from importlib import metadata

    from fastnn.kernels import core, cpu

    found = environment()
    rows = {
        **{name: found[name] for name in ("fastnn", "python", "numpy")},
        "numba": metadata.version("numba"),
        "machine": f"{found['processor']} ({found['machine']}), {os.cpu_count()} CPUs",
        "backend": found["backend"],
        "instruction set": (
            f"{found['instruction_set']}{' with bf16' if core.has_bf16() else ''} "
            f"(this machine can run: {', '.join(cpu.supported())})"
        ),
        "threads": found["threads"],
    }
    width = max(map(len, rows))
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows.items()))
