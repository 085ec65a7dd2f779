# distutils: language = c++
"""The instruction sets that this machine supports, and the number of threads that this process may use.

The three x86-64 levels are those of the x86-64 psABI. A level is supported only if the operating system saves
its registers; the compiler's run-time check includes this. Every ARM64 processor has NEON.
"""

import math
import os
from importlib.machinery import PathFinder
from pathlib import Path

cdef extern from *:
    """
    #if defined(__x86_64__)
    static int runs_v2() {
        return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
               __builtin_cpu_supports("popcnt");
    }
    static int runs_v3() {
        return runs_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    }
    static int runs_v4() {
        return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    }
    static int runs_bf16() { return runs_v4() && __builtin_cpu_supports("avx512bf16"); }
    #else
    static int runs_v2() { return 0; }
    static int runs_v3() { return 0; }
    static int runs_v4() { return 0; }
    static int runs_bf16() { return 0; }
    #endif
    #if defined(__aarch64__)
    static const int IS_ARM64 = 1;
    #else
    static const int IS_ARM64 = 0;
    #endif
    """
    bint runs_v2()
    bint runs_v3()
    bint runs_v4()
    bint runs_bf16()
    bint IS_ARM64


# The instruction sets of this kind of machine, best first, and whether this machine has them.
_LEVELS = (
    {"neon": True, "any": True}
    if IS_ARM64
    else {"v4": runs_v4(), "v3": runs_v3(), "v2": runs_v2(), "any": True}
)


def levels():
    """Return the instruction sets that kernels can be built for on this kind of machine, best first."""
    return tuple(_LEVELS)


def supported():
    """Return the instruction sets that are built and that CPU and operating system support, best first."""
    return tuple(name for name, runs in _LEVELS.items() if runs and _is_built(name))


def supports_bf16():
    """Return whether the bf16 kernels, which complete those of "v4", are built and can run here."""
    return runs_bf16() and _is_built("v4bf16")


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
