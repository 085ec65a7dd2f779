"""Sweeps on a Dask cluster whose workers, or whose scheduler, are gone."""

import contextlib
import os
import signal
import sys
import threading
import time

import pytest

import fastnn as fn
from fastnn.studies import executors, on_dask
from tests.studies.workers import sent_by_value

distributed = pytest.importorskip("distributed")
pytest.importorskip("cloudpickle")


@pytest.fixture
def cluster_of():
    """Makes a cluster of the given number of workers for one test."""
    with sent_by_value(sys.modules[__name__]), contextlib.ExitStack() as clusters:

        def make(workers):
            made = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            return clusters.enter_context(made)

        yield make


def address(cluster):
    return cluster.scheduler_address.replace("tcp://", "dask://")


def test_a_cluster_that_loses_all_workers_is_reported_once_and_goes_on(cluster_of, tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "ALONE_SECONDS", 0.5)
    monkeypatch.setattr(executors, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(on_dask, "RESULT_SECONDS", 0.5)  # the worker may leave with the result of a run
    cluster = cluster_of(1)

    def slow(number):
        (tmp_path / f"{number}").touch()
        time.sleep(0.5)
        return {"number": number}

    def replace():
        """Take the worker away during the first run; another one comes when the sweep has waited."""
        while not (tmp_path / "0").exists():
            time.sleep(0.01)
        cluster.scale(0)
        time.sleep(4)
        cluster.scale(1)

    replacing = threading.Thread(target=replace)
    replacing.start()
    with pytest.warns(UserWarning, match="has no worker") as caught:
        study = fn.sweep(slow, {"number": range(3)}, seeds=[0], executor=address(cluster), progress=False)
    replacing.join()
    assert [member.values["number"] for member in study.members] == [0, 1, 2]
    scheduler = cluster.scheduler_address
    advice = f"start one (dask worker {scheduler}), or stop the sweep with Ctrl-C"
    expected = f"the Dask cluster {scheduler} has no worker: the sweep waits for one: {advice}"
    assert [str(each.message) for each in caught] == [expected]


def test_a_run_whose_worker_dies_with_the_result_starts_again(cluster_of, tmp_path, monkeypatch):
    monkeypatch.setattr(on_dask, "RESULT_SECONDS", 0.5)
    cluster = cluster_of(1)

    def build(number):
        (tmp_path / f"{number}").touch()
        return {"pid": os.getpid()}

    class Killing(fn.Study):
        """Kills the worker when it has both results, before the second one is fetched."""

        def add(self, member):
            if not len(self):
                while not (tmp_path / "1").exists():
                    time.sleep(0.01)
                time.sleep(0.5)
                os.kill(int(member.values["pid"]), signal.SIGKILL)
            super().add(member)

    grid = {"number": [0, 1]}
    study = fn.sweep(build, grid, seeds=[0], executor=address(cluster), study=Killing(), progress=False)
    assert len({member.values["pid"] for member in study.members}) == 2


def test_ctrl_c_ends_the_wait_for_a_worker(cluster_of):
    cluster = cluster_of(0)
    started = time.monotonic()
    press = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    press.start()
    with pytest.warns(UserWarning, match="has no worker"), pytest.raises(KeyboardInterrupt):
        fn.sweep(lambda lr: {"lr": lr}, {"lr": [1]}, executor=address(cluster), progress=False)
    assert time.monotonic() - started < 20


def test_the_limit_of_dask_for_a_cluster_without_workers_is_an_error(cluster_of):
    import dask

    with dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}):
        cluster = cluster_of(0)
    limit = r"had no worker for 1 s, as long as .*no-workers-timeout allows: start one \(dask worker tcp:"
    with pytest.warns(UserWarning, match="has no worker"), pytest.raises(ConnectionError, match=limit):
        fn.sweep(lambda lr: {"lr": lr}, {"lr": [1]}, executor=address(cluster), progress=False)


def test_a_scheduler_that_ends_is_an_error(cluster_of, tmp_path):
    cluster = cluster_of(1)

    def slow(number):
        (tmp_path / "begun").touch()
        time.sleep(60)

    def end():
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        cluster.close()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(ConnectionError, match=r"the Dask scheduler at .* is gone"):
        fn.sweep(slow, {"number": [1]}, seeds=[0], executor=address(cluster), progress=False)
    ending.join()
