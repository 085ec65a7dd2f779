"""Sweeps on a real Ray of two CPUs on this machine."""

import os
import re
import signal
import socket
import sys

import pytest

import fastnn as fn
from fastnn.studies import on_ray
from fastnn.studies.executors import check_workers
from tests.kernels.children import run_child
from tests.studies import test_sweep
from tests.studies.test_sweep import GRID, build, curves
from tests.studies.workers import first_time, sent_by_value

ray = pytest.importorskip("ray")
pytest.importorskip("cloudpickle")


@pytest.fixture(scope="module", autouse=True)
def connection():
    """Workers of Ray, which get this test module by value."""
    with sent_by_value(test_sweep, sys.modules[__name__]):
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def test_results_equal_serial_ones_although_a_worker_is_killed(tmp_path):
    def dies_once(lr, hidden, seed):
        if (lr, hidden, seed) == (0.1, 8, 1) and first_time(tmp_path / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return build(lr, hidden)

    study = fn.sweep(dies_once, GRID, executor="ray", progress=False)
    assert (tmp_path / "killed").exists()
    assert curves(study) == curves(fn.sweep(build, GRID, jobs=1, progress=False))
    assert ray.is_initialized()


def test_a_run_that_always_kills_its_worker_fails_and_the_others_continue(monkeypatch):
    def deadly(lr):
        if lr == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"lr": lr}

    monkeypatch.setattr(on_ray, "RETRIES", 0)
    with pytest.warns(UserWarning, match="1 of 3 runs failed, the first one with WorkerDied: "):
        study = fn.sweep(deadly, {"lr": [1, 2, 3]}, seeds=[0], executor="ray", progress=False)
    assert [member.values for member in study.members] == [{"lr": 1}, {}, {"lr": 3}]


def test_the_arrays_stay_in_shared_memory():
    x = test_sweep.data(5000)[0]

    def uses(number):
        return {"writable": x.flags.writeable, "sum": x.sum()}

    study = fn.sweep(uses, {"number": [1, 2, 3]}, seeds=[0], executor="ray", progress=False)
    assert [member.values for member in study.members] == [{"writable": 0, "sum": x.sum()}] * 3


def in_child_no_cpu_is_left():
    """Ctrl-C comes after 3 s."""
    import os
    import signal
    import threading
    import time
    import warnings

    import ray

    import fastnn as fn

    ray.init("local", num_cpus=0, include_dashboard=False, log_to_driver=False)
    threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        try:
            fn.sweep(lambda lr: {"lr": lr}, {"lr": [1]}, seeds=[0], executor="ray", progress=False)
        except KeyboardInterrupt:
            print("ended in time:", 3 <= time.monotonic() - started < 20)
    print(*(each.message for each in caught if issubclass(each.category, UserWarning)))


def test_a_cluster_without_cpus_is_reported_and_ctrl_c_ends_the_wait():
    printed = run_child(in_child_no_cpu_is_left, limit=120)
    advice = r"start one \(ray start --address \1\), or stop the sweep with Ctrl-C"
    assert re.fullmatch(rf"ended in time: True\nthe Ray cluster (\S+) has no worker: .*: {advice}\n", printed)


def test_joblib_passes_runs_on_to_ray():
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("ray.util.joblib").register_ray()

    def quick(lr, seed):
        return {"loss": lr + seed}

    with joblib.parallel_config(backend="ray", n_jobs=2):
        study = fn.sweep(quick, {"lr": [1, 2]}, seeds=[0, 1], executor="joblib", progress=False)
    assert [member.values["loss"] for member in study.members] == [1, 2, 2, 3]


def test_an_unreachable_ray_address_is_reported_at_once(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{found.getsockname()[1]}")
        with pytest.raises(ConnectionError, match=r"no scheduler answers at .*variable RAY_ADDRESS"):
            check_workers("auto", "ray")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    check_workers("auto", "ray")


def test_another_address_is_rejected_while_connected():
    with (
        pytest.raises(ValueError, match='connected to Ray already: use executor="ray"'),
        on_ray.connected("a:1"),
    ):
        pass
