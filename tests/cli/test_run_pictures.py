"""The pictures of `fn.viz` other than curves and weights, and `fastnn picture` and `fastnn curves`."""

import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import fastnn as fn
from fastnn import viz
from fastnn.cli.main import main


@pytest.fixture
def drawn(monkeypatch):
    """The figures that this test writes, in order."""
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), savefig(figure, *a, **k))[1]
    )
    return figures


def digits(count=12, channels=()):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 5, 4, *channels)).astype(np.uint8), np.arange(count) % 3


def pictures_in(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_confusion_colours_the_fraction_of_mistakes_and_prints_counts(drawn, tmp_path):
    y = np.array([0] * 10 + [1] * 4 + [2])
    predicted = np.array([0] * 8 + [1, 2] + [1, 1, 0, 0] + [2])
    path = viz.save_confusion(y, predicted, tmp_path / "c.png", names=["ant", "bee", "cat"])
    assert imread(path).ndim == 3
    axes = drawn[0].axes[0]
    fractions = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(fractions, [[np.nan, 0.1, 0.1], [0.5, np.nan, 0], [0, 0, np.nan]])
    assert axes.images[0].get_clim() == (0, 0.5)
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "8", (1, 0): "1", (2, 0): "1", (0, 1): "2", (1, 1): "2", (2, 2): "1"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ant", "bee", "cat"]
    assert drawn[0].get_suptitle() == "Confusion matrix: 11 of 15 correct (73.33%)"


def test_confusion_of_many_classes_has_no_counts_and_one_class_is_padded(drawn, tmp_path):
    y = np.arange(100).repeat(2)
    viz.save_confusion(y, np.roll(y, 1), tmp_path / "c.png")
    assert not drawn[0].axes[0].texts
    viz.save_confusion([0, 0], [0, 0], tmp_path / "c.svg", classes=2)
    assert drawn[1].axes[0].images[0].get_array().shape == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0]), "same shape"),
        (([], []), "same shape"),
        (([0, -1], [0, 0]), "at least 0"),
        (([0.5], [0]), "must be integers"),
    ],
)
def test_confusion_rejects_invalid_labels_and_names(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        viz.save_confusion(*arguments, tmp_path / "c.png")
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        viz.save_confusion([0, 2], [0, 0], tmp_path / "c.png", names=["a", "b"])


def test_mistakes_are_sorted_by_confidence(drawn, tmp_path):
    x, _ = digits(4)
    outputs = np.log([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]])
    viz.save_mistakes(x, outputs, [0, 0, 0, 1], tmp_path / "m.png", names=["no", "yes"])
    figure = drawn[0]
    assert [axes.get_title() for axes in figure.axes if axes.images] == ["no → yes\n80%", "no → yes\n70%"]
    for picture, index in zip(pictures_in(figure), (2, 1), strict=True):
        assert np.array_equal(picture, x[index])
    assert "2 of 4" in figure.get_suptitle()
    viz.save_mistakes(x, outputs, [0, 1, 1, 1], tmp_path / "none.png")
    assert "0 of 4" in drawn[1].get_suptitle()
    with pytest.raises(ValueError, match="outputs"):
        viz.save_mistakes(x, outputs[:2], [0, 1], tmp_path / "m.png")


