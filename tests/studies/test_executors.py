"""Executors: their names, an unreachable scheduler, what is sent to workers. Needs neither Dask nor Ray."""

import dataclasses
import functools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from importlib import util

import pytest

import fastnn as fn
from fastnn.cli.main import main
from fastnn.studies import executors, parcel
from fastnn.studies.executors import Workers, check_workers
from fastnn.studies.study import Member
from tests.kernels.children import TESTS_ON_PATH
from tests.studies.workers import first_time


def quick(lr):
    return {"lr": lr}


@pytest.fixture
def closed_port():
    """A port at which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def libraries(monkeypatch):
    """Dask, Ray and cloudpickle, which need not be installed to check an address."""
    monkeypatch.setattr(util, "find_spec", lambda name: name)


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_an_unreachable_scheduler_is_reported_at_once(kind, closed_port, libraries):
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=rf"no scheduler answers at {kind}://127.0.0.1:\d+ .*start"):
        fn.sweep(quick, {"lr": [1]}, executor=f"{kind}://127.0.0.1:{closed_port}", progress=False)
    assert time.monotonic() - started < 5


def test_a_server_that_is_no_scheduler_is_reported(libraries, monkeypatch):
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConnectionError, match=r"no scheduler answers at dask://.* \(timed out\)"):
            check_workers("auto", f"dask://127.0.0.1:{port}")


def test_the_command_line_makes_no_folder_for_an_unreachable_scheduler(
    closed_port, libraries, tmp_path, capsys
):
    (tmp_path / "settings.yaml").write_text("dataset: digits\n")
    grid = ["--grid", "epochs=1,2", "--out", str(tmp_path / "sweep")]
    executor = f"dask://127.0.0.1:{closed_port}"
    assert main(["sweep", str(tmp_path / "settings.yaml"), *grid, "--executor", executor]) == 1
    assert f"error: no scheduler answers at {executor}" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the executors read from a clock, in a list."""
    seconds = [100.0]
    monkeypatch.setattr(executors.time, "monotonic", lambda: seconds[0])
    return seconds


