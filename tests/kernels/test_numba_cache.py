"""The cache of compiled Numba kernels: where it is, when it is used, and what happens when it fails."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import pytest

from fastnn.kernels.jit import numba_cache


def double(x, y):
    for i in range(x.size):
        y[i] = x[i] + x[i]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba_cache, "FOLDER", tmp_path)
    return tmp_path


def run(function, dtype=np.float64):
    """Call a freshly decorated `function`, as a new process would. True if it came from the cache."""
    kernel = numba_cache.kernel()(function)
    x = np.arange(5, dtype=dtype)
    y = np.empty_like(x)
    kernel(x, y)
    np.testing.assert_array_equal(y, 2 * x)
    return bool(kernel.stats.cache_hits)


def files(folder, pattern):
    return sorted(folder.rglob(pattern))


# --- the folder ---


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folder_is_private_and_named_after_all_that_shapes_the_code(tmp_path, monkeypatch, umask):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
    previous = os.umask(umask)
    try:
        folder = numba_cache.cache_folder()
    finally:
        os.umask(previous)
    for path in (folder, folder.parent, folder.parent.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    assert folder.parent == tmp_path / "a" / "b" / "fastnn" / "numba"
    for part in (
        version("fastnn-kernels"),
        f"numba{numba.__version__}",
        f"llvmlite{llvmlite.__version__}",
        llvmlite.binding.get_host_cpu_name(),
    ):
        assert part in folder.name


@pytest.mark.parametrize("value", [None, "", "not/absolute"])
def test_folder_is_below_home_by_default(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if value is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert numba_cache.cache_folder().is_relative_to(tmp_path / "home" / ".cache" / "fastnn" / "numba")


def test_no_folder_where_it_cannot_be_created(tmp_path, monkeypatch):
    (tmp_path / "fastnn").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert numba_cache.cache_folder() is None


def test_no_folder_that_others_can_write_to(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = numba_cache.cache_folder()
    folder.chmod(0o770)
    assert numba_cache.cache_folder() is None
    folder.chmod(0o755)
    assert numba_cache.cache_folder() == folder
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert numba_cache.cache_folder() is None


# --- the entries ---


def test_second_process_compiles_nothing(folder):
    assert not run(double)
    assert run(double)
    assert len(files(folder, "*.nbi")) == len(files(folder, "*.nbc")) == 1


def test_kernel_runs_without_a_cache(folder, monkeypatch):
    monkeypatch.setattr(numba_cache, "FOLDER", None)
    assert not run(double)
    assert not run(double)
    assert not files(folder, "*")


def test_kernel_runs_when_the_folder_is_lost(folder, monkeypatch):
    lost = folder / "lost"
    monkeypatch.setattr(numba_cache, "FOLDER", lost)
    kernel = numba_cache.kernel()(double)
    shutil.rmtree(lost)
    lost.write_text("in the way")
    x, y = np.ones(3), np.empty(3)
    kernel(x, y)
    assert (y == 2).all()
    assert not run(double)


def truncated(data):
    return data[: len(data) // 2]


def holed(data):
    """With a block of zeros, as a power cut leaves behind; Numba itself would run this machine code."""
    return data[:600] + bytes(1024) + data[1624:]


def extended(data):
    return b"garbage" + data


DAMAGES = [truncated, extended, lambda data: b"", lambda data: bytes(len(data)), lambda data: data[::-1]]


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [("*.nbi", damage) for damage in DAMAGES] + [("*.nbc", damage) for damage in (*DAMAGES, holed)],
)
def test_damaged_file_is_replaced(folder, pattern, damage):
    run(double)
    (path,) = files(folder, pattern)
    path.write_bytes(damage(path.read_bytes()))
    assert not run(double)
    assert run(double)


def test_entry_of_another_type_is_replaced(folder):
    """As left behind by two processes that compile for two types at the same moment."""
    run(double, np.float32)
    run(double, np.float64)
    one, other = files(folder, "*.nbc")
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert not run(double, np.float32)
    assert run(double, np.float32)
    assert not run(double, np.float64)


def load_source(path):
    spec = importlib.util.spec_from_file_location("changing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stale_source_is_compiled_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = tmp_path / "changing.py"
    # The kernel stays as it is: what it calls changes.
    text = """
from fastnn.kernels.jit.numba_cache import jit, kernel
@kernel()
def scaled(x, y):
    for i in range(x.size):
        y[i] = _scale(x[i])
@jit
def _scale(x):
    return {} * x
"""
    for factor in (2, 2, 35):
        source.write_text(text.format(factor))
        kernel = load_source(source).scaled
        x, y = np.ones(3), np.empty(3)
        kernel(x, y)
        np.testing.assert_array_equal(y, factor * x)


def test_other_options_are_compiled_again(folder, monkeypatch):
    run(double)
    monkeypatch.setitem(numba_cache.OPTIONS, "nogil", False)
    assert not run(double)


def test_kernels_are_compiled_again_when_a_file_that_they_share_has_changed(folder, tmp_path, monkeypatch):
    shared = tmp_path / "shared.py"
    shared.write_text("1")
    monkeypatch.setattr(numba_cache, "SHARED", [shared])
    run(double)
    assert run(double)
    shared.write_text("12")
    assert not run(double)


def test_files_that_kernels_share_are_known():
    """Whatever a file of Numba kernels takes from another one is compiled into its kernels."""
    folder = Path(numba_cache.__file__).parents[1]
    taken = {
        f"{node.module.rpartition('.')[2]}.py"
        for path in folder.glob("*_jit.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fastnn.kernels.")
    }
    assert taken - {"numba_cache.py", "scalar.py"} == {path.name for path in numba_cache.SHARED}


# --- a process from outside ---


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()


def test_numba_is_loaded_when_it_is_used_and_left_as_it_was(tmp_path):
    code = """
import sys
import numpy as np
import fastnn
from fastnn.kernels import load
load("ref")
assert "numba" not in sys.modules
import numba
before = {name: value for name, value in vars(numba.config).items() if name.isupper()}
x = np.ones((1, 3))
load("jit")["relu_forward"](x, x)
assert {name: value for name, value in vars(numba.config).items() if name.isupper()} == before
assert numba.config.CACHE_DIR.endswith("users")
print(load("jit")["relu_forward"].stats.cache_path)
"""
    (path,) = python(code, XDG_CACHE_HOME=str(tmp_path / "ours"), NUMBA_CACHE_DIR=str(tmp_path / "users"))
    assert path.startswith(str(tmp_path / "ours"))
    assert files(tmp_path / "ours", "*.nbc")
    assert not files(tmp_path / "users", "*")


def test_kernels_run_as_plain_python_for_a_debugger():
    code = """
import inspect
import numpy as np
from fastnn.kernels import load
kernel = load("jit")["dense_forward"]
assert inspect.isfunction(kernel)
y = np.empty((5, 7))
kernel(np.ones((5, 6)), np.ones((6, 7)), np.ones(7), y)
assert (y == 7).all()
"""
    python(code, NUMBA_DISABLE_JIT="1")
