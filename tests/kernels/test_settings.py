"""The default number of threads and instruction set: environment variables, affinity, control groups."""

import os

import pytest

from fastnn.kernels import core, cpu
from tests.systems import needs_affinity

from .children import run_child


def in_child_settings(cpus=None):
    import os

    if cpus is not None:
        os.sched_setaffinity(0, cpus)

    import numpy as np

    from fastnn.kernels import core, load

    x = np.ones((300, 300))
    y = np.empty_like(x)
    load("aot")["dense_forward"](x, x, None, y)
    assert (y == 300).all()
    print(core.get_num_threads(), core.isa())


def threads_and_isa(*arguments, **environment):
    threads, isa = run_child(in_child_settings, *arguments, **environment).split()
    return int(threads), isa


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3", 3), (" 5 ", 5), ("4,2", 4)])
def test_omp_num_threads_is_obeyed(value, threads):
    assert threads_and_isa(OMP_NUM_THREADS=value)[0] == threads


@pytest.mark.parametrize("value", ["", "0", "-3", "many", ",2"])
def test_meaningless_omp_num_threads_is_ignored(value, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    default = cpu.available_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert cpu.available_threads() == default


@needs_affinity
def test_affinity_is_obeyed(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = sorted(os.sched_getaffinity(0))
    most = cpu.available_threads()  # a quota may leave fewer threads than there are CPUs
    for count in {1, len(allowed)}:
        assert threads_and_isa(allowed[-count:])[0] == min(count, most)
    assert threads_and_isa(allowed[:1], OMP_NUM_THREADS="2")[0] == 2


LEVELS = cpu.levels()


def in_child_bad_isa():
    try:
        from fastnn.kernels import core  # noqa: F401
    except ValueError as error:
        print(error)


@pytest.mark.parametrize("cap", LEVELS)
def test_fastnn_isa_is_obeyed(cap):
    allowed = [isa for isa in cpu.supported() if LEVELS.index(isa) >= LEVELS.index(cap)]
    if allowed:
        assert threads_and_isa(FASTNN_ISA=cap)[1] == allowed[0]
    else:
        message = run_child(in_child_bad_isa, FASTNN_ISA=cap)
        assert message.startswith(f"no kernels for instruction set {cap!r} are built")
        assert f"FASTNN_BUILD_LEVELS={cap} " in message


def test_best_isa_is_the_default():
    assert threads_and_isa()[1] == cpu.supported()[0]
    assert threads_and_isa(FASTNN_ISA="")[1] == cpu.supported()[0]


def test_unknown_isa_is_refused():
    message = f"FASTNN_ISA='avx2': choose one of {', '.join(LEVELS)}\n"
    assert run_child(in_child_bad_isa, FASTNN_ISA="avx2") == message
    before = core.isa()
    with pytest.raises(ValueError, match=r"cannot run 'avx2', or it is not built: choose one of \w+"):
        core.select_isa("avx2")
    assert core.isa() == before


def in_child_without_module():
    import importlib.machinery

    class Finder:
        real = importlib.machinery.PathFinder
        find_spec = classmethod(
            lambda cls, name, path: None if name.startswith("isa_") else cls.real.find_spec(name, path)
        )

    importlib.machinery.PathFinder = Finder  # what cpu.pyx asks, not what imports go by
    try:
        import fastnn  # noqa: F401
    except ValueError as error:
        print(error)


def test_only_built_levels_are_supported():
    message = run_child(in_child_without_module)
    assert message.startswith("no kernels for instruction set 'any' are built (this machine can use: none)")


@pytest.mark.parametrize("count", [0, -1])
def test_no_threads_are_refused(count):
    before = core.get_num_threads()
    with pytest.raises(ValueError, match=f"count must be at least 1, got {count}"):
        core.set_num_threads(count)
    assert core.get_num_threads() == before


# --- quotas of control groups ---

# Files, then the CPUs of 8 that they leave.
QUOTAS = {
    "no control groups": ({}, 8),
    "version 2, no quota": ({"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 8),
    "version 2, no file": ({"/proc/self/cgroup": "0::/a\n"}, 8),
    "version 2, whole CPUs": (
        {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "300000 100000\n"},
        3,
    ),
    "version 2, rounded up": (
        {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "250000 100000\n"},
        3,
    ),
    "version 2, less than one": (
        {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "1000 100000\n"},
        1,
    ),
    "version 2, more than there are": (
        {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "900000 100000\n"},
        8,
    ),
    "version 2, the root itself": (
        {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
    ),
    "version 2, an ancestor's is less": (
        {
            "/proc/self/cgroup": "0::/a/b/c\n",
            "/sys/fs/cgroup/a/b/c/cpu.max": "max 100000\n",
            "/sys/fs/cgroup/a/b/cpu.max": "500000 100000\n",
            "/sys/fs/cgroup/a/cpu.max": "150000 50000\n",
        },
        3,
    ),
    "version 2, a colon in the name": (
        {"/proc/self/cgroup": "0::/a:b\n", "/sys/fs/cgroup/a:b/cpu.max": "200000 100000\n"},
        2,
    ),
    "version 1": (
        {
            "/proc/self/cgroup": "5:cpuset:/x\n4:cpu,cpuacct:/a\n3:memory:/a\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "150000\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "version 1, no quota": (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/a\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "version 1, seen from inside a container": (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/docker/0123\n",
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
            "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        4,
    ),
    "version 1, another controller's": (
        {
            "/proc/self/cgroup": "4:cpuacct:/a\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "100000\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "both versions": (
        {
            "/proc/self/cgroup": "4:cpu:/a\n0::/b\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "500000\n",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/b/cpu.max": "600000 100000\n",
        },
        5,
    ),
}


@pytest.mark.parametrize(("files", "wanted"), QUOTAS.values(), ids=QUOTAS)
def test_quotas_are_found(files, wanted, tmp_path, monkeypatch):
    for name, text in files.items():
        file = tmp_path / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(cpu, "Path", lambda name: tmp_path / name.lstrip("/"))
    assert min(cpu._cgroup_quotas(8)) == wanted


def in_child_damaged_quotas(folder):
    from pathlib import Path

    from fastnn.kernels import cpu

    file = Path(folder) / "quota"
    for text in ("", "\n", "100000", "100000\n", "many 100000", "200000 0", "0 100000", "200000 few", "\0"):
        file.write_text(text)
        print(repr(text), flush=True)
        assert cpu._quota(file, None, 8) == 8
    for quota, period in (("200000", ""), ("", "100000"), ("", ""), ("200000", "0")):
        file.write_text(quota)
        other = Path(folder) / "period"
        other.write_text(period)
        assert cpu._quota(file, other, 8) == 8, (quota, period)


def test_damaged_quotas_are_ignored(tmp_path):
    run_child(in_child_damaged_quotas, str(tmp_path))


@needs_affinity
def test_quota_bounds_the_number_of_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quotas, wanted in (([8], 8), ([8, 3, 5], 3), ([8, 0], 1)):
        monkeypatch.setattr(cpu, "_cgroup_quotas", lambda cpus, quotas=quotas: quotas)
        assert cpu.available_threads() == wanted
    monkeypatch.setenv("OMP_NUM_THREADS", "20")
    assert cpu.available_threads() == 20
