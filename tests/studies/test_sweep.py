"""Sweeps: the same bits as serial training, failures, Ctrl-C, and the table and file of a study."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastnn as fn
from fastnn.studies.study import Member, Spread
from fastnn.training import watch
from tests.kernels.children import TESTS_ON_PATH


def data(count=600):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, count)
    return rng.random((count, 6), np.float32) + np.eye(3, 6, dtype=np.float32)[y], y


def build(lr, hidden=8, dropout=0.1, **options):
    """A run with everything that draws random numbers: initial weights, dropout, the order of the samples."""
    model = fn.Sequential(
        fn.Linear(6, hidden), fn.Tanh(), fn.BatchNorm1d(hidden), fn.Dropout(dropout), fn.Linear(hidden, 3)
    )
    return {
        "model": model,
        "data": data(),
        "validation": data(60),
        "optimizer": fn.SGD(lr=lr, momentum=0.5),
        "batch_size": 20,
        "epochs": 3,
        **options,
    }


def with_seed(seed, lr):
    assert seed in range(3)
    return build(lr)


GRID = {"lr": [0.01, 0.1], "hidden": [8, 12]}


def curves(study):
    return [(dict(m.point), m.seed, m.values, m.history.updates["loss"]) for m in study.members]


@pytest.fixture(scope="module")
def serial():
    return fn.sweep(build, GRID, jobs=1, progress=False)


def test_results_do_not_depend_on_the_number_of_jobs(serial):
    assert len(serial) == 2 * 2 * 3
    for jobs in (2, 5, "auto"):
        assert curves(fn.sweep(build, GRID, jobs=jobs, progress=False)) == curves(serial)


@pytest.mark.parametrize("name", ["ref", "jit"])
def test_results_do_not_depend_on_the_jobs_with_other_backends(name):
    with fn.backend(name):
        alone = fn.sweep(build, {"lr": [0.1]}, seeds=[0, 1], jobs=1, progress=False)
        together = fn.sweep(build, {"lr": [0.1]}, seeds=[0, 1], jobs=2, progress=False)
    assert curves(alone) == curves(together)
    close = fn.sweep(build, {"lr": [0.1]}, seeds=[0, 1], progress=False)
    for (*_, losses), (*_, others) in zip(curves(alone), curves(close), strict=True):
        np.testing.assert_allclose(losses, others, rtol=1e-4)


def test_a_run_of_a_sweep_equals_a_call_of_fit(serial):
    fn.manual_seed(2)
    options = build(0.1, 12)
    history = fn.fit(options.pop("model"), options.pop("data"), seed=2, progress=False, **options)
    member = serial.members[-1]
    assert (dict(member.point), member.seed) == ({"lr": 0.1, "hidden": 12}, 2)
    assert member.history == history
    assert member.values == {name: curve[-1] for name, curve in history.items()}


def test_joblib_in_one_process_gives_the_same_results(serial):
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="threading", n_jobs=2):
        found = fn.sweep(build, {"lr": [0.1], "hidden": [12]}, executor="joblib", progress=False)
    assert curves(found) == curves(serial)[-3:]


def test_joblib_in_two_processes_gives_the_same_results(serial):
    """In a script, because the workers import the function they call, with the path of the main script."""
    pytest.importorskip("joblib")
    script = f"""
{TESTS_ON_PATH}
import json
import fastnn as fn
from tests.studies.test_sweep import GRID, build, curves
print(json.dumps(curves(fn.sweep(build, GRID, executor="joblib", jobs=2, progress=False))))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == json.loads(json.dumps(curves(serial)))


def test_a_sweep_does_not_change_the_default_generator():
    fn.manual_seed(5)
    before = fn.get_num_threads()
    first = fn.Linear(2, 2).weight.value
    fn.manual_seed(5)
    fn.sweep(build, {"lr": [0.1]}, seeds=[0], jobs=1, progress=False)
    fn.sweep(build, {"lr": [0.1]}, seeds=[0, 1], jobs=2, progress=False)
    np.testing.assert_array_equal(fn.Linear(2, 2).weight.value, first)
    assert fn.get_num_threads() == before


