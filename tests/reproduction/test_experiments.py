"""The experiments that fastnn brings along: how they are written, and that each runs."""

import ast
import json
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


def rows_of(name, variant, folder):
    run = Run(known_experiments()[name], variant, True, folder)
    assert run_one(run) == "done"
    return json.loads((run.folder / "result.json").read_text())["rows"]


@pytest.mark.parametrize("name", sorted(known_experiments()))
def test_each_experiment_has_a_row_for_each_of_its_items(name, tmp_path):
    experiment = known_experiments()[name]
    rows = rows_of(name, next(iter(experiment.variants)), tmp_path)
    assert {row["item"] for row in rows} == set(experiment.items)
    assert not [row for row in rows if row["verdict"] == "differs"]


def test_the_listing_of_the_fifth_report_runs_as_written(tmp_path):
    rows = rows_of("s4.mlp", "as-written", tmp_path)
    assert {row["item"] for row in rows} == {"S4-3", "S4-5"}


def test_the_scalar_biases_of_the_third_report_run_as_written(tmp_path):
    rows = rows_of("s2.clipped", "as-written", tmp_path)
    assert {row["item"] for row in rows} == {"S2-8"}
    assert [row["verdict"] for row in rows if row["what"].startswith("b")] == ["matches", "matches"]


def test_items_without_an_experiment():
    covered = {item for each in known_experiments().values() for item in each.items}
    # The faces and the weights of AlexNet belong to others.
    assert known_items().keys() - covered == {"S1-14", "S1-15", "S1-16", "S1-17", "S1-18"}
