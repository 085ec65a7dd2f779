"""JSON files of histories, studies and benchmarks: strange content ends in an error that names the field.

`FASTNN_FUZZ=10000 pytest tests/test_json_files.py` tries more mutations than the 300 of every run.
"""

import json
import os

import pytest

import fastnn as fn
from fastnn.measure import compare
from fastnn.studies.study import Member, Study
from tests.json_mutations import json_mutations
from tests.mutations import mutations

COUNT = int(os.environ.get("FASTNN_FUZZ", "300"))


EMPTY = {"epochs": {}, "updates": {}, "stopped": None}


def history():
    found = fn.History()
    found.updates["loss"] = [3.0, float("nan"), 1.0]
    found.add_epoch({"loss": 2.0, "val_loss": 1.0})
    return found


def study():
    runs = [Member({"width": 1, "optimizer": "sgd"}, seed, {"accuracy": 0.5}, history()) for seed in range(3)]
    return Study([*runs, Member({"width": 2}, 0, error="ValueError", details="...", warnings={"a": "b"})])


def use(study):
    """Everything that a table and a plot need."""
    str(study), study.rows(), study.best("accuracy"), study.failed


def benchmarks():
    info = {"race": "dense", "shape": "2x2", "preemptions_per_second": 1.0}
    return {
        "benchmarks": [
            {"name": name, "extra_info": {**info, "contestant": name}, "stats": {"median": 0.5}}
            for name in ("numpy", "aot")
        ]
    }


def test_history_is_read_or_refused():
    for content in json_mutations(history().as_dict(), COUNT, seed=0):
        found = fn.History()
        found.add_epoch({"loss": 7.0})
        before = found.as_dict() | {"epochs": dict(found)}
        try:
            found.load_dict(content)
        except ValueError:
            assert found.as_dict() == before
        else:
            assert json.dumps(found.as_dict()) == json.dumps(fn.History.from_dict(content).as_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the content must be an object, got None"),
        ({"epochs": {}, "updates": {}}, "stopped is missing"),
        ({**EMPTY, "epochs": []}, r"epochs must be an object, got \[\]"),
        ({**EMPTY, "epochs": {"loss": 1}}, r"epochs\['loss'\] must be a list of numbers, got 1"),
        ({**EMPTY, "updates": {"loss": ["1"]}}, r"updates\['loss'\] must be a list of numbers, got \['1'\]"),
        ({**EMPTY, "updates": {"loss": [10**400]}}, r"updates\['loss'\] must be a list of numbers"),
        ({**EMPTY, "stopped": 1}, "stopped must be a text, got 1"),
    ],
)
def test_error_names_the_field_of_a_history(content, message):
    with pytest.raises(ValueError, match=message):
        fn.History.from_dict(content)


READERS = {
    "study": (lambda path: study().save(path), lambda path: use(Study.load(path))),
    "benchmarks": (
        lambda path: path.write_text(json.dumps(benchmarks())),
        lambda path: compare.table(compare.load(path)),
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(tmp_path, kind):
    write, read = READERS[kind]
    path = tmp_path / "good.json"
    write(path)
    read(path)
    content, bad, refused = path.read_bytes(), tmp_path / "bad.json", 0
    damaged = [json.dumps(each).encode() for each in json_mutations(json.loads(content), COUNT, seed=0)]
    for data in [*damaged, *mutations(content, COUNT, seed=0)]:
        bad.write_bytes(data)
        try:
            read(bad)
        except ValueError:
            refused += 1
    assert refused > COUNT / 2


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, "{}", "null", "", '{"members": 1}'])
def test_files_that_are_something_else_are_refused(tmp_path, kind, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.json"):
        READERS[kind][1](path)
