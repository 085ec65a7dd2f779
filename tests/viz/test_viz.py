"""`fn.viz.save_curves` and `fn.viz.save_weights`."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import fastnn as fn
from fastnn import viz


@pytest.fixture
def drawn(monkeypatch):
    """The figures that this test writes, in order."""
    figures = []
    savefig = Figure.savefig

    def spy(figure, *args, **options):
        figures.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures


@pytest.fixture
def history():
    """A history of three epochs of 100 updates, with validation."""
    history = fn.History()
    history.updates["loss"] = list(np.exp(-np.arange(300) / 100))
    for epoch in range(3):
        history.add_epoch(
            {"loss": 1 / (epoch + 1), "accuracy": epoch / 2, "val_loss": 0.5, "val_accuracy": 0.25}
        )
    return history


def points(line):
    return [list(map(float, values)) for values in line.get_data()]


def test_curves_show_updates_block_means_and_epochs(drawn, history, tmp_path):
    path = viz.save_curves(history, tmp_path / "curves.png")
    assert path == tmp_path / "curves.png"
    assert imread(path).shape == (540, 1200, 4)
    updates, loss, accuracy = drawn[0].axes

    every, means = updates.lines
    assert points(every) == [list(range(1, 301)), history.updates["loss"]]
    x, y = points(means)
    assert x[:2] == [2, 5]  # the middles of the updates 1, 2, 3 and 4, 5, 6
    np.testing.assert_allclose(y, np.reshape(history.updates["loss"], (-1, 3)).mean(axis=1))
    assert [text.get_text() for text in updates.get_legend().texts] == ["each update", "mean of 3 updates"]

    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        training, validation = axes.lines
        assert points(training) == [[1, 2, 3], history[name]]
        assert points(validation) == [[1, 2, 3], history[f"val_{name}"]]
        assert [text.get_text() for text in axes.get_legend().texts] == ["training", "validation"]
        assert axes.get_ylabel() == name


def test_curves_of_an_unfinished_first_epoch_have_one_panel(drawn, tmp_path):
    history = fn.History()
    history.updates["loss"] = [3.0, 2.0]
    assert imread(viz.save_curves(history, tmp_path / "curves.png")).shape == (540, 720, 4)
    (axes,) = drawn[0].axes
    assert [points(line) for line in axes.lines] == [[[1, 2], [3, 2]]]


@pytest.mark.parametrize("epochs", [1, 2, 7, 60])
def test_ticks_of_epochs_and_updates_are_integers(drawn, tmp_path, epochs):
    history = fn.History()
    history.updates["loss"] = [1.0] * epochs
    for _ in range(epochs):
        history.add_epoch({"loss": 1.0})
    viz.save_curves(history, tmp_path / "curves.png")
    for axes in drawn[0].axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown
        assert all(tick == int(tick) for tick in shown)


def test_history_plot_writes_the_curves(history, tmp_path):
    assert history.plot(tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_an_empty_history_raises(tmp_path):
    with pytest.raises(ValueError, match="the history is empty"):
        viz.save_curves(fn.History(), tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_each_column_of_the_weights_is_an_image(drawn, tmp_path):
    weights = np.arange(1.0, 37).reshape(6, 6)
    path = viz.save_weights(weights, tmp_path / "w.png", image_shape=(2, 3), columns=4)
    assert imread(path).std() > 0.1
    (picture,) = drawn[0].axes[0].images
    mosaic = picture.get_array().filled(np.nan)  # gaps of one pixel, above and between
    assert mosaic.shape == (2 * 3, 4 * 4 - 1)
    np.testing.assert_array_equal(mosaic[1:3, 0:3], [[1, 7, 13], [19, 25, 31]])
    np.testing.assert_array_equal(mosaic[1:3, 12:15], [[4, 10, 16], [22, 28, 34]])
    np.testing.assert_array_equal(mosaic[4:6, 4:7], [[6, 12, 18], [24, 30, 36]])
    assert np.count_nonzero(~np.isnan(mosaic)) == weights.size


def test_the_colour_scale_is_symmetric_and_has_a_bar(drawn, tmp_path):
    weights = np.random.default_rng(0).normal(loc=1, size=(16, 128))
    viz.save_weights(weights, tmp_path / "w.png")
    axes, bar = drawn[0].axes
    low, high = axes.images[0].get_clim()
    assert low == -high
    assert 0.994 < np.mean(np.abs(weights) <= high) < 1  # a few weights are beyond the ends of the scale
    assert axes.images[0].cmap.name == "RdBu_r"
    assert bar.get_ylabel() == "weight"


def test_weights_that_are_all_zero_are_drawn(drawn, tmp_path):
    viz.save_weights(np.zeros((4, 3)), tmp_path / "w.png")
    assert drawn[0].axes[0].images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (7, 3), (10, 5), (64, 8), (128, 8)])
def test_the_grid_is_full_and_wider_than_high(drawn, tmp_path, count, columns):
    viz.save_weights(np.ones((4, count)), tmp_path / "w.png")
    assert drawn[0].axes[0].images[0].get_array().shape[1] == 3 * columns - 1


def test_titles_are_above_their_images(drawn, tmp_path):
    titles = [f"class {c}" for c in range(10)]
    viz.save_weights(np.ones((64, 10)), tmp_path / "w.png", titles=titles)
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == titles
    mosaic = axes.images[0].get_array()
    for text in axes.texts:
        x, y = text.get_position()
        assert mosaic.mask[: round(y) + 1, round(x)][-1]
        assert not mosaic.mask[round(y) + 1, round(x)]


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (np.ones((8, 2)), {}, "8 weights of a unit do not form a square: pass image_shape"),
        (np.ones((8, 2)), {"image_shape": (3, 3)}, "image_shape 3 x 3 does not fit the 8 weights"),
        (np.ones((8, 2)), {"image_shape": (-2, -4)}, "image_shape -2 x -4 does not fit"),
        (np.ones((4, 2)), {"titles": ["one"]}, "1 titles for 2 images"),
        (np.ones((4, 2)), {"columns": 0}, "columns must be at least 1, not 0"),
        (np.ones(4), {}, r"shape \(in, out\), not \(4,\)"),
        (np.ones((4, 0)), {}, r"shape \(in, out\), not \(4, 0\)"),
        (np.full((4, 2), np.nan), {}, "NaN or infinite"),
    ],
)
def test_invalid_weights_and_options_are_rejected(tmp_path, weights, options, message):
    with pytest.raises(ValueError, match=message):
        viz.save_weights(weights, tmp_path / "w.png", **options)
    assert not list(tmp_path.iterdir())


def test_a_missing_matplotlib_raises_an_error_that_says_what_to_install(monkeypatch, history, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "fastnn.viz._figure", raising=False)
    for draw in (
        lambda: viz.save_curves(history, tmp_path / "c.png"),
        lambda: viz.save_weights(np.ones((4, 2)), tmp_path / "w.png"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[demo\]'"):
            draw()


def test_drawing_does_not_import_pyplot(tmp_path):
    script = (
        "import sys, fastnn.viz; assert 'matplotlib' not in sys.modules;"
        f"fastnn.viz.save_weights([[1.0]], {str(tmp_path / 'w.png')!r});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("by", "places"), [("epoch", [0.5, 1, 1.5, 2]), ("update", [3, 6, 9, 12])])
def test_curves_of_all_sets_by_epoch_or_update(by, places):
    rng = np.random.default_rng(0)
    data = rng.random((60, 4), np.float32), rng.integers(3, size=60)
    sets = {"valid": data, "test": data, "test_clean": data}
    model = fn.Sequential(fn.Linear(4, 3))
    options = {"validation": sets, "validate_every": 3, "batch_size": 10, "epochs": 2}
    history = fn.fit(model, data, **options, progress=False, seed=0)
    _, loss, accuracy = history.plot(by=by).axes
    assert [line.get_label() for line in loss.lines] == ["training", "test", "valid", "test_clean"]
    assert "training, running" in [line.get_label() for line in accuracy.lines]
    assert accuracy.get_xlabel() == by
    for line in loss.lines[1:]:
        np.testing.assert_allclose(line.get_xdata(), places)
    with pytest.raises(ValueError, match="unknown x axis 'time': choose one of epoch, update"):
        history.plot(by="time")
