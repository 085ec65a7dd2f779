"""The code blocks and commands of the README work."""

import re
import shlex
from pathlib import Path

import pytest

import fastnn as fn
from fastnn.cli import main

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for script in blocks("python"):
        exec(script, names)
    assert names["history"]["val_accuracy"][-1] > 0.9
    assert names["model"].predict(names["x"].reshape(-1, 64)).shape == (len(names["x"]), 10)
    assert (tmp_path / "digits.safetensors").stat().st_size > 4 * 9000
    assert "Linear(64, 128)" in capsys.readouterr().out


def test_names_are_public():
    used = set(re.findall(r"\bfn\.(\w+)", README))
    assert {"Sequential", "fit", "evaluate"} <= used
    assert used <= set(fn.__all__)


@pytest.mark.parametrize(
    "command", re.findall(r"fastnn (?:train|profile|compare|config)[^\n`|&]*", "\n".join(blocks("bash")))
)
def test_commands_are_valid(command):
    assert callable(main._parse([main._with_underscores(word) for word in shlex.split(command)[1:]]))
