"""Settings from YAML files and option values, and `fastnn sweep`."""

import json

import pytest
import yaml

import fastnn as fn
from fastnn.cli import settings_file, sweep_run, train_run
from fastnn.cli.main import main
from fastnn.cli.settings import PRESETS, describe
from fastnn.optim.optimizers import SGD, Adam, RMSprop
from fastnn.training import turns

from .. import ctrl_c

DIGITS = "dataset: digits\nlayers: [64, 16, 10]\nepochs: 2\noptimizer: {name: sgd, lr: 0.1}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(DIGITS)
    return tmp_path


def settings_of(text, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    return settings_file.read(tmp_path / "x.yaml")


def test_missing_settings_come_from_the_preset(tmp_path):
    assert settings_of("dataset: mnist", tmp_path) == PRESETS["mnist"]["mlp"]
    cnn = settings_of("{dataset: mnist, model: cnn, rotate: 0, ema: 1e-1}", tmp_path)
    assert (cnn.batch_size, cnn.rotate, cnn.ema) == (128, 0.0, 0.1)
    assert isinstance(cnn.rotate, float)


@pytest.mark.parametrize(
    ("text", "kind", "arguments"),
    [
        ("adam", Adam, {"lr": 1e-3}),
        ("{name: Adam, lr: 1e-2}", Adam, {"lr": 0.01}),
        ("{lr: 0.3}", SGD, {"lr": 0.3, "momentum": 0.9}),  # momentum from the preset
        ("fastnn.optim.RMSprop", RMSprop, {"lr": 0.01}),
        ("{class_path: fastnn.optim.Adam, init_args: {betas: [0.8, 0.9]}}", Adam, {"betas": (0.8, 0.9)}),
        ("{class_path: fastnn.optim.Adam}", Adam, {}),
    ],
)
def test_an_optimizer_is_given_by_name_arguments_or_class_path(tmp_path, text, kind, arguments):
    optimizer = settings_of(f"dataset: digits\noptimizer: {text}", tmp_path).optimizer
    assert type(optimizer) is kind
    assert {name: getattr(optimizer, name) for name in arguments} == arguments


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"x\.yaml must map names to settings.*not None"),
        ("[1, 2]", "must map names to settings"),
        ("1: 2", "must map names to settings"),
        ("a: [", "is not valid YAML"),
        ("epochs: 2", "dataset is missing: choose one of digits, emnist-balanced, .*, folder, mnist, table"),
        ("dataset: nist", "unknown dataset 'nist'"),
        ("{dataset: digits, model: rnn}", "unknown model 'rnn'"),
        ("{dataset: digits, epoch: 2}", r"x\.yaml: unknown setting 'epoch': did you mean 'epochs'"),
        ("{dataset: digits, zzz: 2}", "unknown setting 'zzz': choose one of dataset, model, layers"),
        ("{dataset: digits, epochs: many}", "epochs must be an integer, not 'many'"),
        ("{dataset: digits, epochs: 2.5}", r"epochs must be an integer, not 2\.5"),
        ("{dataset: digits, epochs: yes}", "epochs must be an integer, not True"),
        ("{dataset: digits, epochs: 0}", "epochs must be an integer of at least 1"),
        ("{dataset: digits, epochs: .inf}", "epochs must be an integer, not inf"),
        ("{dataset: digits, dropout: [1]}", r"dropout must be a number, not \[1\]"),
        ("{dataset: digits, activation: 3}", "activation must be a name, not 3"),
        ("{dataset: digits, layers: 3}", r"layers must be a list such as \[784, 128, 10\], not 3"),
        ("{dataset: digits, layers: [64, ten]}", "each of layers must be an integer, not 'ten'"),
        ("{dataset: digits, optimizer: 3}", "optimizer must be a name or a mapping"),
        ("{dataset: digits, optimizer: sdg}", "unknown optimizer 'sdg'"),
        ("{dataset: digits, optimizer: fastnn.optim.Sdg}", "unknown optimizer 'sdg'"),
        ("{dataset: digits, optimizer: no.such.Thing}", "a file can name only fastnn's optimizers"),
        (
            "{dataset: digits, optimizer: {name: os.system, command: date}}",
            "not 'os.system': give the import",
        ),
        ("{dataset: digits, optimizer: {name: fastnn.Linear, lr: 1}}", "unknown optimizer 'linear'"),
        ("{dataset: digits, optimizer: {class_path: adam, init_args: 3}}", "init_args must be a mapping"),
        (
            "{dataset: digits, optimizer: {speed: 1}}",
            "SGD has no argument 'speed': choose one of lr, momentum",
        ),
        ("{dataset: digits, optimizer: {lr: -1}}", r"x\.yaml: lr"),
        ("{dataset: digits, optimizer: {lr: fast}}", r"x\.yaml: "),
        ("{dataset: digits, threads: 1e300}", r"threads must be at most 4,096, not about 2\*\*997"),
        (
            "{dataset: digits, layers: [64, 1e12, 10]}",
            "each of the layers must be at most 268,435,456, not 10",
        ),
        ("{dataset: digits, layers: [64, 100000, 100000, 10]}", "weights, but at most 268,435,456"),
        ("{dataset: digits, epochs: 1e300}", "epochs must be at most 2,147,483,647"),
        ("{dataset: digits, batch_size: 1e300}", "batch_size must be at most 2,147,483,647"),
        ("{dataset: digits, seed: 1e300}", r"seed must be at least 0 and below 2\*\*63"),
        (f"{{dataset: digits, dropout: 1{'0' * 400}}}", "dropout must be a number"),
        (f"{{dataset: digits, optimizer: {{lr: 1{'0' * 400}}}}}", "lr"),
        (f"{{dataset: digits, epochs: 1{'0' * 5000}}}", r"x\.yaml is not valid YAML: Exceeds the limit"),
        ("[" * 20_000, "nested more than 10 deep"),
        ("a: &a [1]\nb: *a", "aliases"),
        ("a: !!int x", "tags"),
        ("a: 2020-13-45", "is not valid YAML: month must be in 1..12"),
        ("a: [\nb: {", "line 2, column 5: expected"),
        ("x" * 200_000, "more than 100,000 bytes"),
    ],
)
def test_invalid_settings_are_rejected(tmp_path, text, match):
    with pytest.raises(ValueError, match=match):
        settings_of(text, tmp_path)


