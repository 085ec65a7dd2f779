"""The page of finished runs: what it lists, and what it must not serve."""

import json

import numpy as np
import pytest

from fastnn.board import runs


def write_run(folder, *, lr=0.1, seed=0, losses=(3.0, 2.0, 1.0), **others):
    folder.mkdir(parents=True)
    optimizer = {"class_path": "fastnn.SGD", "init_args": {"lr": lr}}
    settings = {"dataset": "digits", "layers": [64, 10], "seed": seed, "optimizer": optimizer}
    (folder / "config.json").write_text(json.dumps({"settings": settings}))
    history = {
        "test": {"loss": 0.5, "accuracy": 0.9},
        "seconds": 1.5,
        "epochs": {"loss": [2.0]},
        "updates": {"loss": list(losses)},
        "stopped": None,
    }
    (folder / "history.json").write_text(json.dumps({**history, **others}))


def test_a_run_is_described(tmp_path):
    write_run(tmp_path / "a" / "deep", lr=0.2)
    (tmp_path / "a" / "deep" / "curves.png").write_bytes(b"picture")
    (run,) = runs.described(tmp_path)["runs"]
    assert run == {
        "name": "a/deep",
        "settings": {
            "dataset": "digits",
            "layers": "64-10",
            "seed": 0,
            "optimizer": "SGD",
            "optimizer.lr": 0.2,
        },
        "test": {"loss": 0.5, "accuracy": 0.9},
        "seconds": 1.5,
        "stopped": None,
        "epochs": 1,
        "updates": 3,
        "curves": {"loss": [(1.0, 2.0)]},
        "loss": [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)],
        "pictures": ["curves.png"],
    }


def test_the_folder_itself_may_be_a_run(tmp_path):
    write_run(tmp_path / "one")
    assert [run["name"] for run in runs.described(tmp_path / "one")["runs"]] == ["one"]


def test_long_curves_are_thinned_out_to_means(tmp_path):
    losses = np.random.default_rng(0).random(1001).tolist()
    write_run(tmp_path / "long", losses=losses)
    points = runs.described(tmp_path)["runs"][0]["loss"]
    assert len(points) == 334
    assert points[0] == (2.0, pytest.approx(np.mean(losses[:3])))
    assert points[-1] == (1000.5, pytest.approx(np.mean(losses[999:])))


@pytest.mark.parametrize(
    "history",
    [
        "{",
        "[]",
        '{"epochs": 1, "updates": {"loss": []}, "stopped": null}',
        '{"epochs": {"loss": "abc"}}',
        "{}",
    ],
)
def test_damaged_runs_are_listed_with_the_reason(tmp_path, history):
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad")
    (tmp_path / "bad" / "history.json").write_text(history)
    bad, good = runs.described(tmp_path)["runs"]
    assert set(bad) == {"name", "error"}
    assert good["name"] == "good"


def test_strange_settings_are_text(tmp_path):
    write_run(tmp_path / "a")
    settings = {"optimizer": "SGD", "layers": {"a": [1]}, "x": [1, [2]]}
    (tmp_path / "a" / "config.json").write_text(json.dumps({"settings": settings}))
    found = runs.described(tmp_path)["runs"][0]["settings"]
    assert found == {"layers": "{'a': [1]}", "x": "1-[2]"}


def test_the_number_and_the_depth_of_runs_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "MOST_RUNS", 3)
    for number in range(5):
        write_run(tmp_path / f"run{number}")
    assert len(runs.find(tmp_path)) == 3
    write_run(tmp_path / "a/b/c/d/too-deep")
    assert runs.find(tmp_path / "a") == [tmp_path / "a/b/c/d/too-deep"]
    assert all("deep" not in str(run) for run in runs.find(tmp_path))


def test_pictures_of_runs_are_served_and_nothing_else(tmp_path):
    write_run(tmp_path / "runs" / "my run")
    picture = tmp_path / "runs" / "my run" / "curves.png"
    picture.write_bytes(b"picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "runs" / "plain.png").write_bytes(b"not of a run")
    answer = runs.routes(tmp_path / "runs")
    assert answer("GET", "pictures/my run/curves.png").content == b"picture"
    for path in (
        "my run/config.json",
        "my run/../../secret.png",
        "../secret.png",
        "secret.png",
        "plain.png",
        "my run/",
        "my run/other.png",
        str(tmp_path / "secret.png"),
    ):
        assert answer("GET", f"pictures/{path}") is None
    assert answer("POST", "runs.json") is None
    assert answer("GET", "../runs.py") is None


def test_routes(tmp_path):
    write_run(tmp_path / "a")
    answer = runs.routes(tmp_path)
    assert b"<title>fastnn: runs</title>" in answer("GET", "").content
    assert len(json.loads(answer("GET", "runs.json").content)["runs"]) == 1
