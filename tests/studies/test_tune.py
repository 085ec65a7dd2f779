"""`fn.tune`: the same trials again, pruning, resuming, diverged and failed trials, bad input."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest

import fastnn as fn
from fastnn.studies.study import point_key
from tests.studies.test_sweep import build

optuna = pytest.importorskip("optuna")

SPACE = {"lr": fn.Range(1e-4, 1.0, log=True), "hidden": fn.Range(2, 9), "dropout": [0.0, 0.1]}


def tune(function=build, space=SPACE, **options):
    return fn.tune(function, space, **{"trials": 8, "progress": False, **options})


def results(found):
    return [(trial.point, trial.state, trial.curve, trial.value) for trial in found.trials]


@pytest.fixture(scope="module")
def found():
    return tune()


def test_a_search_finds_the_best_point_and_repeats_its_trials(found):
    assert len({point_key(trial.point) for trial in found.trials}) == 8
    assert {type(trial.point["hidden"]) for trial in found.trials} == {int}
    complete = [trial for trial in found.trials if trial.state == "complete"]
    assert found.best_value == min(trial.value for trial in complete)
    member = fn.sweep(build, [found.best], seeds=[0], jobs=1, progress=False).members[0]
    assert member.values["val_loss"] == found.best_value
    assert results(tune()) == results(found)
    assert results(tune(seed=1)) != results(found)


def test_a_search_prunes_what_is_worse_than_the_median(found):
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.curve) < 3 for trial in pruned)
    assert all(trial.value == trial.curve[-1] for trial in pruned)
    everything = tune(pruner=None)
    assert {trial.state for trial in everything.trials} == {"complete"}
    tune(pruner=optuna.pruners.ThresholdPruner(upper=100), trials=1)


def test_larger_accuracies_are_better():
    found = tune(monitor="val_accuracy", trials=3, pruner=None)
    assert found.mode == "max"
    assert found.best_value == max(trial.value for trial in found.trials)


def test_an_interrupted_search_continues_as_if_it_had_not_been(found, tmp_path):
    calls, storage = [], tmp_path / "search.log"

    def interrupted(**point):
        calls.append(point)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return build(**point)

    with pytest.raises(KeyboardInterrupt):
        tune(interrupted, storage=storage)
    assert len(tune(trials=3, storage=storage).trials) == 3
    assert results(tune(storage=storage)) == results(found)


def test_two_processes_share_a_search_without_the_same_trials(tmp_path):
    """As on a cluster: one trial of another process is running while this process searches."""
    points = []

    def nested(lr):
        points.append(lr)
        if len(points) == 1:
            tune(nested, {"lr": fn.Range(0.0, 1.0)}, trials=2, storage=tmp_path / "s", monitor="loss")
        return {"loss": lr}

    found = tune(nested, {"lr": fn.Range(0.0, 1.0)}, trials=3, storage=tmp_path / "s", monitor="loss")
    assert len(set(points)) == len(found.trials) == 3


def test_a_diverged_trial_is_pruned_and_a_failed_one_is_reported():
    def sometimes(kind):
        if kind == "fails":
            raise OverflowError("too much")
        return build(1e30 if kind == "diverges" else 0.1)

    with pytest.warns(
        UserWarning, match=r"\d of 9 trials failed, the first one with OverflowError: too much"
    ):
        found = tune(sometimes, {"kind": ["fails", "diverges", "works"]}, trials=9)
    states = {trial.point["kind"]: trial.state for trial in found.trials}
    assert states == {"fails": "failed", "diverges": "diverged", "works": "complete"}
    assert found.best == {"kind": "works"}
    assert "diverged: NonFiniteError" in str(found)
    nan = tune(lambda x: {"loss": float("nan")}, {"x": [1, 2]}, monitor="loss", trials=1)
    assert nan.trials[0].state == "diverged"
    with pytest.raises(ValueError, match=r"no trial is complete:\n"):
        nan.best  # noqa: B018
    with pytest.raises(RuntimeError, match="all 2 trials failed, the first one with ZeroDivisionError"):
        tune(lambda x: 1 / 0, {"x": [1, 2]}, trials=2)


def test_failed_trials_and_a_missing_result_do_not_use_up_the_trials(tmp_path):
    options = {"storage": tmp_path / "search.log", "monitor": "loss", "trials": 3}
    with pytest.raises(RuntimeError, match="all 3 trials failed"):
        tune(lambda x: 1 / 0, {"x": [1, 2]}, **options)
    with pytest.raises(ValueError, match=r"no result 'loss', only score: pass another monitor"):
        tune(lambda x: {"score": x}, {"x": [1, 2]}, **options)
    mended = tune(lambda x: {"loss": x}, {"x": [1, 2]}, **options)
    assert [trial.state for trial in mended.trials] == ["failed"] * 3 + ["complete"] * 3


def test_a_misspelled_monitor_ends_the_search_after_the_first_epoch(tmp_path):
    epochs, storage = [], tmp_path / "search.log"

    def counting(**point):
        return {**build(**point), "callbacks": lambda training: epochs.append(training.epoch)}

    for _ in range(2):  # the trial does not count
        with pytest.raises(ValueError, match=r"no result 'val_acuracy', only loss, .* pass another monitor"):
            tune(counting, monitor="val_acuracy", mode="max", storage=storage)
    assert epochs == [0, 0]


def test_a_validation_within_epochs_is_monitored():
    found = tune(lambda lr: {**build(lr), "validate_every": 3}, {"lr": [0.1, 0.2]}, trials=2, pruner=None)
    assert all(len(trial.curve) > 3 and trial.state == "complete" for trial in found.trials)


def test_a_lock_that_a_killed_process_has_left_behind_is_broken(tmp_path, monkeypatch):
    """Also if the path is relative. Optuna waits 30 s for such a lock: here by a clock that is fast."""
    from optuna.storages.journal import _file

    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    options = {"space": {"x": [1, 2]}, "storage": "runs/search.log", "monitor": "loss"}
    tune(lambda x: {"loss": x}, trials=1, **options)
    os.symlink(tmp_path / "runs" / "search.log", tmp_path / "runs" / "search.log.lock")
    clock = SimpleNamespace(**{**vars(time), "monotonic": lambda: 10 * time.monotonic()})
    monkeypatch.setattr(_file, "time", clock)
    assert len(tune(lambda x: {"loss": x}, trials=2, **options).trials) == 2


def test_the_table_has_a_row_per_trial(found):
    lines = str(found).splitlines()
    assert lines[0].split() == ["trial", "lr", "hidden", "dropout", "val_loss", "state", "epochs", "seconds"]
    assert len(lines) == 9
    assert [row["lr"] for row in found.rows()] == [trial.point["lr"] for trial in found.trials]
    assert found._repr_html_().count("<tr>") == 9
    row = tune(lambda epochs: {"loss": epochs}, {"epochs": [7]}, monitor="loss", trials=1).rows()[0]
    assert (row["epochs"], row["epochs (result)"]) == (7, 0)
    assert repr(found) == "<Tuning of 8 trials>"


def test_plot_draws_the_trials(found, tmp_path):
    pytest.importorskip("matplotlib")
    assert found.plot(tmp_path / "trials.png", log=True).stat().st_size > 10_000
    labels = [text.get_text() for text in found.plot().axes[0].get_legend().get_texts()]
    assert labels == ["complete", "pruned", "best so far"]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"trials": 0}, ValueError, "trials must be an integer of at least 1, not 0"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
        ({"pruner": "best"}, ValueError, "unknown pruner 'best': choose one of halving, hyperband, median"),
        ({"monitor": "quality"}, ValueError, "pass mode='max' or mode='min'"),
        ({"mode": "up"}, ValueError, "unknown mode 'up'"),
        ({"function": None}, TypeError, "build must be a function"),
        ({"space": {"lr": (0.01, 1.0)}}, TypeError, r"list \[0.01, 1.0\] for two .* fn.Range\(0.01, 1.0\)"),
        ({"space": {"speed": [1]}}, TypeError, r"build\(lr.* does not take the parameters speed"),
        ({"monitor": "val_auc"}, ValueError, "no result 'val_auc', only loss, .* pass another monitor, or"),
        ({"storage": 3}, TypeError, "storage must be a path"),
        ({"storage": "foo://x"}, ValueError, "cannot open the storage 'foo://x': NoSuchModuleError"),
        ({"storage": "no/such.log"}, FileNotFoundError, "no/such.log"),
        ({"storage": __file__}, ValueError, "cannot open the storage .*JSONDecodeError"),
        ({"name": ""}, TypeError, "name must be a text, not ''"),
    ],
)
def test_invalid_arguments_are_rejected(options, error, match):
    with pytest.raises(error, match=match):
        tune(**options)


def test_another_search_in_the_storage_is_not_mixed_with_this_one(tmp_path):
    storage = tmp_path / "search.log"
    space = {"lr": [1, 2]}

    def simple(lr):
        return {"loss": lr}

    tune(simple, space, storage=storage, monitor="loss", trials=1)
    with pytest.raises(
        ValueError, match=r"has a search 'fastnn' with space = {'lr': \[1, 2\]}, not .*\[1, 3\]"
    ):
        tune(simple, {"lr": [1, 3]}, storage=storage, monitor="loss")
    with pytest.raises(ValueError, match="with seed = 0, not 1: choose another name"):
        tune(simple, space, storage=storage, monitor="loss", seed=1)
    assert len(tune(simple, space, storage=storage, monitor="loss", seed=1, trials=1, name="b").trials) == 1
    own = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="fastnn", storage=own).optimize(lambda trial: 1.0, n_trials=1)
    with pytest.raises(ValueError, match=r"study 'fastnn' that fn\.tune did not make"):
        tune(simple, space, storage=own, monitor="loss")


def test_optuna_is_named_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna.trial", None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[tune\]'"):
        tune()
