"""Sweeps on a real Dask cluster of two worker processes on this machine."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

import fastnn as fn
from tests.studies import test_sweep
from tests.studies.test_sweep import GRID, build, curves
from tests.studies.workers import first_time, sent_by_value

distributed = pytest.importorskip("distributed")
pytest.importorskip("cloudpickle")


@pytest.fixture(scope="module")
def cluster():
    """Two workers, which are started again when they are killed, and get this test module by value."""
    import dask

    with (
        sent_by_value(test_sweep, sys.modules[__name__]),
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made,
    ):
        yield made


@pytest.fixture
def executor(cluster):
    cluster.wait_for_workers(2, timeout=30)  # one may have been killed
    return cluster.scheduler_address.replace("tcp://", "dask://")


def test_results_equal_serial_ones_although_a_worker_is_killed(executor, tmp_path):
    def dies_once(lr, hidden, seed):
        if (lr, hidden, seed) == (0.1, 8, 1) and first_time(tmp_path / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return build(lr, hidden)

    study = fn.sweep(dies_once, GRID, executor=executor, progress=False)
    assert (tmp_path / "killed").exists()
    assert curves(study) == curves(fn.sweep(build, GRID, jobs=1, progress=False))


def test_a_run_that_always_kills_its_worker_fails_and_the_others_continue(executor, cluster, tmp_path):
    def deadly(lr):
        if lr == 2:
            while len(list(tmp_path.iterdir())) < 2:  # Dask also suspects runs that wait for the same worker
                time.sleep(0.01)
            time.sleep(1)  # until their results have been fetched: those on this worker die with it
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / f"{lr}").touch()
        return {"lr": lr}

    died = "1 of 3 runs failed, the first one with WorkerDied: .*run_member"
    with distributed.Client(cluster, set_as_default=False) as client:
        with pytest.warns(UserWarning, match=died):
            study = fn.sweep(deadly, {"lr": [1, 2, 3]}, seeds=[0], executor=client, progress=False)
        assert client.status == "running"
    assert [member.values for member in study.members] == [{"lr": 1}, {}, {"lr": 3}]


class Counted:
    """An object that writes a line whenever a process receives it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return _received, (self.path,)


def _received(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return Counted(path)


def test_the_data_are_sent_once_per_worker(executor, tmp_path):
    data = Counted(str(tmp_path / "received"))

    def uses(number):
        return {"number": number, "characters": len(data.path)}

    fn.sweep(uses, {"number": range(20)}, seeds=[0], executor=executor, progress=False)
    pids = (tmp_path / "received").read_text().split()
    assert len(pids) == len(set(pids)) <= 2


def test_a_worker_with_another_version_is_refused_by_name(cluster, executor, tmp_path):
    folder = tmp_path / "fastnn_kernels-0.0.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fastnn-kernels\nVersion: 0.0.9\n")
    with distributed.Client(cluster, set_as_default=False) as client:
        worker = next(iter(client.scheduler_info()["workers"]))
        client.run(lambda: sys.path.insert(0, str(tmp_path)), workers=[worker])
        try:
            with pytest.raises(ImportError, match=rf"has {worker} \(fastnn 0.0.9\), but .*same version"):
                fn.sweep(lambda lr: {"lr": lr}, {"lr": [1]}, executor=executor, progress=False)
        finally:
            client.run(lambda: sys.path.remove(str(tmp_path)), workers=[worker])


@pytest.fixture
def dask_of_joblib(cluster):
    """What `executor="joblib"` means while joblib is told to use Dask."""
    joblib = pytest.importorskip("joblib")
    with distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        yield


def test_runs_for_the_dask_of_joblib_go_to_its_workers(dask_of_joblib):
    def where(lr):
        return {"pid": os.getpid()}

    study = fn.sweep(where, {"lr": [1]}, seeds=[0], executor="joblib", progress=False)
    assert study.members[0].values["pid"] != os.getpid()
    with pytest.raises(ValueError, match='jobs must be "auto" with dask'):
        fn.sweep(where, {"lr": [1]}, executor="joblib", jobs=2, progress=False)


class Unknown:
    """A callable that a worker cannot load, since its module is on no worker."""

    def __call__(self, lr):
        return {"lr": lr}

    def __reduce__(self):
        return _of_a_missing_module, ()


def _of_a_missing_module():
    raise ModuleNotFoundError("No module named 'my_model'")


@pytest.mark.parametrize("kind", ["address", "joblib"])
def test_a_function_that_workers_cannot_load_is_reported(executor, kind, request):
    if kind == "joblib":
        request.getfixturevalue("dask_of_joblib")
        executor = "joblib"
    with pytest.raises(ImportError, match=r"cannot load the function build: .*my_model.*: install or copy"):
        fn.sweep(Unknown(), {"lr": [1]}, seeds=[0], executor=executor, progress=False)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_grid_search_of_scikit_learn_runs_on_dask(cluster):
    joblib = pytest.importorskip("joblib")
    model_selection = pytest.importorskip("sklearn.model_selection")
    from fastnn.sklearn import MLPClassifier

    def search():
        estimator = MLPClassifier((8,), max_iter=2, random_state=0)
        grid = {"batch_size": [20, 30]}
        return model_selection.GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(
            *test_sweep.data()
        )

    with distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        found = search()
    assert (found.cv_results_["mean_test_score"] == search().cv_results_["mean_test_score"]).all()


def test_a_closed_client_is_rejected(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        pass
    with pytest.raises(ValueError, match="client must be connected and not asynchronous"):
        fn.sweep(lambda lr: {"lr": lr}, {"lr": [1]}, executor=client, progress=False)


def test_the_command_line_sweeps_on_dask(executor, tmp_path, capsys):
    from fastnn.cli.main import main

    out = tmp_path / "sweep"
    (tmp_path / "settings.yaml").write_text("dataset: digits\n")
    options = ["--grid", "epochs=1,2", "--seeds", "0:1", "--executor", executor, "--out", str(out)]
    assert not main(["sweep", str(tmp_path / "settings.yaml"), *options]), capsys.readouterr()
    assert len(fn.Study.load(out / "study.json")) == 2
    assert Path(out / "table.txt").exists()
