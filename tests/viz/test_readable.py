"""Pictures stay readable at unusual sizes: titles, limits, colour bars, and no texts on each other."""

import itertools
import os

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

import fastnn as fn
from fastnn import viz

LONG = "a name of class or setting that is much too long, number "


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Call a function of `fn.viz`; return the figure, with the texts that it shows."""
    figures, texts = [], []
    savefig, draw_text = Figure.savefig, Text.draw

    def spy_figure(figure, *args, **options):
        texts.clear()
        savefig(figure, *args, **options)
        figure.texts_shown = list(dict.fromkeys(texts))
        figures.append(figure)

    def spy_text(text, *args, **options):
        texts.append(text)
        draw_text(text, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy_figure)
    monkeypatch.setattr(Text, "draw", spy_text)

    def drawn(function, *args, **options):
        function(*args, tmp_path / "picture.png", **options)
        return figures[-1]

    return drawn


def history(epochs, seed=0, validation=True):
    found, rng = fn.History(), np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        found.add_updates({"loss": rng.random(20) / epoch})
        values = {"loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch}
        if validation:
            values |= {"val_loss": 1.1 / epoch, "val_accuracy": min(1, 1 - 0.1 * rng.random())}
        found.add_epoch(values)
    return found


def assert_readable(figure):
    """No text is cut off at the edges of the picture, and no text lies on another."""
    shown = [text for text in figure.texts_shown if text.get_text().strip() and text.get_visible()]
    found = [(text.get_text(), text.get_window_extent()) for text in shown]
    assert found
    for label, box in found:
        assert box.x0 >= -1, f"{label!r} is cut off"
        assert box.y0 >= -1, f"{label!r} is cut off"
        assert box.x1 <= figure.bbox.x1 + 1, f"{label!r} is cut off"
        assert box.y1 <= figure.bbox.y1 + 1, f"{label!r} is cut off"
    for (one, box), (other, other_box) in itertools.combinations(found, 2):
        assert not box.padded(-1).overlaps(other_box.padded(-1)), f"{one!r} lies on {other!r}"


def assert_legends_cover_no_axes(figure):
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]:
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(axes.bbox.padded(-3)) for axes in figure.axes), "a legend covers curves"


@pytest.mark.parametrize("epochs", [1, 5, 100])
@pytest.mark.parametrize("validation", [False, True])
def test_curves_at_any_number_of_epochs(draw, epochs, validation):
    figure = draw(viz.save_curves, history(epochs, validation=validation))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss per update", "Loss", "Accuracy"]
    assert_readable(figure)
    assert_legends_cover_no_axes(figure)


def test_validation_that_starts_later_is_drawn_at_its_epochs(draw):
    found = history(2, validation=False)
    found.add_epoch({"loss": 0.1, "accuracy": 0.8, "val_loss": 0.2, "val_accuracy": 0.7})
    found.add_epoch({"loss": 0.1, "accuracy": 0.8, "val_loss": 0.2, "val_accuracy": 0.7})
    figure = draw(viz.save_curves, found)
    training, validation = figure.axes[1].lines
    assert list(training.get_xdata()) == [1, 2, 3, 4]
    assert list(validation.get_xdata()) == [3, 4]


def test_curves_show_the_test_result_and_metrics(draw):
    found = history(3)
    found.record({"val_f1": 0.75, f"val_{LONG}": 0.5})
    found.record({"test_loss": 0.25, "test_accuracy": 0.875})
    figure = draw(viz.save_curves, found)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss",
        "loss",
        "accuracy",
        "f1",
        "a name of …, number ",
    ]
    (point,) = [line for line in figure.axes[2].lines if line.get_label().startswith("test")]
    assert point.get_label() == "test 0.875"
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([3], [0.875])
    assert_readable(figure)


def test_bands_of_accuracies_end_at_1_and_those_of_losses_at_0(draw):
    runs = []
    for value in (1.0, 1.0, 0.7):
        runs.append(fn.History())
        for _ in range(3):
            runs[-1].add_epoch({"val_accuracy": value, "loss": 1 - value})
    for name, edge in (("val_accuracy", 1), ("loss", 0)):
        (band,) = (
            draw(lambda path, name=name: viz.save_bands({"a": runs}, path, name=name)).axes[0].collections
        )
        corners = band.get_paths()[0].vertices[:, 1]
        assert corners.max() <= 1 or name == "loss"
        assert edge in (corners.min(), corners.max())
        assert corners.min() >= 0


def test_bands_align_runs_by_epoch_and_leave_out_missing_values(draw):
    early, late = fn.History(), fn.History()
    for epoch in range(1, 5):
        early.add_epoch({"loss": 1.0, "val_loss": 1.0} if epoch < 3 else {"loss": 1.0})
        late.add_epoch({"loss": 1.0, "val_loss": 3.0} if epoch > 1 else {"loss": 1.0})
    late.updates["loss"], late.updates["lr"] = [1.0] * 4, [np.nan, np.nan, 0.5, 0.5]
    figure = draw(lambda path: viz.save_bands({"a": [early, late]}, path, name="val_loss"))
    x, y = figure.axes[0].lines[0].get_data()
    assert (list(x), list(y)) == ([1, 2, 3, 4], [1, 2, 3, 3])
    figure = draw(lambda path: viz.save_bands({"a": [late]}, path, name="updates.lr"))
    assert np.ma.getmaskarray(figure.axes[0].lines[0].get_ydata()).tolist() == [True, True, False, False]


@pytest.mark.parametrize("epochs", [1, 100])
@pytest.mark.parametrize(
    "labels",
    [["lr 0.1"], [f"{LONG * 3}{n}" for n in range(3)], [f"lr {n}" for n in range(30)], ["_a", "$b", "c$"]],
    ids=["one", "long", "many", "symbols"],
)
def test_labels_of_bands_do_not_squeeze_the_axes(draw, labels, epochs):
    groups = {label: [history(epochs, seed) for seed in range(2)] for label in labels}
    figure = draw(lambda path: viz.save_bands(groups, path, note="The runs also differ in epochs."))
    (axes,) = figure.axes
    assert axes.bbox.width > 0.8 * figure.bbox.width
    assert axes.bbox.height > 3 * figure.dpi
    written = [text.get_text().replace("\n", " ") for text in figure.legends[0].texts]
    assert written == [f"{label} (2 runs)" for label in labels]
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(styles) == min(len(labels), 28)
    assert_readable(figure)
    assert_legends_cover_no_axes(figure)


@pytest.mark.parametrize("names", [["a"], ["relu 8"] * 12, [LONG * 2, "b"], [f"k {n}" for n in range(100)]])
def test_bars_of_any_number_and_equal_names_lie_apart(draw, names):
    bars = [(name, float(number + 1)) for number, name in enumerate(names)]
    figure = draw(lambda path: viz.save_bars(bars, path, title=LONG * 3, label="us"))
    assert len({bar.get_y() for bar in figure.axes[0].patches}) == len(names)
    assert_readable(figure)


@pytest.mark.parametrize(("classes", "names"), [(1, None), (2, None), (2, LONG), (10, LONG), (100, "name ")])
def test_confusion_of_any_number_of_classes(draw, classes, names):
    y = np.repeat(np.arange(classes), 3)
    predicted = np.where(np.arange(len(y)) % 3 == 0, (y + 1) % classes, y)
    names = None if names is None else [f"{names}{number}" for number in range(classes)]
    figure = draw(lambda path: viz.save_confusion(y, predicted, path, names=names))
    axes, bar = figure.axes
    assert len(axes.get_yticks()) == classes
    assert axes.bbox.width > 0.5 * figure.bbox.width
    assert "fraction" in bar.get_ylabel()
    assert "correct" in figure.get_suptitle()
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize(("classes", "count", "channels"), [(1, 1, 1), (2, 10, 3), (100, 2, 1)])
def test_classes_have_titles_and_a_bounded_height(draw, classes, count, channels):
    x = np.zeros((classes * count, 4, 4, channels), np.uint8)
    names = [f"{LONG}{number}" for number in range(classes)]
    labels = np.repeat(np.arange(classes), count)
    figure = draw(lambda path: viz.save_classes(x, labels, path, names=names))
    assert "of each class" in figure.get_suptitle()
    assert max(figure.get_size_inches()) < 25
    assert sum(bool(axes.get_ylabel()) for axes in figure.findobj(matplotlib.axes.Axes)) == classes
    assert_readable(figure)


def test_mistakes_between_classes_with_long_names(draw):
    names = [f"{LONG}{number}" for number in range(12)]
    outputs = np.eye(12)[np.arange(12)]
    wrong = (np.arange(12) + 1) % 12
    figure = draw(lambda path: viz.save_mistakes(np.zeros((12, 4, 4)), outputs, wrong, path, names=names))
    assert_readable(figure)


@pytest.mark.parametrize("units", [1, 2, 512])
def test_weights_have_a_title_and_show_the_largest_units(draw, units):
    weights = np.ones((16, units)) * np.arange(1, units + 1)
    figure = draw(viz.save_weights, weights)
    mosaic = figure.axes[0].images[0].get_array()
    assert mosaic.min() == max(units - 63, 1)
    assert mosaic.max() == units
    largest = f"the 64 of {units} units that have the largest norms"
    expected = "1 unit" if units == 1 else largest if units > 64 else f"{units} units"
    assert figure.get_suptitle().replace("\n", " ") == f"Weights of {expected}"
    assert figure.axes[1].get_ylabel() == "weight"
    assert_readable(figure)


def test_long_titles_of_weights_lie_apart(draw):
    titles = [f"{LONG}{number}" for number in range(8)]
    assert_readable(draw(viz.save_weights, np.ones((16, 8)), titles=titles))


@pytest.mark.parametrize("channels", [1, 3, 5, 512])
@pytest.mark.parametrize("count", [1, 512])
def test_filters_of_any_number_have_a_title(draw, channels, count):
    filters = np.random.default_rng(0).standard_normal((3, 3, channels, count))
    figure = draw(viz.save_filters, filters)
    assert "of 3 x 3" in figure.get_suptitle()
    assert ("largest of 512" in figure.get_suptitle().replace("\n", " ")) == (count == 512)
    assert len(figure.axes) == (1 if channels == 3 else 2)
    assert max(figure.get_size_inches()) < 14
    assert_readable(figure)


@pytest.mark.parametrize(("channels", "most"), [(1, 12), (512, 12), (512, 40)])
def test_maps_have_colour_bars_and_one_colour_of_zero(draw, channels, most):
    rng = np.random.default_rng(0)
    maps = {LONG: rng.standard_normal((4, 4, channels)), "ReLU 1": rng.random((2, 2, channels))}
    image = rng.random((4, 4, 3))
    figure = draw(lambda path: viz.save_maps(image, maps, path, most=most))
    rows = [[a for a in figure.axes if a.images and a.images[0].get_array().shape == (n, n)] for n in (4, 2)]
    for row, values in zip(rows, maps.values(), strict=True):
        drawn = row[0].images[0]
        assert len(row) == min(channels, most)
        assert {image.get_clim() for axes in row for image in axes.images} == {drawn.get_clim()}
        assert drawn.get_clim()[1] == np.abs(values).max()
        np.testing.assert_allclose(drawn.cmap(drawn.norm(0.0))[:3], [0.97, 0.97, 0.97], atol=0.01)
    assert sum(axes.get_label() == "<colorbar>" for axes in figure.axes) == 2
    assert_readable(figure)


def test_plot_without_a_path_returns_a_figure_that_notebooks_show(tmp_path):
    member = fn.studies.study.Member({"lr": 0.1}, 0, history=history(2))
    study = fn.Study([member])
    figures = [history(2).plot(), study.plot()]
    before = os.listdir(tmp_path)
    for figure in figures:
        assert isinstance(figure, Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")
        figure.savefig(tmp_path / "later.png")
    assert before == []
    assert history(2).plot(tmp_path / "curves.png") == tmp_path / "curves.png"
    assert imread(tmp_path / "curves.png").shape == (540, 1200, 4)


def test_drawing_changes_no_global_state(draw):
    before = dict(matplotlib.rcParams)
    draw(viz.save_curves, history(2))
    draw(viz.save_weights, np.ones((16, 8)))
    assert dict(matplotlib.rcParams) == before