def test_each_class_has_a_row_of_images(drawn, tmp_path):
    x, y = digits(channels=(3,))
    viz.save_classes(x, y, tmp_path / "c.png", count=3, names=["a", "b", "c"])
    assert [axes.get_ylabel() for axes in drawn[0].axes][::3] == ["a", "b", "c"]
    for place, picture in enumerate(pictures_in(drawn[0])):
        assert np.array_equal(picture, x[y == place // 3][place % 3])


def test_augmented_images_are_drawn_beside_their_originals(drawn, tmp_path):
    x, _ = digits(2, (1,))
    viz.save_augmented(x, fn.augment.Flip(1.0), tmp_path / "a.png", versions=3)
    pictures = pictures_in(drawn[0])
    assert len(pictures) == 8
    for row in range(2):
        assert np.array_equal(pictures[4 * row], x[row, ..., 0])
        assert all(np.array_equal(p, x[row, :, ::-1, 0]) for p in pictures[4 * row + 1 : 4 * row + 4])
    assert drawn[0].axes[0].get_title() == "original"


def test_filters_with_one_three_or_more_channels(drawn, tmp_path):
    rng = np.random.default_rng(0)
    for channels, count in ((1, 6), (3, 6), (5, 4)):
        viz.save_filters(rng.standard_normal((3, 2, channels, count)), tmp_path / "f.png")
    one, colours, many = (figure.axes[0].images[0].get_array() for figure in drawn)
    assert one.ndim == many.ndim == 2
    assert np.isfinite(np.ma.filled(one.astype(float), np.nan)).sum() == 6 * 6
    assert np.isfinite(np.ma.filled(many.astype(float), np.nan)).sum() == 6 * 20
    assert colours.ndim == 3
    assert (colours.min(), colours.max()) == (0, 1)
    with pytest.raises(ValueError, match=r"\(R, S, C, O\)"):
        viz.save_filters(np.zeros((3, 3)), tmp_path / "f.png")


def test_maps_have_a_row_for_each_layer(drawn, tmp_path):
    maps = {"first": np.arange(24.0).reshape(3, 4, 2), "second": np.ones((1, 2, 20))}
    viz.save_maps(digits(1)[0][0], maps, tmp_path / "m.png", most=3)
    pictures = pictures_in(drawn[0])
    assert len(pictures) == 1 + 2 + 1 + 3
    assert np.array_equal(pictures[2], maps["first"][..., 1])
    with pytest.raises(ValueError, match="maps"):
        viz.save_maps(digits(1)[0][0], {"flat": np.ones(3)}, tmp_path / "m.png")


def histories(count, length):
    found = []
    for seed in range(count):
        history = fn.History()
        history.updates["loss"] = (np.random.default_rng(seed).random(length) + 0.1).tolist()
        for value in history.updates["loss"][: 5 + seed]:
            history.add_epoch({"loss": value})
        found.append(history)
    return found


def test_bands_show_mean_and_standard_deviation(drawn, tmp_path):
    three = histories(3, 50)
    viz.save_bands({"three": three, "one": three[:1]}, tmp_path / "b.png", name="loss")
    axes = drawn[0].axes[0]
    mean, single = (line.get_ydata() for line in axes.lines)
    expected = [np.mean([h["loss"][e] for h in three if e < h.epochs]) for e in range(7)]
    np.testing.assert_allclose(mean, expected)
    np.testing.assert_allclose(single, three[0]["loss"])
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["three (3 runs)", "one"]
    assert len(axes.collections) == 1  # a single run has no standard deviation
    assert axes.get_xlabel() == "epoch"


def test_long_curves_are_averaged_over_blocks(drawn, tmp_path):
    runs = histories(2, 1000)
    viz.save_bands({"runs": runs}, tmp_path / "b.png", name="updates.loss", log=True)
    axes = drawn[0].axes[0]
    x, y = axes.lines[0].get_data()
    assert len(x) == 200
    assert x[0] == 3  # the middle of updates 1 to 5
    assert y[0] == pytest.approx(np.mean([h.updates["loss"][:5] for h in runs]))
    assert axes.get_yscale() == "log"
    for groups, name, message in (
        ({}, "loss", "no histories"),
        ({"a": []}, "loss", "no history"),
        ({"a": runs}, "val_loss", "has no 'val_loss'"),
    ):
        with pytest.raises(ValueError, match=message):
            viz.save_bands(groups, tmp_path / "b.png", name=name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of the convolutional network on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "cnn"
    options = f"--model cnn --epochs 1 --rotate 10 --out {folder}"
    assert main(["train", "digits", *options.split()]) == 0
    return folder


@pytest.mark.parametrize(
    "kind", ["confusion", "mistakes", "filters", "maps", "classes", "augmented", "saliency"]
)
def test_picture_draws_each_kind(run, kind, tmp_path, capsys):
    assert main(["picture", kind, str(run)]) == 0
    assert imread(run / f"{kind}.png").size > 10_000
    out = tmp_path / "here.svg"
    assert main(["picture", kind, str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"written to {out}\n")
    assert "<svg" in out.read_text()


def test_picture_reports_why_it_cannot_draw(run, tmp_path, capsys):
    assert main(["picture", "landscape", str(run)]) == 1
    assert "unknown picture 'landscape': choose one of augmented, classes" in capsys.readouterr().err
    assert main(["picture", "maps", str(tmp_path)]) == 1
    assert "has no finished run" in capsys.readouterr().err
    plain = tmp_path / "plain"
    assert main(["train", "digits", "--epochs", "1", "--out", str(plain)]) == 0
    for kind, message in (("maps", "no convolutions"), ("augmented", "this run has no augmentation")):
        assert main(["picture", kind, str(plain)]) == 1
        assert message in capsys.readouterr().err
    assert main(["picture", "filters", str(plain)]) == 0
    assert os.listdir(plain).count("filters.png") == 1


def test_curves_groups_runs_by_their_settings(drawn, tmp_path, capsys):
    """Runs that differ only in the seed form a band; another learning rate or momentum has its own line."""
    folders = []
    for seed, lr, momentum in ((0, 0.1, 0.9), (1, 0.1, 0.9), (0, 0.02, 0.9), (0, 0.02, 0.5)):
        folders.append(str(tmp_path / f"{seed}-{lr}-{momentum}"))
        optimizer = f"--optimizer.lr {lr} --optimizer.momentum {momentum}"
        options = f"--epochs 2 --seed {seed} {optimizer} --out {folders[-1]}"
        assert main(["train", "digits", *options.split()]) == 0
    drawn.clear()
    out = tmp_path / "curves.png"
    assert main(["curves", *folders, "--out", str(out), "--name", "loss", "--log"]) == 0
    assert capsys.readouterr().out.endswith(f"written to {out}\n")
    axes = drawn[0].axes[0]
    words = [text.get_text() for text in drawn[0].legends[0].texts]
    assert words == [
        "optimizer.lr 0.1, optimizer.momentum 0.9 (2 runs)",
        "optimizer.lr 0.02, optimizer.momentum 0.9",
        "optimizer.lr 0.02, optimizer.momentum 0.5",
    ]
    assert len(axes.lines[0].get_xdata()) == 2
    assert main(["curves", folders[0], "--out", str(out), "--name", "val_loss"]) == 1
    assert "has no 'val_loss'" in capsys.readouterr().err
    assert main(["curves", str(tmp_path), "--out", str(out)]) == 1
    assert "has no finished run" in capsys.readouterr().err
