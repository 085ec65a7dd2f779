"""Training runs from the command line: the convolutional network, and runs that were interrupted."""

import json
import signal

import fastnn as fn
from fastnn.cli import train_run
from fastnn.cli.main import main

FILES = {
    *("config.json", "history.json", "weights.safetensors"),
    *("curves.png", "weights.png", "confusion.png", "mistakes.png"),
}


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_the_convolutional_network_trains_with_augmentation_and_ema(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = "train digits --model cnn --epochs 2 --rotate 10 --shift 0.5 --zoom 0.1 --ema 0.9 --out run"
    assert main(arguments.split()) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("convolutional network: 147,818 parameters")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    settings_of_run = read(tmp_path / "run", "config.json")["settings"]
    assert (settings_of_run["model"], settings_of_run["schedule"]) == ("cnn", "one_cycle")
    history = read(tmp_path / "run", "history.json")
    assert len(history["updates"]["lr"]) == len(history["updates"]["loss"]) == 2 * 45
    assert history["test"]["accuracy"] > 0.3


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, capsys):
    """Interrupted by Ctrl-C in the middle of an epoch and resumed, a run writes the same weights."""
    monkeypatch.chdir(tmp_path)
    short = ["train", "digits", "--epochs", "6", "--optimizer", "adam", "--dropout", "0.1"]
    assert main([*short, "--out", "whole"]) == 0

    class Interrupted(fn.Trainer):
        def updates_from(self, *arguments):
            if self.updates >= 100:
                signal.raise_signal(signal.SIGINT)
            return super().updates_from(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("fastnn.training.fit.Trainer", Interrupted)
        assert main([*short, "--out", "parts"]) == 130
    assert (tmp_path / "parts" / "checkpoint").exists()
    assert main([*short, "--out", "parts", "--resume", "--seed", "7"]) == 1
    assert "parts has a run with other settings: seed was 0, is 7" in capsys.readouterr().err
    assert main([*short, "--out", "parts", "--resume", "--threads", "1"]) == 0
    for name in ("weights.safetensors", "curves.png", "weights.png"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    histories = [read(tmp_path / folder, "history.json") for folder in ("parts", "whole")]
    assert histories[0]["updates"] == histories[1]["updates"]
    assert histories[0]["epochs"] == histories[1]["epochs"]
    assert {path.name for path in (tmp_path / "parts").iterdir()} == FILES
    assert main([*short, "--out", "parts", "--resume"]) == 1
    assert "there is nothing to resume" in capsys.readouterr().err
    assert main([*short, "--resume"]) == 1
    assert "--resume needs --out" in capsys.readouterr().err


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ["train", "digits", "--epochs", "2", "--out", "run"]
    assert main(short) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for name in whole.keys() - {"config.json"}:
        (tmp_path / "run" / name).unlink()
    assert main([*short, "--resume"]) == 0
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == whole["weights.safetensors"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_a_run_killed_while_writing_results_writes_them_again(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    monkeypatch.chdir(tmp_path)
    short = ["train", "digits", "--epochs", "2", "--out"]
    assert main([*short, "whole"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(train_run, "save", kill)  # history.json is there already
        try:
            main([*short, "run"])
        except Killed:
            assert (tmp_path / "run" / "history.json").exists()
    assert main([*short, "run", "--resume"]) == 0
    weights = [(tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("whole", "run")]
    assert weights[0] == weights[1]
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_the_stopwatch_adds_the_time_before_an_interruption():
    watch = train_run.Stopwatch()
    watch.load_state_dict({"seconds": 1000.0})
    assert 1000 <= watch.seconds < 1060
    assert 1000 <= watch.state_dict()["seconds"] < 1060
