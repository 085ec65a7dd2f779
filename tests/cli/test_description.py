"""data.json, which comes from anyone: content that does not describe a network is refused with its field."""

import contextlib
import json
import os

import numpy as np
import pytest

from fastnn.cli.description import Column, Description, description_from
from fastnn.cli.main import main
from fastnn.cli.own_settings import MISSING_RULES
from tests.cli.own_files import flowers, write_rows
from tests.json_mutations import json_mutations

COUNT = int(os.environ.get("FASTNN_FUZZ", "300"))
TABLE = Description(
    (3,),
    ("no", "yes"),
    "bought",
    columns=(Column("age", None, 40.0, 12.0), Column("city", ("Oslo", "Rome"))),
    source="sha256:0123",
)
REGRESSION = Description((1,), None, "price", (100.0, 20.0), "mean", (Column("area", None, 50.0, 9.0),))
PICTURES = Description((8, 9, 3), ("a", "b"), source=(12, 7))
PIXELS = Description((1, 2), (0, 3), "label", columns=(Column("p0"), Column("p1")))
ALL = (TABLE, REGRESSION, PICTURES, PIXELS)


def content_of(about):
    return json.loads(json.dumps(about.as_dict()))


@pytest.mark.parametrize("about", ALL)
def test_a_description_is_read_as_it_was_written(about):
    assert description_from(content_of(about)) == about


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 2}, "version must be 1, got 2"),
        ({"inputs": [4]}, r"the columns have 3 features, but inputs is \[4\]"),
        ({"inputs": []}, "inputs must be the shape of a sample"),
        ({"inputs": [2**20, 2**20, 3]}, "inputs must be the shape of a sample"),
        ({"classes": ["a"]}, "classes must be a list of different texts"),
        ({"classes": ["a", "a"]}, "classes must be a list of different texts"),
        ({"classes": ["a", 1]}, "classes must be a list of different texts"),
        ({"classes": [True, False]}, "classes must be a list of different texts"),
        ({"classes": None}, "either classes or target must be null"),
        ({"target": {"mean": 0, "std": 1}}, "either classes or target must be null"),
        ({"classes": None, "target": {"mean": 0, "std": 0}}, "target must have a finite mean and a positive"),
        ({"missing": "drop"}, "missing must be one of error, mean"),
        ({"columns": [{"name": "age", "categories": None, "mean": None, "std": 1}]}, r"columns\[0\]\.mean"),
        ({"columns": [{"name": "age", "categories": None, "mean": 0, "std": 1}] * 3}, "the same name"),
        (
            {"columns": [{"name": "a", "categories": ["x", "x"], "mean": None, "std": None}]},
            "different texts",
        ),
        ({"columns": "age"}, "columns must be a list"),
        ({"source": {}}, "source must be a checksum, numbers of pictures or null"),
        ({"source": [1, "2"]}, "source must be a checksum, numbers of pictures or null"),
    ],
)
def test_errors_name_the_field(change, match):
    with pytest.raises(ValueError, match=match):
        description_from({**content_of(TABLE), **change})


@pytest.mark.parametrize("about", ALL)
def test_mutated_descriptions_are_read_or_refused(about):
    """What is read works: it standardizes a sample and gives the result of an output."""
    accepted, lengths = 0, []
    for content in json_mutations(content_of(about), COUNT, seed=0):
        try:
            found = description_from(content)
        except ValueError as error:
            lengths.append(len(str(error)))
            continue
        accepted += 1
        assert description_from(content_of(found)) == found
        assert found.missing in MISSING_RULES
        with np.errstate(over="ignore"):
            assert found.standardized(np.ones((2, *found.inputs))).shape == (2, *found.inputs)
            assert found.target is None or found.in_units(np.zeros((2, 1))).shape == (2,)
    assert 0 < accepted < COUNT
    assert max(lengths) < 1000


def test_commands_on_a_mutated_run_folder_give_a_result_or_a_short_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "f.csv", 40)
    command = "train f.csv --label species --drop id --epochs 1 --out run"
    assert main(command.split()) == 0
    write_rows(tmp_path / "new.csv", ["length", "weight", "colour"], [[1, 1e6, "red"]])
    original = json.loads((tmp_path / "run" / "data.json").read_text())
    for content in json_mutations(original, COUNT // 10, seed=1):
        (tmp_path / "run" / "data.json").write_text(json.dumps(content))
        with contextlib.suppress(SystemExit):
            assert main(["predict", "run", "new.csv"]) in (0, 1)
        assert len(capsys.readouterr().err) < 2500
    for text in ("", "[" * 100_000, "[]", "null"):
        (tmp_path / "run" / "data.json").write_text(text)
        assert main(["predict", "run", "new.csv"]) == 1
        assert "data.json" in capsys.readouterr().err
    (tmp_path / "run" / "data.json").unlink()
    assert main(["predict", "run", "new.csv"]) == 1
    assert "data.json" in capsys.readouterr().err
