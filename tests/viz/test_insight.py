"""Pictures of what models look at."""

import numpy as np
import pytest

import fastnn as fn

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mlp():
    (x, y), _ = fn.data.digits()
    fn.manual_seed(0)
    model = fn.nets.mlp([64, 12, 10])
    fn.fit(model, (x, y), epochs=2, seed=0, progress=False)
    return model


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_saliency_draws_image_gradient_and_drop(mlp, tmp_path):
    x = fn.data.digits()[1][0][:3]
    assert is_png(fn.viz.saliency(mlp, x, tmp_path / "a.png"))
    figure = fn.viz.saliency(mlp, x, classes=[1, 2, 3], names=[f"n{label}" for label in range(10)])
    grid = np.array(figure.axes[:9]).reshape(3, 3)
    assert [axes.get_title() for axes in grid[0]] == ["image", "gradient", "drop if covered"]
    assert [row[0].get_ylabel().split("\n")[0] for row in grid] == ["n1", "n2", "n3"]
    for row, (image, gradient, drop) in enumerate(grid):
        np.testing.assert_array_equal(image.images[0].get_array(), x[row])
        expected = np.abs(fn.saliency(mlp, x, classes=[1, 2, 3]))[row]
        np.testing.assert_array_equal(gradient.images[0].get_array(), expected)
        expected = fn.occlusion(mlp, x, classes=[1, 2, 3])[row]
        np.testing.assert_array_equal(drop.images[0].get_array(), expected)


def test_saliency_of_colour_images_takes_the_largest_channel():
    model = fn.Sequential(fn.Conv2d(3, 2, 3), fn.GlobalAvgPool2d(), fn.Linear(2, 2))
    x = RNG.random((1, 6, 6, 3))
    shown = fn.viz.saliency(model, x).axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, np.abs(fn.saliency(model, x)).max(axis=3)[0])


def test_top_units_draw_the_weights_into_each_unit(mlp, tmp_path):
    assert is_png(fn.viz.top_units(mlp, 3, tmp_path / "a.png", k=4))
    figure = fn.viz.top_units(mlp, 3, k=2)
    first = fn.top_units(mlp, 3, 2)[0]
    mosaic = figure.axes[0].images[0].get_array()
    weights = mlp[1].weight.value[:, first.number].reshape(8, 8)
    rows = np.flatnonzero(np.isfinite(mosaic.filled(np.nan)).any(axis=1))
    np.testing.assert_allclose(mosaic[rows[0] : rows[0] + 8, :8], weights)
    assert figure.axes[0].texts[0].get_text() == f"{first.number}: {first.weight:+.2g}"


def test_top_units_of_deep_networks_multiply_the_weights(mlp):
    deep = fn.Sequential(fn.Linear(6, 4), fn.Tanh(), fn.Linear(4, 5), fn.Tanh(), fn.Linear(5, 2))
    figure = fn.viz.top_units(deep, 0, k=1, image_shape=(2, 3))
    number = fn.top_units(deep, 0, 1)[0].number
    mosaic = figure.axes[0].images[0].get_array()
    expected = (deep[0].weight.value @ deep[2].weight.value)[:, number].reshape(2, 3)
    np.testing.assert_allclose(mosaic[-2:, :3], expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_embedding_draws_a_point_per_sample(method, tmp_path):
    pytest.importorskip("sklearn")
    z, y = RNG.normal(size=(30, 4, 2)), np.arange(30) % 3
    z[y == 1] += 5
    assert is_png(fn.viz.embedding(z, y, tmp_path / "a.png", method=method))
    axes = fn.viz.embedding(z, y, method=method).axes[0]
    assert [len(part.get_offsets()) for part in axes.collections] == [10, 10, 10]
    assert "of 8 features" in axes.get_title(loc="left")
    centres = [np.mean(part.get_offsets(), axis=0) for part in axes.collections]
    assert np.linalg.norm(centres[1] - centres[0]) > np.linalg.norm(centres[2] - centres[0])
    assert len(fn.viz.embedding(z[:2, :1, 0], method=method).axes[0].collections) == 1


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda m: fn.viz.saliency(m, np.zeros((0, 8, 8))), "draws 1 to 12 images, not 0"),
        (lambda m: fn.viz.saliency(m, np.zeros((13, 8, 8))), "draws 1 to 12 images, not 13"),
        (lambda m: fn.viz.saliency(m, np.zeros((2, 64))), r"images must have shape \(N, H, W\)"),
        (lambda m: fn.viz.top_units(fn.Linear(4, 2), 0), "at least two Linear layers"),
        (lambda m: fn.viz.top_units(fn.nets.mnist_cnn(), 0), "at least two Linear layers"),
        (lambda m: fn.viz.top_units(m, 0, image_shape=(3, 4)), "does not fit the 64 weights"),
        (lambda m: fn.viz.embedding(np.zeros((5, 2)), method="umap"), "unknown method 'umap': choose one of"),
        (lambda m: fn.viz.embedding(np.zeros((5, 2)), [1, 2]), r"not \(5, 2\) and \(2,\)"),
        (lambda m: fn.viz.embedding(np.zeros((1, 2))), "at least 2 samples"),
    ],
)
def test_invalid_arguments_are_rejected(mlp, draw, words):
    with pytest.raises(ValueError, match=words):
        draw(mlp)
