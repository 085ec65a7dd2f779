"""The summary of all results in Markdown."""

import pytest

from fastnn.cli.main import main
from fastnn.reproduction import markdown
from fastnn.reproduction.results import results_in
from fastnn.reproduction.runner import Run, run_one

from . import tiny

ITEMS = {"T-1": "a value", "T-2": "a claim", "T-3": "a figure", "T-4": "never run"}


def test_summary_has_what_is_said_beside_what_came_out(tmp_path):
    for variant in ("as-written", "corrected"):
        run_one(Run(tiny.experiment(stand_in="half | <circles>"), variant, False, tmp_path / "out"))
    text = markdown.summary(results_in(tmp_path / "out"), ITEMS)
    assert "| T | 3 of 4 |" in text
    corrected, written = (line for line in text.splitlines() if line.startswith("### "))
    assert "(as-written)" in written
    assert "(as-written)" not in corrected
    table = [
        line for line in text.split(corrected)[1].split("###")[0].splitlines() if line.startswith("| T-")
    ]
    assert [line.split(" | ")[0] for line in table] == ["| T-1", "| T-2"]  # a figure is only counted
    assert "Figures: 1; further measurements: 0" in text
    assert all(line.count("|") == 6 for line in table)


@pytest.mark.parametrize(
    ("verdict", "got", "shown"),
    [
        ("differs", "0.98", "0.98: another set"),
        ("matches", "0.98", "0.98"),
        ("claim holds", "", "another set"),
        ("differs", "", "another set"),
    ],
)
def test_a_difference_has_its_reason(verdict, got, shown):
    assert markdown._found({"verdict": verdict, "got": got, "because": "another set"}) == shown


def test_cells_cannot_end_a_table():
    assert markdown._cell("a | <b>\nc") == "a \\| &lt;b> c"


def test_command_takes_the_folder_by_position(tmp_path, capsys):
    run_one(Run(tiny.experiment(), "corrected", False, tmp_path / "out"))
    main(["report", str(tmp_path / "out"), "--markdown", str(tmp_path / "summary.md")])
    assert (tmp_path / "summary.md").read_text().startswith("## Coverage")
    assert (tmp_path / "out" / "index.html").exists()
    assert capsys.readouterr().out.count("written to") == 2