def test_the_grid_may_be_a_list_and_build_may_take_the_seed():
    points = [{"lr": 0.1}, {"lr": 0.01}]
    study = fn.sweep(with_seed, points, seeds=(0, 2), progress=False)
    assert [(m.point, m.seed) for m in study.members] == [(p, s) for p in points for s in (0, 2)]


def test_build_may_return_a_dict_of_results():
    study = fn.sweep(lambda a, seed: {"sum": a + seed, "accuracy": 1}, {"a": [1, 5]}, progress=False)
    assert [m.values for m in study.members] == [
        {"sum": a + s, "accuracy": 1} for a in (1, 5) for s in range(3)
    ]
    row = study.rows()[1]
    assert row["a"] == 5
    assert row["sum"] == Spread(6.0, 1.0, 3)
    assert study.best("accuracy") == {"a": 1}  # the first of several equal points
    assert study.best("sum", mode="max") == {"a": 5}
    with pytest.raises(ValueError, match=r"'val_accuracy': the results are accuracy, seconds, sum"):
        study.best()


def test_a_failed_run_is_reported_and_the_others_continue():
    def some_fail(lr, seed):
        if seed == 1:
            raise OverflowError("seed 1 is bad")
        return build(lr)

    for jobs in (1, 3):
        with pytest.warns(UserWarning, match=r"2 of 6 runs failed.*OverflowError: seed 1 is bad.*failed"):
            study = fn.sweep(some_fail, {"lr": [0.1, 0.2]}, jobs=jobs, progress=False)
        assert [(m.point["lr"], m.seed) for m in study.failed] == [(0.1, 1), (0.2, 1)]
        assert "some_fail" in study.failed[0].details
        assert study.rows()[0]["val_accuracy"].runs == 2
        assert "failed: lr 0.1, seed 1: OverflowError: seed 1 is bad" in str(study)
    # Only the failed runs are trained again.
    tried = []

    def all_well(lr, seed):
        tried.append((lr, seed))
        return build(lr)

    fn.sweep(all_well, {"lr": [0.1, 0.2]}, study=study, jobs=1, progress=False)
    assert tried == [(0.1, 1), (0.2, 1)]
    assert study.failed == []
    assert [m.seed for m in study.members] == [0, 1, 2, 0, 1, 2]


def test_a_diverging_run_does_not_stop_the_others():
    with pytest.warns(UserWarning, match=r"1 of 2 .*NonFiniteError"):
        study = fn.sweep(build, {"lr": [0.1, 1e30]}, seeds=[0], progress=False)
    assert [m.point["lr"] for m in study.failed] == [1e30]


