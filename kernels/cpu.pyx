# distutils: language = c++
"""The instruction sets that this machine supports, and the number of threads that this process may use.

The three x86-64 levels are those of the x86-64 psABI. A level is supported only if the operating system saves
its registers. Every ARM64 processor has NEON.
"""

import math
import os
from importlib.machinery import PathFinder
from pathlib import Path

cdef extern from "plan/x86_64.hpp" namespace "fastnn":
    int x86_64_level()
    bint x86_64_has_bf16()

cdef extern from *:
    """
    #if defined(__aarch64__)
    static const int IS_ARM64 = 1;
    #else
    static const int IS_ARM64 = 0;
    #endif
    """
    bint IS_ARM64


# The instruction sets of this kind of machine, best first, and whether this machine has them.
_LEVELS = (
    {"neon": True, "any": True}
    if IS_ARM64
    else {**{f"v{level}": x86_64_level() >= level for level in (4, 3, 2)}, "any": True}
)


def levels():
    """Return the instruction sets that kernels can be built for on this kind of machine, best first."""
    return tuple(_LEVELS)


def supported():
    """Return the instruction sets that are built and that CPU and operating system support, best first."""
    return tuple(name for name, runs in _LEVELS.items() if runs and _is_built(name))


def supports_bf16():
    """Return whether the bf16 kernels, which complete those of "v4", are built and can run here."""
    return x86_64_has_bf16() and _is_built("v4bf16")


def _is_built(name):
    return PathFinder.find_spec(f"isa_{name}", [str(Path(__file__).parent)]) is not None


def available_threads():
    """Return OMP_NUM_THREADS if set, else the number of CPUs that affinity and cgroup quota allow."""
    requested = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if requested.isdecimal() and int(requested) > 0:
        return min(int(requested), 1024)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus, *_cgroup_quotas(cpus)))


def _cgroup_quotas(cpus):
    """Return the CPU quotas of this process's control groups in whole CPUs; `cpus` where there is none."""
    quotas = [cpus]
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quotas
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: one file, "quota period" or "max period", in each ancestor
            folder = Path("/sys/fs/cgroup") / path.lstrip("/")
            for group in (folder, *folder.parents):
                quotas.append(_quota(group / "cpu.max", None, cpus))
        elif "cpu" in controllers.split(","):  # version 1: two files
            folder = Path("/sys/fs/cgroup/cpu") / path.lstrip("/")
            for group in (folder, *folder.parents):
                quotas.append(_quota(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us", cpus))
    return quotas


def _quota(quota_file, period_file, cpus):
    try:
        words = quota_file.read_text().split()
        if period_file is not None:
            words += period_file.read_text().split()
        quota, period = map(int, words)
    except (OSError, ValueError):  # no such file, "max", or not two integers
        return cpus
    return math.ceil(quota / period) if quota > 0 and period > 0 else cpus
