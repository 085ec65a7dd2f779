"""`fn.show_config()` and the thread count."""

import os
import platform

import numpy as np
import pytest

import fastnn as fn
from fastnn import kernels
from fastnn.config import processor
from fastnn.kernels import core, cpu


def shown(capsys):
    fn.show_config()
    lines = capsys.readouterr().out.splitlines()
    width = max(line.index("  ") for line in lines)  # the width of the longest name
    assert {line[width : width + 2] for line in lines} == {"  "}, "the columns do not stand below each other"
    return {line[:width].rstrip(): line[width + 2 :] for line in lines}


@pytest.fixture
def settings():
    """Restore thread count and instruction set after the test."""
    before = core.get_num_threads(), core.isa()
    yield
    core.set_num_threads(before[0])
    core.select_isa(before[1])


def test_show_config_prints_versions_and_machine(capsys):
    rows = shown(capsys)
    assert list(rows) == [
        *("fastnn", "python", "numpy", "numba", "machine", "backend", "instruction set", "threads")
    ]
    assert rows["fastnn"] == fn.__version__
    assert rows["python"] == platform.python_version()
    assert rows["numpy"] == np.__version__
    assert rows["machine"] == f"{processor()} ({platform.machine()}), {os.cpu_count()} CPUs"
    assert rows["backend"] == kernels.active_backend()


@pytest.mark.parametrize("backend", kernels.BACKENDS)
def test_show_config_prints_the_backend(capsys, backend):
    with fn.backend(backend):
        assert shown(capsys)["backend"] == backend


def test_show_config_prints_the_instruction_set(capsys, settings):
    for isa in cpu.supported():
        core.select_isa(isa)
        assert shown(capsys)["instruction set"] == (
            f"{isa} (this machine can run: {', '.join(cpu.supported())})"
        )


@pytest.mark.parametrize("count", [1, 7])
def test_show_config_prints_the_thread_count(capsys, settings, count):
    fn.set_num_threads(count)
    assert shown(capsys)["threads"] == str(count) == str(fn.get_num_threads())


@pytest.mark.parametrize("count", [0, 1.5, "2", True])
def test_invalid_thread_counts_raise(settings, count):
    before = fn.get_num_threads()
    with pytest.raises(ValueError, match="count must be an integer of at least 1"):
        fn.set_num_threads(count)
    assert fn.get_num_threads() == before