def test_a_sweep_without_a_successful_run_raises():
    with pytest.raises(RuntimeError, match=r"(?s)all 2 runs failed.*KeyError: 'typo'"):
        fn.sweep(lambda lr: {}["typo"], {"lr": [1]}, seeds=[0, 1], progress=False)
    with pytest.raises(RuntimeError, match=r"TypeError: build must return.*returned None"):
        fn.sweep(lambda lr: None, {"lr": [1]}, progress=False)
    with pytest.raises(RuntimeError, match="unexpected keyword argument 'epoch'"):
        fn.sweep(lambda lr: build(lr, epoch=3), {"lr": [1]}, progress=False)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"grid": {"lr": 0.1}}, TypeError, "list of values for 'lr', not 0.1"),
        ({"grid": {"lr": "adam"}}, TypeError, "list of values for 'lr', not 'adam'"),
        ({"grid": {"lr": []}}, ValueError, "no value for 'lr'"),
        ({"grid": []}, TypeError, "at least one dict"),
        ({"grid": {"speed": [1]}}, TypeError, r"build\(lr.* does not take the parameters speed"),
        ({"grid": {"lr": [0.1, 0.2, 0.1]}}, ValueError, r"are the same, {'lr': 0.1} and {'lr': 0.1}"),
        ({"grid": {"lr": [lambda: 0.1, lambda: 0.2]}}, ValueError, "are the same.*use names"),
        ({"seeds": 3}, TypeError, r"range\(3\), not 3"),
        ({"seeds": []}, ValueError, "at least one"),
        ({"seeds": [1, 1]}, ValueError, r"without repetitions, not \[1, 1\]"),
        ({"seeds": [-1]}, ValueError, "non-negative integer, not -1"),
        ({"seeds": [0.5]}, ValueError, "non-negative integer, not 0.5"),
        ({"jobs": 0}, ValueError, "jobs must be an integer of at least 1, not 0"),
        ({"jobs": "all"}, ValueError, "jobs must be"),
        ({"executor": "dask"}, ValueError, "choose one of threads, joblib, dask:"),
        ({"build": None}, TypeError, "build must be a function"),
    ],
)
def test_invalid_arguments_are_rejected(options, error, match):
    options = {"build": build, "grid": {"lr": [0.1]}, "progress": False, **options}
    with pytest.raises(error, match=match):
        fn.sweep(options.pop("build"), options.pop("grid"), **options)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_the_finished_runs(jobs):
    study = fn.Study()

    def interrupted(lr, seed):
        if seed == 3:
            os.kill(os.getpid(), signal.SIGINT)
            return build(lr, epochs=10**6)  # would not end within the test
        return build(lr)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fn.sweep(interrupted, {"lr": [0.1]}, seeds=range(8), jobs=jobs, study=study, progress=False)
    assert time.monotonic() - started < 30
    kept = {m.seed for m in study.members}
    assert 3 not in kept
    assert len(kept & {0, 1, 2}) >= 4 - jobs  # each of the other jobs may still be training one of them
    assert not any(thread.name.startswith("fastnn-sweep") for thread in threading.enumerate())
    before = curves(study)
    fn.sweep(build, {"lr": [0.1]}, seeds=range(8), study=study, progress=False)
    assert [curve for curve in curves(study) if curve[1] in kept] == before
    assert curves(study) == curves(fn.sweep(build, {"lr": [0.1]}, seeds=range(8), jobs=1, progress=False))


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_use_one_thread_and_the_number_of_threads_is_restored(jobs):
    before = fn.get_num_threads()
    fn.set_num_threads(2)
    try:
        study = fn.sweep(
            lambda lr: {"threads": fn.get_num_threads()}, {"lr": [1, 2]}, seeds=[0], jobs=jobs, progress=False
        )
        assert [member.values["threads"] for member in study.members] == [1, 1]
        assert fn.get_num_threads() == 2
        with pytest.raises(RuntimeError, match="all 1 runs failed"):
            fn.sweep(lambda lr: 1 / 0, {"lr": [1]}, seeds=[0], jobs=jobs, progress=False)
        assert fn.get_num_threads() == 2
    finally:
        fn.set_num_threads(before)


def test_a_study_has_each_run_once():
    class Counted(fn.Study):
        added = 0

        def add(self, member):
            self.added += 1
            super().add(member)

    study = Counted()
    fn.sweep(lambda lr: {"lr": lr}, {"lr": [1, 2, 3]}, seeds=[0], jobs=2, study=study, progress=False)
    assert study.added == len(study) == 3


