"""The contours of a loss, with the paths of trainings."""

import numpy as np
import pytest

import fastnn as fn

GRID = (np.linspace(-1, 1, 6), np.linspace(-3, 3, 9))
BOWL = GRID[0][:, None] ** 2 + GRID[1] ** 2
PATHS = {"plain": [[0.9, 2.0], [-0.5, 1.0], [0.2, 0.0]], "$momentum_": [[0.9, 2.0], [0.5, 1.2]]}


def test_contours_and_trajectories(tmp_path):
    figure = fn.viz.loss_surface(BOWL, GRID, trajectories=PATHS, labels=("$w_1", "w2"))
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), PATHS["plain"])
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), PATHS["plain"][:1])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$w_1", "w2")
    assert axes.get_xlim() == pytest.approx((-1, 1))
    assert axes.get_ylim() == pytest.approx((-3, 3))
    assert [text.get_text() for text in figure.legends[0].texts] == ["plain", "$momentum_"]
    for suffix in (".png", ".svg"):
        path = tmp_path / f"surface{suffix}"
        assert fn.viz.loss_surface(BOWL, GRID, path, trajectories=PATHS) == path
        assert path.stat().st_size > 5000


def test_the_first_weight_is_on_the_x_axis():
    slope = np.broadcast_to(GRID[0][:, None], (6, 9))
    filled = fn.viz.loss_surface(slope, GRID).axes[0].collections[0]
    first = filled.get_paths()[0].vertices
    assert np.ptp(first[:, 0]) < 0.2
    assert np.ptp(first[:, 1]) == pytest.approx(6)


def test_losses_that_are_not_finite_are_left_white():
    surface = BOWL.copy()
    surface[0, 0], surface[1, 1] = np.nan, np.inf
    fn.viz.loss_surface(surface, GRID)


@pytest.mark.parametrize(
    ("surface", "grid", "paths", "message"),
    [
        (BOWL.T, GRID, {}, r"of a surface \(9, 6\), got \(6,\), \(9,\)"),
        (BOWL, GRID[:1], {}, "grid must have the values"),
        (BOWL, (GRID[0][::-1], GRID[1]), {}, "increasing values"),
        (BOWL[:1], (GRID[0][:1], GRID[1]), {}, "at least 2 increasing values"),
        (np.full_like(BOWL, np.nan), GRID, {}, "no loss of the surface is finite"),
        (BOWL, GRID, {"a": [1.0, 2.0]}, r"'a' must have shape \(N, 2\), got \(2,\)"),
        (BOWL, GRID, {"a": np.empty((0, 2))}, r"'a' must have shape \(N, 2\)"),
    ],
)
def test_wrong_surfaces(surface, grid, paths, message):
    with pytest.raises(ValueError, match=message):
        fn.viz.loss_surface(surface, grid, trajectories=paths)
