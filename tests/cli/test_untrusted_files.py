"""Settings files and run folders that another person wrote cannot run code, hang or end in a traceback."""

import contextlib
import json
import random
import time

import pytest

import fastnn as fn
from fastnn.cli import run_pictures, settings_file, train_run
from fastnn.cli.main import main
from fastnn.cli.settings import PRESETS

CLASS = "planted_module.Thing"
BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a finished run, and with a module that leaves a marker when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted_module.py").write_text(
        "import pathlib, fastnn\npathlib.Path('imported').touch()\nclass Thing(fastnn.SGD): pass\n"
    )
    monkeypatch.delitem(__import__("sys").modules, "planted_module", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", "digits", "--epochs", "1", "--out", str(folder)]) == 0
    return folder


def copied(finished, folder, change):
    """A copy of the run whose config.json `change` has edited."""
    folder.mkdir()
    for path in finished.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def name_planted_class(config):
    config["settings"]["optimizer"]["class_path"] = CLASS


@pytest.mark.parametrize(
    "optimizer", [CLASS, f"{{name: {CLASS}}}", f"{{class_path: {CLASS}, init_args: {{lr: 1}}}}"]
)
@pytest.mark.parametrize("command", [["train", "x.yaml"], ["sweep", "x.yaml", "--grid", "epochs=1"]])
def test_no_command_imports_what_a_settings_file_names(here, capsys, command, optimizer):
    (here / "x.yaml").write_text(f"dataset: digits\nepochs: 1\noptimizer: {optimizer}")
    assert main(command) == 1
    assert "a file can name only fastnn's optimizers (adam, adamw, " in capsys.readouterr().err
    assert not (here / "imported").exists()


@pytest.mark.parametrize(
    "name", ["activation", "loss", "weight_init", "schedule", "order", "model", "dataset"]
)
def test_no_setting_is_imported(here, capsys, name):
    (here / "x.yaml").write_text(json.dumps({"dataset": "digits", name: CLASS}))
    assert main(["train", "x.yaml"]) == 1
    assert CLASS in capsys.readouterr().err
    assert not (here / "imported").exists()


def test_no_command_imports_what_a_run_folder_names(here, finished, capsys):
    copied(finished, here / "run", name_planted_class)
    assert main(["train", "run/config.json"]) == 1
    for kind in run_pictures.KINDS:
        code = main(["picture", kind, "run"])
        assert code == (1 if kind in ("maps", "augmented") else 0), kind  # this run has no such picture
    assert main(["curves", "run"]) == 0
    assert main(["train", "digits", "--out", "run", "--resume"]) == 1
    assert main(["sweep", "run/config.json", "--grid", "epochs=1"]) == 1
    capsys.readouterr()
    assert not (here / "imported").exists()


def test_the_command_line_may_name_a_class_of_the_user(here):
    command = [
        "train",
        "digits",
        "--optimizer",
        CLASS,
        "--optimizer.lr",
        "0.1",
        "--epochs",
        "1",
        "--out",
        "r",
    ]
    assert main(command) == 0
    assert (here / "imported").exists()
    assert main(["picture", "confusion", "r"]) == 0


@pytest.mark.parametrize(
    "text", [BILLION_LAUGHS, "[" * 20_000, "{a: " * 20_000, "- " * 20_000, "? " * 20_000]
)
def test_bombs_are_refused_at_once(here, capsys, text):
    (here / "x.yaml").write_text(text)
    (here / "run").mkdir()
    (here / "run" / "config.json").write_text(text)
    (here / "run" / "history.json").write_text("[" * 100_000)
    started = time.perf_counter()
    assert main(["train", "x.yaml"]) == 1
    assert main(["sweep", "x.yaml", "--grid", "epochs=1"]) == 1
    assert main(["picture", "confusion", "run"]) == 1
    assert main(["curves", "run"]) == 1
    assert main(["compare", "run/history.json"]) == 1
    with pytest.raises(ValueError, match="is not a study"):
        fn.Study.load(here / "run" / "history.json")
    errors = capsys.readouterr().err
    assert errors.count("\n") == 5
    assert len(errors) < 3000
    assert time.perf_counter() - started < 20


def test_a_grid_on_the_command_line_is_bounded(here):
    for word in ("lr=" + "[" * 20_000, "lr=&a [1],*a", "lr=!!int x"):
        with pytest.raises(ValueError, match="--grid takes"):
            settings_file.grid([word])


YAML = (
    "dataset: digits\nlayers: [64, 16, 10]\noptimizer: {name: adam, lr: 1e-3, betas: [0.9, 0.99]}\n"
    "epochs: 3\nbatch_size: 32\nvalidation: 0.1\nema: 0.9\nthreads: 2\nseed: 1\nbackend: aot\n"
)
PIECES = [
    *(
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        "- ",
        "\n",
        ",",
        "&a ",
        "*a",
        "!!int ",
        "!!python/name:os.system ",
        "|",
        ">",
    ),
    *(
        '"',
        "'",
        "#",
        "%",
        "@",
        "~",
        "null",
        "yes",
        "1e300",
        "-1",
        "0",
        ".nan",
        ".inf",
        "9" * 400,
        "2020-13-45",
    ),
    *(
        "0x",
        "0b_",
        "1:61",
        "<<: ",
        "? ",
        "\t",
        "\x00",
        "\ufeff",
        "é",
        "\u2028",
        "optimizer",
        "name",
        "class_path",
    ),
]


def mutated(content, rng):
    """`content` (bytes) with one to four random edits."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 0, 1, 3, 20]))
        piece = rng.choice([*PIECES, chr(rng.randrange(256))]).encode(
            "utf-8" if rng.random() < 0.9 else "utf-16"
        )
        data[start:end] = piece
    return bytes(data)


def test_mutated_settings_files_give_settings_or_a_short_error(tmp_path):
    rng, path = random.Random(0), tmp_path / "x.yaml"
    path.write_text(YAML)
    settings_file.read(path)
    accepted, errors = 0, []
    for _ in range(400):
        path.write_bytes(mutated(YAML.encode(), rng))
        try:
            settings_file.read(path)
            accepted += 1
        except ValueError as error:
            errors.append(str(error))
    assert all(text.startswith(str(path)) and len(text) < 500 for text in errors)
    assert 0 < accepted < 400


JSON_VALUES = [None, True, -1, 0, 1e300, 10**400, "", "x", [], [[]], {}, {"a": []}, CLASS, [64, "x"]]


def test_mutated_run_folders_give_a_result_or_a_short_error(here, finished, capsys, monkeypatch):
    """Some value of config.json or history.json has another type, or is missing."""
    copied(finished, here / "run", lambda config: None)
    monkeypatch.setattr("fastnn.viz.save_bands", lambda *arguments, **options: arguments[1])  # takes 0.3 s
    rng = random.Random(0)
    for name in ("config.json", "history.json"):
        original = (here / "run" / name).read_text()
        for _ in range(40):
            content = json.loads(original)
            place = content
            while True:
                key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
                if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.3:
                    break
                place = place[key]
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = rng.choice(JSON_VALUES)
            (here / "run" / name).write_text(json.dumps(content))
            with contextlib.suppress(ValueError):
                run_pictures.settings_and_model(here / "run")
            with contextlib.suppress(ValueError):
                train_run._is_resumable(PRESETS["digits"]["mlp"], here / "run")
            assert main(["curves", "run", "--out", "c.png"]) in (0, 1)
            assert len(capsys.readouterr().err) < 2500
        (here / "run" / name).write_text(original)
    assert not (here / "imported").exists()