def test_grid_parses_settings_and_values():
    assert settings_file.grid(["optimizer.lr=1e-3,0.01", "batch-size=8", "layers=[64,8,10],[64,10]"]) == {
        "optimizer.lr": [0.001, 0.01],
        "batch_size": [8],
        "layers": [[64, 8, 10], [64, 10]],
    }
    for word in ("lr", "lr=", "=3", "lr=[1", "lr=1,,2"):
        with pytest.raises(ValueError, match="such as optimizer"):
            settings_file.grid([word])
    with pytest.raises(ValueError, match="has 'a' twice"):
        settings_file.grid(["a=1", "a=2"])


def test_seeds_parses_ranges_and_lists():
    assert settings_file.seeds("0:3") == [0, 1, 2]
    assert settings_file.seeds("2:9:3") == [2, 5, 8]
    assert settings_file.seeds("7") == [7]
    assert settings_file.seeds("4,1") == [4, 1]
    for text in ("", "a", "0:", "1:2:3:4", "1,,2"):
        with pytest.raises(ValueError, match="range such as 0:3"):
            settings_file.seeds(text)


def test_a_grid_may_have_an_optimizer_and_its_arguments():
    settings = settings_file.settings_from({"dataset": "digits"})
    changed = settings_file.changed(settings, {"optimizer.lr": 0.5, "optimizer": "rmsprop"})
    assert (type(changed.optimizer), changed.optimizer.lr) == (RMSprop, 0.5)


def test_a_settings_file_and_options_give_the_same_weights(here):
    assert main(["train", "config.yaml", "--seed", "3", "--out", "a"]) == 0
    options = ["--layers", "64,16,10", "--epochs", "2", "--optimizer", "SGD", "--optimizer.lr", "0.1"]
    assert main(["train", "digits", "--seed", "3", "--out", "b", *options]) == 0
    assert main(["train", "a/config.json", "--out", "c"]) == 0
    weights = [(here / run / train_run.WEIGHTS).read_bytes() for run in "abc"]
    assert weights[0] == weights[1] == weights[2]


def test_an_invalid_settings_file_fails_without_a_run(here, capsys):
    assert main(["train", "none.yaml"]) == 1
    assert "No such file or directory: 'none.yaml'" in capsys.readouterr().err
    (here / "config.yaml").write_text("dataset: digits\nepoch: 3")
    assert main(["train", "config.yaml"]) == 1
    assert "did you mean 'epochs'" in capsys.readouterr().err
    assert not (here / "runs").exists()


def sweep(*words):
    return main(["sweep", "config.yaml", *words])


def test_a_sweep_writes_its_files_and_trains_as_train_does(here, capsys):
    assert sweep("--grid", "optimizer.lr=0.01,0.1", "batch_size=16,32", "--seeds", "0:2") == 0
    printed = capsys.readouterr().out
    folder = here / "runs" / "sweep-digits-1"
    assert {path.name for path in folder.iterdir()} == {"config.json", "study.json", "table.txt", "bands.png"}
    assert (folder / "table.txt").read_text() in printed
    assert printed.startswith("digits: 4 points x 2 seeds, 10% of the training images for validation\n")
    assert "best validation accuracy: optimizer.lr 0.1, batch_size 16\n" in printed
    written = json.loads((folder / "config.json").read_text())
    assert written["grid"] == {"optimizer.lr": [0.01, 0.1], "batch_size": [16, 32]}
    assert written["seeds"] == [0, 1]
    study = fn.Study.load(folder / "study.json")
    assert len(study) == 8
    # A run of the sweep equals the run of `fastnn train` with the same settings.
    options = ["--optimizer.lr", "0.1", "--batch-size", "16", "--seed", "1", "--validation", "0.1"]
    assert main(["train", "config.yaml", *options, "--out", "alone"]) == 0
    history = json.loads((here / "alone" / "history.json").read_text())
    member = next(
        m for m in study.members if m.seed == 1 and m.point == {"optimizer.lr": 0.1, "batch_size": 16}
    )
    assert history["updates"]["loss"] == member.history.updates["loss"]


