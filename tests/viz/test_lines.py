"""Lines through given points."""

import numpy as np
import pytest

import fastnn as fn

LABELS = {"x_label": "probability", "y_label": "loss"}


def test_lines_go_through_their_points():
    x = np.linspace(0.1, 1, 5)
    figure = fn.viz.draw_lines({"a": (x, x**2), "$b_": (x, -x)}, title="two lines", **LABELS)
    (axes,) = figure.axes
    for line, y in zip(axes.lines, (x**2, -x), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([x, y]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("probability", "loss")
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "$b_"]


@pytest.mark.parametrize("log", [(False, False), (True, False), (False, True), (True, True)])
def test_logarithmic_axes(log):
    (axes,) = fn.viz.draw_lines({"a": ([1, 10, 100], [1, 0.1, 0.01])}, log=log, **LABELS).axes
    assert (axes.get_xscale() == "log", axes.get_yscale() == "log") == log


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_lines_are_saved(tmp_path, suffix):
    path = tmp_path / f"lines{suffix}"
    lines = {f"line {n}": (range(60), np.random.default_rng(n).random(60)) for n in range(9)}
    assert fn.viz.save_lines(lines, path, **LABELS) == path
    assert path.stat().st_size > 5000


def test_gaps_are_left_open():
    (axes,) = fn.viz.draw_lines({"a": ([0, 1, 2], [1, np.nan, 3])}, **LABELS).axes
    assert np.isnan(axes.lines[0].get_ydata()[1])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({}, "there are no lines to draw"),
        ({"a": ([1, 2], [1])}, r"'a': x and y must have the same shape \(N,\), got \(2,\) and \(1,\)"),
        ({"a": ([[1]], [[1]])}, r"'a': x and y must have the same shape"),
    ],
)
def test_wrong_points(lines, message):
    with pytest.raises(ValueError, match=message):
        fn.viz.draw_lines(lines, **LABELS)
