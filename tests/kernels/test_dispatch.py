"""The backend that a call of `ops` runs on."""

import os
import subprocess
import sys
import threading

import pytest

from fastnn.kernels import BACKENDS, active_backend, backend, load, ops


@pytest.fixture
def default():
    return os.environ.get("FASTNN_BACKEND") or BACKENDS[0]


def test_backends_nest(default):
    assert active_backend() == default
    with backend("ref"):
        assert ops.relu_forward is load("ref")["relu_forward"]
        with backend("jit"):
            assert ops.relu_forward is load("jit")["relu_forward"]
        assert active_backend() == "ref"
        with pytest.raises(KeyError), backend("jit"):
            raise KeyError
        assert active_backend() == "ref"
    assert active_backend() == default


def test_threads_choose_for_themselves(default):
    seen = {}
    meet = threading.Barrier(2, timeout=60)

    def work(name):
        seen[f"{name} before"] = active_backend()
        with backend(name):
            meet.wait()
            seen[name] = active_backend()
            meet.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ref", "jit")]
    with backend("ref"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {"ref before": default, "jit before": default, "ref": "ref", "jit": "jit"}


@pytest.mark.parametrize(("value", "printed"), [("jit", "jit"), ("ref", "ref"), ("", BACKENDS[0])])
def test_environment_chooses_the_default(value, printed):
    assert run_with_environment(value, "active_backend()").stdout.strip() == printed


def test_environment_with_an_unknown_name():
    run = run_with_environment("fast", "ops.dense_db")
    assert "ValueError: unknown backend 'fast': choose one of aot, jit, ref" in run.stderr


def run_with_environment(value, expression):
    """Print an expression in a process that was started with FASTNN_BACKEND=value."""
    script = f"from fastnn.kernels import active_backend, ops; print({expression})"
    environment = {**os.environ, "FASTNN_BACKEND": value}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)


def test_unknown_names_are_refused():
    with (
        pytest.raises(ValueError, match="unknown backend 'cuda': choose one of aot, jit, ref"),
        backend("cuda"),
    ):
        pass
    with backend("ref"), pytest.raises(AttributeError, match="'no_such_kernel'"):
        _ = ops.no_such_kernel
