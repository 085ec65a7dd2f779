"""Running experiments: results are complete or absent, and used again only if nothing changed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn
from fastnn.reproduction import runner, store
from fastnn.reproduction.experiment import chosen
from fastnn.reproduction.runner import Run, run_all, run_one

from . import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The processes of experiments import `tests.reproduction.tiny`; behind an installed fastnn.
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


@pytest.fixture
def calls(tmp_path):
    """A file with one letter for each call of `train`."""
    path = tmp_path / "calls"
    path.write_text("")
    return path


def a_run(tmp_path, calls="", variant="corrected", quick=False, **options):
    full = {"value": 0.5, "calls": str(calls), "unused": 0}
    return Run(tiny.experiment(**{"full": full, **options}), variant, quick, tmp_path / "out")


def test_a_result_has_table_figures_timelines_and_log(tmp_path):
    run = a_run(tmp_path)
    assert [outcome.status for outcome in run_all([run], jobs=1)] == ["done"]
    assert run.folder == tmp_path / "out" / "t.one" / "corrected"
    assert sorted(path.name for path in run.folder.iterdir()) == [
        *(
            "curve.png",
            "curve.svg",
            "log.txt",
            "result.json",
            "timelines.csv",
            "training.json",
            "training.npz",
        )
    ]
    result = json.loads((run.folder / "result.json").read_text())
    assert [row["verdict"] for row in result["rows"]] == ["matches", "claim holds", "drawn"]
    assert result["depends_on"]["parameters"] == {"value": 0.5, "calls": "", "unused": 0}
    assert result["environment"]["python"]
    assert (run.folder / "log.txt").read_text() == "a line for the log\n"
    assert (run.folder / "timelines.csv").read_text().splitlines() == [
        *("series,curve,epoch,update,value", "runs/0,loss,1,3,2.0", "runs/0,accuracy,1,3,0.5"),
        *("runs/0,loss,,1,3.0", "runs/0,loss,,2,2.0", "runs/0,loss,,3,1.0"),
    ]


def test_what_train_returned_is_read_again(tmp_path):
    history = fn.History()
    history.add_updates({"loss": np.random.default_rng(0).random(2000).tolist()})
    history.add_epoch({"loss": 0.5})
    result = {
        "array": np.arange(4, dtype=np.int8),
        "nested": {"a": [np.ones((2, 2), np.float32), 1.5, None, True, "text"]},
        "history": history,
        "number": np.float64(2.5),
        "tuple": (1, 2),
    }
    store.write_training(tmp_path, result)
    again = store.read_training(tmp_path)
    np.testing.assert_array_equal(again["array"], result["array"])
    assert again["array"].dtype == np.int8
    np.testing.assert_array_equal(again["nested"]["a"][0], result["nested"]["a"][0])
    assert again["nested"]["a"][1:] == [1.5, None, True, "text"]
    assert (again["number"], again["tuple"]) == (2.5, [1, 2])
    assert isinstance(again["history"], fn.History)
    assert again["history"].as_dict() == history.as_dict()


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), lambda: 1])
def test_other_results_are_refused_by_name(tmp_path, value):
    with pytest.raises(TypeError, match="not a/0"):
        store.write_training(tmp_path, {"a": [value]})
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_used_again_if_nothing_changed(tmp_path, calls, monkeypatch):
    assert [run_one(a_run(tmp_path, calls)) for _ in range(2)] == ["done", "skipped"]
    assert run_one(a_run(tmp_path, calls, quick=True)) == "done"
    assert run_one(a_run(tmp_path, calls, "as-written")) == "done"
    assert calls.read_text() == "xxx"
    changed = {"full": {"value": 0.6, "calls": str(calls), "unused": 0}}
    assert run_one(a_run(tmp_path, **changed)) == "done"
    assert run_one(a_run(tmp_path, **changed)) == "skipped"
    monkeypatch.setattr(store.inspect, "getsource", lambda module: "another source")
    assert run_one(a_run(tmp_path, **changed)) == "done"
    monkeypatch.setattr(store, "environment", lambda: {"fastnn": "9.9", "instruction_set": "v9"})
    assert run_one(a_run(tmp_path, **changed)) == "done"
    assert calls.read_text() == "x" * 6


def test_other_data_give_another_result(tmp_path, monkeypatch):
    x = np.zeros(5)
    monkeypatch.setitem(store.DATA, "digits", lambda: ((x, x), (x, x)))
    assert [run_one(a_run(tmp_path, data=("digits",))) for _ in range(2)] == ["done", "skipped"]
    x[3] = 1
    assert run_one(a_run(tmp_path, data=("digits",))) == "done"


def test_redraw_does_not_train_again(tmp_path, calls):
    run = a_run(tmp_path, calls)
    run_one(run)
    (run.folder / "curve.png").unlink()
    assert run_one(run, redraw=True) == "done"
    assert (run.folder / "curve.png").exists()
    assert calls.read_text() == "x"
    assert run_one(run) == "skipped"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_result_is_no_result(tmp_path, content):
    run = a_run(tmp_path)
    run_one(run)
    (run.folder / "result.json").write_text(content)
    assert run_one(run) == "done"


def test_a_failure_leaves_the_result_before(tmp_path):
    run = a_run(tmp_path)
    run_one(run)
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(RuntimeError):
        run_one(a_run(tmp_path, "other parameters", train=tiny.fail))
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before
    assert [path.name for path in run.folder.parent.iterdir()] == ["corrected"]


def test_one_experiment_does_not_stop_the_others(tmp_path):
    experiments = [
        tiny.experiment("t.fails", tiny.fail),
        tiny.experiment("t.lacks", tiny.lack_data),
        tiny.experiment("t.good"),
        tiny.experiment("t.alone", alone=True),
    ]
    if hasattr(signal, "SIGKILL"):
        experiments.append(tiny.experiment("t.dies", tiny.die))
    runs = [Run(each, "corrected", False, tmp_path / "out") for each in experiments]
    told = []
    outcomes = {o.run.experiment.id: o for o in run_all(runs, jobs=2, done=told.append)}
    assert len(told) == len(runs)
    status = {name: outcome.status for name, outcome in outcomes.items()}
    assert status.pop("t.dies", "failed") == "failed"
    assert status == {"t.fails": "failed", "t.lacks": "missing", "t.good": "done", "t.alone": "done"}
    assert "RuntimeError: the experiment is wrong" in outcomes["t.fails"].message
    assert outcomes["t.lacks"].message == "put the faces into the folder faces"
    assert "SIGKILL" in outcomes["t.dies"].message
    assert "T-1   value" in str(outcomes["t.good"])
    # The durations are known in the next run.
    assert runner.expected_seconds(runs)["t.good corrected"] < 60
    assert runner.expected_seconds(runs)["t.fails corrected"] == 60


def has_ended(group, seconds=60):
    """Whether no process of the group is left after a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_an_end_of_the_program_ends_all_and_leaves_nothing_half_written(tmp_path, how):
    """The program runs in a process group of its own; SIGINT reaches all of it, as from a terminal."""
    started = tmp_path / "started"
    program = f"""
if __name__ == "__main__":
    import sys
    from pathlib import Path
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    import tiny
    from fastnn.reproduction.runner import Run, run_all
    full = {{"value": 1, "calls": {str(started)!r}, "unused": 0}}
    slow = tiny.experiment("t.slow", tiny.sleep, full=full)
    run_all([Run(slow, "corrected", False, Path({str(tmp_path / "out")!r}))], jobs=1)
"""
    file = tmp_path / "program.py"
    file.write_text(program)
    process = subprocess.Popen([sys.executable, str(file)], start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if how == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how))
    _, error = process.communicate(timeout=60)
    assert (how == "SIGINT") == (b"KeyboardInterrupt" in error)
    assert has_ended(process.pid)
    assert not (tmp_path / "out" / "t.slow" / "corrected").exists()
    store.remove_partial(tmp_path / "out")
    assert list((tmp_path / "out" / "t.slow").iterdir()) == []


