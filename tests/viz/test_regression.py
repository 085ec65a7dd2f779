"""`fn.viz.save_predictions`: predicted against true values."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from fastnn import viz


def test_predictions_are_drawn_against_true_values(tmp_path, monkeypatch):
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), savefig(figure, *a, **k))[1]
    )
    y, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    assert viz.save_predictions(y, predicted, tmp_path / "p.png", label="price $").exists()
    axes = figures[0].axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), np.stack([y, predicted], axis=1))
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [4, 4]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true price $", "predicted price $")
    assert figures[0].get_suptitle() == "3 predictions, mean absolute error 0.5"


@pytest.mark.parametrize(
    ("y", "predicted", "match"),
    [
        ([1.0], [1.0, 2.0], "the same shape"),
        ([], [], "the same shape"),
        ([1.0, np.nan], [1.0, 2.0], "must be finite"),
    ],
)
def test_invalid_values_are_rejected(tmp_path, y, predicted, match):
    with pytest.raises(ValueError, match=match):
        viz.save_predictions(y, predicted, tmp_path / "p.png")