def test_the_table_has_means_and_deviations_of_each_point(serial):
    lines = str(serial).splitlines()
    assert lines[0].split() == ["lr", "hidden", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert len(lines) == 5
    assert lines[1].split()[:2] == ["0.01", "8"]
    values = [m.values["val_loss"] for m in serial.members[:3]]
    spread = serial.rows()[0]["val_loss"]
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.std == pytest.approx(np.std(values, ddof=1))
    assert str(spread) in lines[1]
    assert repr(serial) == "<Study of 12 runs, 0 failed>"
    assert str(fn.Study()) == "no run has finished"


@pytest.mark.parametrize(
    ("spread", "text"),
    [
        (Spread(0.97654, 0.00234, 3), "0.9765 ± 0.0023"),
        (Spread(0.5, math.nan, 1), "0.5"),
        (Spread(2.0, 0.0, 3), "2.0000 ± 0.0000"),
        (Spread(123.4, 56.7, 3), "123 ± 57"),
        (Spread(math.nan, math.nan, 3), "nan"),
        (Spread(math.inf, math.nan, 2), "inf"),
    ],
)
def test_a_spread_is_printed_with_two_digits_of_its_deviation(spread, text):
    assert str(spread).replace(" ± nan", "") in (text, f"{text}.0000", f"{text}0000")


@pytest.mark.parametrize("name", ["lr", "val_loss", "seconds"])
def test_a_parameter_with_the_name_of_a_result_stays_in_the_table(name):
    def renamed(seed, **point):
        return build(point[name], schedule=fn.schedules.Cosine())

    study = fn.sweep(renamed, {name: [0.01, 0.1]}, seeds=[0], jobs=1, progress=False)
    rows = study.rows()
    assert [row[name] for row in rows] == [0.01, 0.1]
    results = [member.values.get(name, member.seconds) for member in study.members]
    assert [row[f"{name} (result)"].mean for row in rows] == results
    assert str(study).splitlines()[0].split()[0] == name
    best = min(study.members, key=lambda member: member.values.get(name, member.seconds))
    assert study.best(name, mode="min") == best.point


def test_watching_checks_the_gradients_of_short_runs_only_when_asked(monkeypatch):
    """A check takes as long as a training on 256 samples: several times an epoch of a small data set."""
    checks = []
    check_layers = watch.check_layers
    monkeypatch.setattr(watch, "check_layers", lambda *a: (checks.append(1), check_layers(*a))[1])
    for on in (True, False):
        fn.sweep(build, {"lr": [0.1]}, seeds=[0], jobs=1, progress=False, watch=on)
    assert not checks
    own = fn.GradientWatch(silent=True)
    fn.sweep(lambda lr: build(lr, callbacks=own), {"lr": [0.1]}, seeds=[0], jobs=1, progress=False)
    assert len(checks) == 3  # epochs
    with pytest.raises(TypeError, match="watch must be True or False"):
        fn.sweep(build, {"lr": [0.1]}, watch="no")


@pytest.mark.parametrize("own", [False, True])
def test_warnings_of_an_own_watch_are_listed_and_watch_false_lists_none(own):
    def guessing(lr):
        options = {"callbacks": fn.GradientWatch(silent=True)} if own else {}
        return build(lr, epochs=10, **options)

    found = fn.sweep(guessing, {"lr": [1e-30]}, seeds=[0], jobs=1, progress=False, watch=False)
    assert ("stuck" in found.members[0].warnings) == own


def test_the_table_has_the_warnings_of_runs():
    def build():
        model = fn.Sequential(fn.Linear(6, 3, weight_init="zeros", bias_init="zeros"))
        return {"model": model, "data": data(6000), "batch_size": 20, "optimizer": fn.SGD(lr=1e-9)}

    study = fn.sweep(build, {}, seeds=[4, 5], progress=False)
    assert all("stuck" in member.warnings for member in study.members)
    assert [
        line for line in str(study).splitlines() if line.startswith("stuck: seeds 4, 5: the loss was 1.099")
    ]


def test_a_loaded_study_equals_the_saved_one(serial, tmp_path):
    with pytest.warns(UserWarning, match="1 of 2"):
        study = fn.sweep(
            lambda layer, sizes: {"size": sizes[1]} if layer is fn.ReLU else 1 / 0,
            {"layer": [fn.ReLU, fn.Tanh], "sizes": [(2, 3)]},
            seeds=[0],
            progress=False,
        )
    for each in (serial, study):
        read = fn.Study.load(each.save(tmp_path / "study.json"))
        assert str(read) == str(each)
        assert all(read.has(m.point, m.seed) == (m.error is None) for m in each.members)
    assert curves(fn.Study.load(serial.save(tmp_path / "study.json"))) == curves(serial)


@pytest.mark.parametrize("text", ["", "{}", '{"members": [{"seed": 1}]}', '{"members": 3}', "[]"])
def test_loading_another_file_raises(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is not a study"):
        fn.Study.load(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError):
        fn.Study.load(tmp_path / "missing.json")


def test_points_are_compared_exactly(tmp_path):
    study = fn.Study([Member({"lr": 0.1}, 0), Member({"lr": 0.1 + 1e-9}, 0), Member({"lr": 0.1}, 1)])
    assert len(study) == 3
    assert len(study.points()) == 2
    assert len(fn.Study.load(study.save(tmp_path / "s.json"))) == 3
    assert json.loads((tmp_path / "s.json").read_text())["members"][1]["point"] == {"lr": 0.1 + 1e-9}


def test_plot_draws_a_curve_and_rejects_an_unknown_one(serial, tmp_path):
    assert serial.plot(tmp_path / "bands.png", name="val_loss", log=True).stat().st_size > 10_000
    with pytest.raises(ValueError, match="has no 'auc'"):
        serial.plot(tmp_path / "none.png", name="auc")