def test_the_folder_of_a_process_that_still_runs_is_kept(tmp_path):
    """It would rename what is left of it to a result."""
    for process in (os.getpid(), 2**30, "x"):
        (tmp_path / "t.one" / f".partial-corrected-{process}").mkdir(parents=True)
    store.remove_partial(tmp_path)
    assert [path.name for path in (tmp_path / "t.one").iterdir()] == [f".partial-corrected-{os.getpid()}"]


def test_a_result_that_lacks_a_file_is_made_again(tmp_path, calls):
    run = a_run(tmp_path, calls)
    run_one(run)
    for name in ("curve.svg", "training.npz"):
        (run.folder / name).unlink()
        assert [run_one(run) for _ in range(2)] == ["done", "skipped"]
        assert (run.folder / name).exists()
    assert calls.read_text() == "xxx"


def test_the_time_left_counts_what_runs_and_what_follows(tmp_path):
    kinds = {"t.long": {}, "t.short": {}, "t.alone": {"alone": True}}
    runs = [
        Run(tiny.experiment(name, **options), "corrected", False, tmp_path) for name, options in kinds.items()
    ]
    names = [run.name for run in runs]
    costs = dict(zip(names, (100.0, 20.0, 30.0), strict=True))

    def left(of, running):
        return runner._seconds_left(of, running, costs, 2)

    assert left(runs, {}) == 100 + 30  # the longest run decides
    assert left(runs, {names[0]: 90.0, names[1]: 0.0}) == 20 + 30
    assert left(runs[1:], {names[1]: 50.0}) == 30  # later than expected
    assert left(runs[:2], {names[0]: 70.0}) == 30
    assert left([], {}) == 0


