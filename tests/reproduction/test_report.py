"""Verdicts of a report."""

import pytest

import fastnn as fn
from fastnn.reproduction.report import spread, table


def verdicts(report):
    return [row.verdict for row in report.rows]


@pytest.mark.parametrize(
    ("got", "tolerances", "verdict"),
    [
        (0.95, {}, "differs"),
        (0.975, {"atol": 0.005}, "matches"),
        (0.9749, {"atol": 0.005}, "differs"),
        (0.9702, {"rtol": 0.01}, "matches"),
        ([0.97, 0.99], {}, "matches"),
        ([0.97, 0.98], {"atol": 0.004}, "differs"),
        (float("nan"), {"atol": 1}, "differs"),
    ],
)
def test_values_are_compared_with_the_tolerance(tmp_path, got, tolerances, verdict):
    report = fn.Report(tmp_path)
    report.expect("S1-1", "accuracy", got, 0.98, **tolerances)
    assert verdicts(report) == [verdict]


def test_claims_and_checks(tmp_path):
    report = fn.Report(tmp_path)
    report.claim("S1-1", "a", True, "1 > 0")
    report.claim("S1-1", "b", False, "1 < 2")
    report.check("S1-1", "c", True)
    report.check("S1-1", "d", False)
    report.measured("S1-1", "e", 3.0)
    assert verdicts(report) == ["claim holds", "claim does not hold", "matches", "differs", "measured"]


@pytest.mark.parametrize(
    ("options", "verdict"), [({"quick": True}, "quick"), ({"stand_in": True}, "stand-in")]
)
def test_only_what_needs_no_data_is_judged_otherwise(tmp_path, options, verdict):
    report = fn.Report(tmp_path, **options)
    report.expect("S1-1", "accuracy", 0.5, 0.98)
    report.claim("S1-1", "better", True, "")
    report.measured("S1-1", "time", 3)
    report.expect("S1-1", "parameters", 10, 10, needs_data=False)
    report.check("S1-1", "an error for other names", True)
    assert verdicts(report) == [verdict] * 3 + ["matches", "matches"]


def test_the_reason_is_shown_only_for_differences(tmp_path):
    report = fn.Report(tmp_path)
    report.expect("S1-1", "a", 1, 1, because="another split")
    report.expect("S1-1", "b", 1, 2, because="another split")
    assert [row.because for row in report.rows] == ["", "another split"]


def test_values_of_several_runs_show_their_spread():
    assert spread([1.0, 2.0, 3.0]) == "2 ± 1, n = 3"
    assert spread([0.1, 0.1, 0.1]) == "0.1 ± 0, n = 3"
    assert spread(12345) == "12,345"
    assert spread(0.123456789) == "0.123457"
    assert spread(float("nan")) == "nan"


def test_figures_are_drawn_as_png_and_svg(tmp_path):
    report = fn.Report(tmp_path)
    report.figure("S1-2", "digits", lambda path: path.write_text(path.suffix), "figure 1: digits")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.png", "digits.svg"]
    assert report.figures == [
        {
            "item": "S1-2",
            "name": "digits",
            "caption": "figure 1: digits",
            "files": ["digits.png", "digits.svg"],
        }
    ]
    assert verdicts(report) == ["drawn"]


@pytest.mark.parametrize("name", ["../digits", "a b", "", "Ä"])
def test_names_of_figures_are_names_of_files(tmp_path, name):
    with pytest.raises(ValueError, match="must have only a-z, 0-9 and -"):
        fn.Report(tmp_path).figure("S1-2", name, lambda path: path.write_text(""))


def test_the_table_lists_reasons_below(tmp_path):
    report = fn.Report(tmp_path)
    report.expect("S1-1", "accuracy", 0.5, 0.98, atol=0.01, because="fewer epochs")
    lines = table(report.rows).splitlines()
    assert lines[0].split() == ["item", "what", "expected", "got", "tolerance", "verdict"]
    assert lines[1].split() == ["S1-1", "accuracy", "0.98", "0.5", "±", "0.01", "differs"]
    assert lines[2] == "  S1-1 accuracy: fewer epochs"