def said_by(workers):
    """The warnings of one check."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        workers.check()
    return [str(each.message) for each in caught]


def test_a_cluster_without_workers_is_reported_once_each_time(clock):
    answers = iter([2, 0, 0, 0, 1, 0, 0])
    workers = Workers("the cluster", "dask worker a", lambda: next(answers))
    said = []
    for _ in range(7):
        said.append(said_by(workers))
        clock[0] += 10
    advice = "start one (dask worker a), or stop the sweep with Ctrl-C"
    warned = [f"the cluster has no worker: the sweep waits for one: {advice}"]
    assert said == [[], [], warned, [], [], [], warned]  # after more than 15 s


def test_a_cluster_that_begins_without_workers_is_reported_at_once(clock):
    assert said_by(Workers("the cluster", "dask worker a", lambda: 0))


def test_a_cluster_is_asked_at_most_once_a_second(clock):
    asked = []

    def count():
        asked.append(clock[0])
        return 1

    workers = Workers("the cluster", "dask worker a", count)
    for _ in range(6):
        workers.check()
        clock[0] += 0.5
    assert asked == [100, 101, 102]


def test_a_cluster_that_does_not_answer_is_no_error(clock):
    def count():
        raise OSError("closed")

    assert not said_by(Workers("the cluster", "dask worker a", count))


@pytest.mark.parametrize(
    "executor",
    ["dask://", "dask://:8786", "dask://a:b", "ray://a:70000", "dask://a:0", "dask://a/b", "dask://me@a"],
)
def test_a_wrong_address_is_rejected(executor):
    with pytest.raises(ValueError, match=rf"must be like {executor[:3]}\w*://127.0.0.1:\d+, not"):
        check_workers("auto", executor)


@pytest.mark.parametrize("executor", ["dask", "http://a:8786", "Ray", None, 3, ["threads"], b"ray", object()])
def test_an_unknown_executor_is_rejected(executor):
    with pytest.raises(ValueError, match=r"unknown executor .*dask://host:port, ray, ray://"):
        check_workers("auto", executor)


def test_the_address_that_dask_prints_is_corrected():
    with pytest.raises(ValueError, match=r"'tcp://a:8786': .* \(dask://a:8786\), ray, "):
        check_workers("auto", "tcp://a:8786")


def test_the_workers_of_a_cluster_are_not_counted_by_jobs():
    with pytest.raises(ValueError, match='jobs must be "auto" with dask, not 2: its workers'):
        check_workers(2, "dask://127.0.0.1")


@pytest.mark.parametrize("executor", ["dask://127.0.0.1", "ray"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(executor, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[(dask|ray)\]'"):
        check_workers("auto", executor)


@dataclasses.dataclass
class Train:
    build: Callable

    def __call__(self, point, seed):
        return Member(point, seed, self.build(**point))


def parcel_of(build, point):
    pytest.importorskip("cloudpickle")
    return parcel.Parcel(Train(build), [(point, 0)])


def test_a_parcel_trains_the_same_after_it_was_sent():
    import numpy as np

    data, empty = np.arange(1000.0), np.empty(0)

    def build(lr):
        return {"sum": lr * data.sum() + len(empty)}

    sent = parcel_of(build, {"lr": 2})
    buffers = []
    received = pickle.loads(pickle.dumps(sent, 5, buffer_callback=buffers.append), buffers=buffers)
    assert sum(buffer.raw().nbytes for buffer in buffers) == data.nbytes  # not within the pickled bytes
    assert parcel.run_member(received, 0).values == {"sum": 2 * data.sum()}


def test_a_function_that_cannot_be_sent_is_named_with_its_variable():
    lock = threading.Lock()

    def locked(lr, scale=1):
        with lock:
            return {"lr": lr * scale}

    for build in (locked, functools.partial(locked, scale=2)):
        with pytest.raises(TypeError, match=r"locked.* because of its variable lock: cannot pickle '_thread"):
            parcel_of(build, {"lr": 1})
    with pytest.raises(TypeError, match="the values of lr in the grid cannot be sent"):
        parcel_of(quick, {"lr": lock, "hidden": 3})


def test_a_worker_with_another_version_is_refused(monkeypatch):
    sent = pickle.loads(pickle.dumps(parcel_of(quick, {"lr": 1})))
    own = parcel._versions()
    monkeypatch.setattr(parcel, "_versions", lambda: "fastnn 0.0.9 with Python 3.11")
    with pytest.raises(ImportError, match=rf"^worker .* has fastnn 0.0.9 .*this process has {own}: install"):
        sent.run(0)


def test_a_worker_without_a_module_is_named():
    made = parcel_of(quick, {"lr": 1})
    made._pickled = b"cnot_there\nbuild\n."
    with pytest.raises(ImportError, match=r"^worker .* cannot load .*ModuleNotFoundError.*'not_there': inst"):
        made.run(0)


KILLED = f"""
{TESTS_ON_PATH}
import os, signal, sys
import fastnn as fn
from fastnn.cli.main import main
from tests.studies.test_executors import dies_once
study = fn.Study()
grid = {{"flag": [sys.argv[1]], "lr": [1, 2, 3, 4]}}
fn.sweep(dies_once, grid, seeds=[0], executor="joblib", jobs=2, study=study)
print(sorted(member.values["lr"] for member in study.members))
"""


def dies_once(flag, lr):
    if lr == 3 and first_time(flag):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"lr": lr}


def test_the_runs_of_a_killed_joblib_worker_start_again(tmp_path):
    pytest.importorskip("joblib")
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "flag"], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "[1.0, 2.0, 3.0, 4.0]\n"
    assert "a worker process died" in ran.stderr


def test_joblib_names_a_function_that_cannot_be_sent():
    pytest.importorskip("joblib")
    lock = threading.Lock()

    def locked(lr):
        with lock:
            return {"lr": lr}

    with pytest.raises(TypeError, match=r"locked cannot be sent to other processes, because of .* lock: "):
        fn.sweep(locked, {"lr": [1, 2]}, executor="joblib", jobs=2, progress=False)


def test_threads_of_joblib_restore_the_number_of_threads():
    """They enter and leave in any order."""
    joblib = pytest.importorskip("joblib")
    before = fn.get_num_threads()
    fn.set_num_threads(2)
    barrier = threading.Barrier(2)

    def together(wait):
        barrier.wait(30)
        time.sleep(wait)
        return {"threads": fn.get_num_threads()}

    try:
        with joblib.parallel_config(backend="threading", n_jobs=2):
            study = fn.sweep(together, {"wait": [0, 0.2]}, seeds=[0], executor="joblib", progress=False)
        assert [member.values["threads"] for member in study.members] == [1, 1]
        assert fn.get_num_threads() == 2
    finally:
        fn.set_num_threads(before)