@pytest.mark.parametrize("content", ["-1", "NaN", "1e999", '"2"', "null", "}{"])
def test_damaged_costs_are_estimated_anew(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "fastnn").mkdir()
    (tmp_path / "fastnn" / runner.COSTS).write_text(f'{{"t.one corrected": {content}}}')
    assert runner.expected_seconds([a_run(tmp_path)]) == {"t.one corrected": 60}


def test_experiments_are_chosen_by_id_report_or_all():
    known = {
        each.id: each for each in (tiny.experiment("s1.a"), tiny.experiment("s1.b"), tiny.experiment("s10.a"))
    }

    def ids(*words):
        return [each.id for each in chosen(words, known)]

    assert ids("s1.b") == ["s1.b"]
    assert ids("s1") == ["s1.a", "s1.b"]
    assert ids("s1.b", "all") == ["s1.b", "s1.a", "s10.a"]
    with pytest.raises(ValueError, match=r"unknown experiment 's1\.c': choose from s1\.[ab], s1\.[ab]"):
        ids("s1.c")


def test_of_a_report_those_with_the_variant_are_chosen():
    plain = tiny.experiment("s1.a", variants={"corrected": {}})
    known = {each.id: each for each in (plain, tiny.experiment("s1.b"), tiny.experiment("s2.b"))}
    assert [each.id for each in chosen(["all"], known, "as-written")] == ["s1.b", "s2.b"]
    assert [each.id for each in chosen(["s1.a"], known, "as-written")] == ["s1.a"]  # which is an error later
    assert [each.id for each in chosen(["s1"], known, "another")] == ["s1.a", "s1.b"]


def test_mistakes_in_a_declaration():
    with pytest.raises(ValueError, match="quick has parameters that full lacks: \\['epochs'\\]"):
        tiny.experiment(quick={"epochs": 1})
    with pytest.raises(ValueError, match="unknown data \\['imagenet'\\]"):
        tiny.experiment(data=("imagenet",))
    with pytest.raises(
        ValueError, match=r"t\.one has no variant 'as-drawn': choose from corrected, as-written"
    ):
        tiny.experiment().parameters("as-drawn", quick=False)