def test_layer_sizes_of_a_grid_are_joined_by_hyphens(here, capsys):
    found = settings_file.grid(["hidden=32,64-32-16,[8],[64,32],[]", "layers=1024-2-10"])
    assert found == {"hidden": [[32], [64, 32, 16], [8], [64, 32], []], "layers": [[1024, 2, 10]]}
    assert sweep("--grid", "layers=64-10,64-8-10", "--seeds", "0", "--out", "s") == 0
    points = [point for point, _ in fn.Study.load(here / "s" / "study.json").points()]
    assert points == [{"layers": [64, 10]}, {"layers": [64, 8, 10]}]


def test_an_interrupted_sweep_is_resumed(here, monkeypatch, capsys):
    grid = ["--grid", "optimizer.lr=0.01,0.1", "--seeds", "0:3", "--out", "s"]
    original = sweep_run.fit_arguments
    calls = []

    def interrupted(settings, *parts):
        calls.append(settings.seed)
        if len(calls) == 3:
            ctrl_c.press()
        return original(settings, *parts)

    monkeypatch.setattr(sweep_run, "fit_arguments", interrupted)
    monkeypatch.setattr(turns, "MOST_WEIGHTS", 0)  # one run after the other
    assert sweep(*grid, "--jobs", "1") == 130
    assert len(fn.Study.load(here / "s" / "study.json")) == 2
    assert sweep(*grid) == 1
    assert "s already has a sweep" in capsys.readouterr().err
    assert sweep(*grid[:-3], "0:4", "--out", "s", "--resume") == 1
    assert "has a different sweep" in capsys.readouterr().err
    assert sweep(*grid, "--resume", "--jobs", "1") == 0
    assert calls == [0, 1, 2, 2, 0, 1, 2]
    assert len(fn.Study.load(here / "s" / "study.json")) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "epoch=1,2"], "did you mean 'epochs'"),
        (["--grid", "epochs=1,x"], "epochs must be an integer, not 'x'"),
        (["--grid", "seed=1,2"], "use --seeds"),
        (["--grid", "backend=ref,jit"], "backend cannot vary in a sweep"),
        (["--grid", "layers=[64,10],[3,10]"], "which has 64 pixels per image"),
        (["--grid", "layers=64-8-10,3-10"], "which has 64 pixels per image"),
        (["--grid", "layers=64-10,[64,10]"], "two points of the grid are the same"),
        *(
            (
                ["--grid", f"layers={sizes}"],
                "layers=32,64-32 stands for one layer of 32, and for layers of 64",
            )
            for sizes in ("64-", "8x8", "64-,10", "[64,10", "64,,10", "[[64,10]]", "abc", "", "0.5")
        ),
        (["--grid", "epochs=1", "--resume"], "--resume needs --out"),
        (["--grid", "epochs=1", "--seeds", "x"], "range such as 0:3"),
        (["--grid", "epochs=1", "--seeds", "0,0"], "without repetitions"),
        (["--grid", "epochs=1,1"], "two points of the grid are the same"),
        (["--grid", "epochs=1", "--executor", "dask"], "choose one of threads, joblib, dask:"),
        (["--grid", "epochs=1", "--jobs", "0"], "jobs must be"),
    ],
)
def test_invalid_sweeps_are_rejected_before_training(here, capsys, words, message):
    assert sweep(*words) == 1
    assert message in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_joblib_and_threads_give_the_same_sweep(here):
    pytest.importorskip("joblib")
    (here / "config.yaml").write_text(yaml.safe_dump({**yaml.safe_load(DIGITS), "validation": 0.2}))
    for out, words in {"a": ["--executor", "joblib", "--jobs", "2"], "b": []}.items():
        assert sweep("--grid", "epochs=1,2", "--seeds", "0:2", "--out", out, *words) == 0
    a, b = (fn.Study.load(here / out / "study.json") for out in "ab")
    assert [m.history.updates for m in a.members] == [m.history.updates for m in b.members]


def test_nested_optimizer_class_is_described_by_its_module():
    class Mine(SGD):
        pass

    described = describe(Mine(lr=0.1))
    assert described["class_path"] == f"{__name__}.{Mine.__qualname__}"
