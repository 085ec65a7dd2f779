"""The command line as users run it, mostly in a process of its own."""

import json
import math
import os
import signal
import subprocess
import sys

import pytest
from matplotlib.image import imread

import fastnn as fn
from fastnn.cli import settings, train_run
from fastnn.cli.main import main

FILES = {"config.json", "history.json", "weights.safetensors", "curves.png", "weights.png"}
FINISHED = FILES | {"confusion.png", "mistakes.png"}


@pytest.fixture(scope="module")
def command():
    """A function that runs `python -m fastnn` with the given arguments in a folder without MNIST."""

    def run(*arguments, folder, path=""):
        return subprocess.run(
            [sys.executable, "-m", "fastnn", *arguments],
            cwd=folder,
            env=environment(folder, path),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def environment(folder, path=""):
    paths = [path, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "FASTNN_DATA": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


@pytest.fixture(scope="module")
def digits(command, tmp_path_factory):
    """The finished process of `fastnn train digits`, and the folder of its run."""
    folder = tmp_path_factory.mktemp("digits")
    return command("train", "digits", folder=folder), folder / "runs" / "digits-1"


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_training_prints_epochs_result_and_files(digits):
    process, folder = digits
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    lines = process.stdout.splitlines()
    assert lines[0] == "digits: 1,433 training images"
    assert lines[1].startswith("64-64-32-10, relu: 6,570 parameters, SGD(lr=0.1, momentum=0.9")
    assert [line.split()[:2] for line in lines[2:32]] == [["epoch", f"{n}/30"] for n in range(1, 31)]
    assert lines[32].startswith("test  loss ")
    assert lines[33] == f"written to {os.path.join('runs', 'digits-1')}: {', '.join(sorted(FINISHED))}"
    assert {path.name for path in folder.iterdir()} == FINISHED


def test_training_reaches_the_expected_accuracy(digits):
    history = read(digits[1], "history.json")
    assert history["stopped"] is None
    assert set(history["epochs"]) == {"loss", "accuracy", "test_loss", "test_accuracy"}
    assert history["epochs"]["test_accuracy"] == [history["test"]["accuracy"]]  # curves.png shows it
    assert history["recorded"]["test_accuracy"]["epochs"] == [30]
    assert len(history["epochs"]["loss"]) == 30
    assert len(history["updates"]["loss"]) == 30 * math.ceil(1433 / 32)
    assert history["epochs"]["accuracy"][-1] > 0.98
    # Other people wrote the digits of the test set, so it is harder than a split of the training set.
    assert 0.88 < history["test"]["accuracy"] < 1
    assert 0 < history["seconds"] < 60


def test_the_config_holds_settings_and_environment(digits):
    config = read(digits[1], "config.json")
    assert config["settings"]["layers"] == [64, 64, 32, 10]
    assert config["settings"]["seed"] == 0
    assert config["settings"]["optimizer"] == {
        "class_path": "fastnn.SGD",
        "init_args": {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    }
    assert config["environment"]["fastnn"] == fn.__version__
    assert config["environment"]["backend"] == (os.environ.get("FASTNN_BACKEND") or "aot")
    assert config["environment"]["threads"] >= 1


def test_the_saved_weights_reproduce_the_test_result(digits):
    model = train_run.build(settings.PRESETS["digits"]["mlp"])
    fn.load(model, digits[1] / "weights.safetensors")
    assert fn.evaluate(model, fn.data.digits()[1]) == read(digits[1], "history.json")["test"]


@pytest.mark.parametrize("name", ["curves.png", "weights.png"])
def test_the_pictures_are_not_blank(digits, name):
    picture = imread(digits[1] / name)
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 0.1


def test_options_reach_the_run(command, tmp_path):
    """Options with dashes or underscores, with = or a space, and an optimizer after its own argument."""
    arguments = (
        "train digits --layers=64,16,10 --batch-size 64 --epochs=2 --validation 0.2 --activation tanh "
        "--validate-every 10 "
        "--optimizer.weight-decay 0.001 --optimizer adam --weight_init he_uniform --loss squared_error "
        "--seed 3 --backend ref --micro-batch 48 --precision bf16 --out a/b"
    )
    process = command(*arguments.split(), folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("digits: 1,143 training images, 290 validation images\n64-16-10, tanh: ")
    config, history = read(tmp_path / "a/b", "config.json"), read(tmp_path / "a/b", "history.json")
    assert config["settings"] == {
        "dataset": "digits",
        "model": "mlp",
        "layers": [64, 16, 10],
        "activation": "tanh",
        "weight_init": "he_uniform",
        "dropout": 0.0,
        "loss": "squared_error",
        "optimizer": {
            "class_path": "fastnn.Adam",
            "init_args": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.001},
        },
        "schedule": "constant",
        "order": "random",
        "ema": None,
        "rotate": 0.0,
        "shift": 0.0,
        "zoom": 0.0,
        "batch_size": 64,
        "micro_batch": 48,
        "precision": "bf16",
        "sync_batch_norm": False,
        "epochs": 2,
        "validation": 0.2,
        "validate_every": 10,
        "seed": 3,
        "backend": "ref",
        "threads": None,
    }
    assert config["environment"]["backend"] == "ref"
    assert set(history["epochs"]) == {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "running_accuracy",
        "test_loss",
        "test_accuracy",
    }
    assert history["recorded"]["val_loss"]["updates"] == [10, 20, 30, 36]
    assert len(history["updates"]["loss"]) == 2 * math.ceil(1143 / 64)


def test_the_number_of_threads_does_not_change_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = fn.get_num_threads()
    try:
        for threads in ("1", "2"):
            options = ["--epochs", "2", "--threads", threads, "--out", threads, "--backend", "aot"]
            assert main(["train", "digits", *options]) == 0
            assert read(tmp_path / threads, "config.json")["environment"]["threads"] == int(threads)
    finally:
        fn.set_num_threads(before)
    one, two = ((tmp_path / threads / "weights.safetensors").read_bytes() for threads in ("1", "2"))
    assert one == two


def test_a_run_is_not_overwritten_unless_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = ["train", "digits", "--epochs", "1"]
    assert main([*short, "--out", "run"]) == 0
    before = (tmp_path / "run" / "history.json").read_bytes()
    assert main([*short, "--out", "run", "--seed", "1"]) == 1
    assert capsys.readouterr().err == (
        "fastnn: error: run already has a run: choose another --out, replace the run with --overwrite, or "
        "continue it with --resume\n"
    )
    assert (tmp_path / "run" / "history.json").read_bytes() == before
    assert main([*short, "--out", "run", "--seed", "1", "--overwrite"]) == 0
    assert read(tmp_path / "run", "config.json")["settings"]["seed"] == 1

    assert main(short) == main(short) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"digits-1", "digits-2"}


def test_training_without_matplotlib_reports_that_it_is_missing(command, tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError")
    process = command("train", "digits", "--epochs=1", "--out=run", folder=tmp_path, path=str(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "curves.png: pictures need matplotlib: pip install 'fastnn-kernels[demo]'\n" in process.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        name for name in FILES if not name.endswith(".png")
    }


def test_missing_mnist_is_reported_without_a_traceback(command, tmp_path):
    process = command("train", "mnist", "--no-download", folder=tmp_path)
    assert process.returncode == 3
    assert process.stdout == ""
    assert process.stderr.startswith("fastnn: error: MNIST is not in ")
    assert "FASTNN_DATA" in process.stderr
    assert process.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_writes_the_results_so_far(tmp_path):
    arguments = ("train", "digits", "--epochs", "1000000", "--out", "run")
    # A shell that runs the tests in the background may ignore this signal, and child processes inherit that.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastnn", *arguments],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    with process:
        while not process.stdout.readline().startswith("epoch 2/"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "fastnn: interrupted\n"
    assert out.splitlines()[-1] == f"written to run: {', '.join(sorted({*FILES, 'checkpoint'}))}"

    history = read(tmp_path / "run", "history.json")
    assert history["stopped"] == "interrupted"
    assert history["test"] is None
    epochs = len(history["epochs"]["loss"])
    assert 2 <= epochs < 1000000
    assert 0 <= len(history["updates"]["loss"]) - 45 * epochs <= 45
    fn.load(train_run.build(settings.PRESETS["digits"]["mlp"]), tmp_path / "run" / "weights.safetensors")
    assert imread(tmp_path / "run" / "curves.png").std() > 0.1


def test_a_diverging_run_writes_its_results_and_fails(command, tmp_path):
    process = command("train", "digits", "--optimizer.lr", "1e9", "--out", "run", folder=tmp_path)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("fastnn: error: the loss is ")
    assert read(tmp_path / "run", "history.json")["stopped"].startswith("the loss is ")
    assert read(tmp_path / "run", "history.json")["epochs"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--optimizer", "sdg"], "unknown optimizer 'sdg': choose one of SGD, Adam"),
        (["--optimizer.lr", "-1"], "lr must be a finite number, at least 0, not -1.0"),
        (["--optimizer.speed", "1"], "speed"),
        (
            ["--activation", "rely"],
            "unknown activation 'rely': choose one of elu, gelu, identity, leaky_relu, relu, ",
        ),
        (["--weight-init", "he"], "unknown initializer 'he': choose one of constant, fan_in_uniform, "),
        (
            ["--loss", "other"],
            "unknown loss 'other': choose one of absolute_error, binary_cross_entropy",
        ),
        (["--loss", "mse"], "unknown loss 'mse': pass \"squared_error\""),
        (["--backend", "gpu"], "unknown backend 'gpu': choose one of aot, jit, ref"),
        (
            ["--layers", "64,x,10"],
            "sizes must be integers separated by commas, such as 784,128,10, not '64,x,10'",
        ),
        (["--layers", "64"], "layers must have at least two sizes, the pixels and the classes, not (64,)"),
        (["--layers", "64,0,10"], "each of the layers must be an integer of at least 1, not 0"),
        (["--batch-size", "0"], "batch_size must be an integer of at least 1, not 0"),
        (["--micro-batch", "0"], "micro_batch must be an integer of at least 1, not 0"),
        (
            ["--precision", "fp16"],
            "precision must be \"bf16\", or left out for that of the model, not 'fp16'",
        ),
        (["--epochs", "many"], "many"),
        (["--validation", "1"], "validation must be below 1, so that some images are left to train on"),
        (["--validate-every", "9"], "validate_every needs images to validate on: pass --validation 0.1"),
        (["--seed", "-1"], "seed must be at least 0 and below 2**63, not -1"),
        (["--threads", "0"], "threads must be an integer of at least 1, not 0"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_usage_errors_name_the_valid_values(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["train", "digits", *options])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layers", ["784,32,10", "64,32,9"])
def test_layers_that_do_not_fit_the_data_fail(tmp_path, monkeypatch, capsys, layers):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--layers", layers]) == 1
    assert capsys.readouterr().err == (
        f"fastnn: error: the layers {layers} do not fit the data set, which has 64 pixels per image and 10 "
        "classes: try --layers 64,32,10\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_missing_subcommand_lists_the_subcommands(command, tmp_path):
    process = command(folder=tmp_path)
    assert process.returncode == 2
    for names in ("train, complexity, sweep, compare, curves", "predict, evaluate, export, import, board"):
        assert names in process.stderr


def test_version(command, tmp_path):
    assert command("--version", folder=tmp_path).stdout == f"fastnn {fn.__version__}\n"


def test_config_prints_the_configuration(command, tmp_path):
    process = command("config", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.split()[:2] == ["fastnn", fn.__version__]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["train", "compare", "profile", "probe", "config", "--version"]),
        (["train"], ["digits", "mnist"]),
        (
            ["train", "mnist"],
            [
                *("--layers", "--activation", "--weight-init", "--loss", "--optimizer", "--batch-size"),
                *("--epochs", "--validation", "--seed", "--backend", "--threads"),
                *("--out", "--overwrite", "--no-download"),
                "Number of passes over the training set (default: 5).",  # from the docstring
                "(default: 784,256,128,10).",  # from the preset
            ],
        ),
        (["probe"], ["--threads", "--fresh"]),
        (["compare"], ["run", "--plot", "JSON file that pytest-benchmark wrote."]),
    ],
)
def test_help_lists_the_options_with_descriptions_and_defaults(capsys, arguments, expected):
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--help"])
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [word for word in expected if word not in text] == []


def test_compare_prints_and_draws_the_speedups(command, tmp_path):
    times = {"numpy": 40e-6, "aot": 5e-6}
    entries = [
        {
            "name": f"test_dense_dx[32x784x128-{contestant}]",
            "extra_info": {"race": "dense_dx", "shape": "32x784x128", "contestant": contestant},
            "stats": {"median": time, "min": time},
        }
        for contestant, time in times.items()
    ]
    (tmp_path / "run.json").write_text(json.dumps({"benchmarks": entries}))
    process = command("compare", "run.json", "--plot", "speedups.png", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "8.0x" in process.stdout
    assert process.stdout.endswith("written to speedups.png\n")
    assert imread(tmp_path / "speedups.png").std() > 0.01


def test_compare_without_its_file_fails(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "no.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastnn: error: ")
    assert "no.json" in error
    assert error.count("\n") == 1


def test_profile_prints_the_kernels_of_a_step(capsys, tmp_path):
    picture = tmp_path / "step.png"
    argv = ["profile", "--layers", "20,8,3", "--batch-size", "4", "--threads", "1", "--plot", str(picture)]
    assert main(argv) == 0
    out = capsys.readouterr().out
    for name in ("dense_forward", "4x20x8", "dense_dw_sgd", "cross_entropy_labels", "outside kernels"):
        assert name in out
    assert picture.stat().st_size > 1000


def test_profile_rejects_invalid_layers(capsys):
    assert main(["profile", "--layers", "20,x"]) == 1
    assert "sizes must be integers separated by commas" in capsys.readouterr().err
