"""The experiments that fastnn brings along: how they are written, and that each runs."""

import ast
import sys
from pathlib import Path

import pytest

from fastnn.reproduction.experiment import known_experiments, known_items
from fastnn.reproduction.runner import Run, run_one

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
FILES = sorted(FOLDER.glob("s*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_experiments_use_fastnn_as_any_script_does(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                assert (alias.name, alias.asname) == ("fastnn", "fn") or top in {
                    "numpy",
                    *sys.stdlib_module_names,
                }


def test_the_library_never_imports_experiments():
    for path in (FOLDER.parent / "fastnn").rglob("*.py"):
        if path.is_relative_to(FOLDER.parent / "fastnn" / "experiments"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("fastnn.experiments") for name in names), path


def test_items_of_experiments_exist():
    items = known_items()
    unknown = {item for each in known_experiments().values() for item in each.items} - items.keys()
    # Remarks on mistakes in listings are no items of their own.
    assert unknown <= {"S0-24", "S0-25", "S1-19", "S1-20", "S2-3", "S2-6", "S2-8", "S4-4", "S4-5"}


@pytest.mark.parametrize("name", sorted(known_experiments()))
def test_each_experiment_has_a_row_for_each_of_its_items(name, tmp_path):
    experiment = known_experiments()[name]
    for variant in experiment.variants:
        run = Run(experiment, variant, True, tmp_path)
        assert run_one(run) == "done"
    import json

    rows = json.loads((run.folder / "result.json").read_text())["rows"]
    assert {row["item"] for row in rows} == set(experiment.items)
    assert not [row for row in rows if row["verdict"] == "differs"]
