"""Saliency, occlusion, and the units that speak for a class."""

import numpy as np
import pytest

import fastnn as fn

RNG = np.random.default_rng(0)


@pytest.fixture
def cnn():
    """A small CNN in float64 with random running statistics, for images (6, 6, 2) of 3 classes."""
    model = fn.Sequential(
        fn.Conv2d(2, 4, 3, padding=1),
        fn.BatchNorm2d(4),
        fn.Tanh(),
        fn.Dropout(0.5),
        fn.Flatten(),
        fn.Linear(144, 3),
    ).to(np.float64)
    model[1].running_var.value = RNG.random(4) + 0.5
    return model


@pytest.mark.parametrize("classes", [None, 1, [2, 0, 1, 1]])
def test_saliency_is_the_gradient_of_the_output(cnn, classes, finite_differences, unchanged):
    x = RNG.normal(size=(4, 6, 6, 2))
    chosen = cnn.predict(x).argmax(axis=1) if classes is None else np.broadcast_to(classes, 4)
    with unchanged(cnn):
        found = fn.saliency(cnn, x, classes=classes, batch_size=3)
    expected = finite_differences(lambda: cnn.predict(x)[np.arange(4), chosen].sum(), x)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert all(param.grad is None for param in cnn.parameters())
    assert not any(param.frozen for param in cnn.parameters())


def test_saliency_takes_bytes_as_the_network_gets_them(cnn):
    x = RNG.integers(0, 256, (2, 6, 6, 2)).astype(np.uint8)
    np.testing.assert_allclose(fn.saliency(cnn, x), fn.saliency(cnn, x / 255), rtol=1e-10)


def test_classes_may_be_the_labels_of_the_model(cnn):
    x = RNG.normal(size=(2, 6, 6, 2))
    expected = fn.saliency(cnn, x, classes=[2, 0])
    cnn.classes = ["ant", "bee", "cat"]
    np.testing.assert_array_equal(fn.saliency(cnn, x, classes=["cat", "ant"]), expected)
    with pytest.raises(ValueError, match="no classes of the model"):
        fn.saliency(cnn, x, classes="dog")


def test_occlusion_is_the_mean_drop_of_the_windows_that_cover_a_pixel(cnn):
    x = RNG.normal(size=(2, 6, 6, 2))
    found = fn.occlusion(cnn, x, window=3, stride=2, fill=0.5, classes=1)
    total, count = np.zeros((2, 6, 6)), np.zeros((6, 6))
    for top in (0, 2, 3):
        for left in (0, 2, 3):
            covered = x.copy()
            covered[:, top : top + 3, left : left + 3] = 0.5
            drop = (cnn.predict_proba(x) - cnn.predict_proba(covered))[:, 1]
            total[:, top : top + 3, left : left + 3] += drop[:, None, None]
            count[top : top + 3, left : left + 3] += 1
    np.testing.assert_allclose(found, total / count, atol=1e-12)


def test_occlusion_finds_the_pixels_that_decide():
    """A network whose class 1 is the sum of the upper left corner."""
    model = fn.Sequential(fn.Flatten(), fn.Linear(64, 2))
    weight = np.zeros((8, 8, 2))
    weight[:2, :2, 1] = 1
    model[1].weight, model[1].bias = weight.reshape(64, 2), np.zeros(2)
    found = fn.occlusion(model, np.ones((1, 8, 8)), classes=1)
    assert found[0, 0, 0] == found.max() > 0.1
    assert abs(found[0, 4:, 4:]).max() == 0


def test_top_units_have_the_largest_weights():
    model = fn.Sequential(fn.Linear(4, 5), fn.ReLU(), fn.Sequential(fn.Linear(5, 3), fn.Softmax()))
    model[2][0].weight = np.array([[0, 1, 0], [0, -9, 0], [0, 3, 0], [0, 2, 0], [7, 0, 7]])
    assert fn.top_units(model, 1, 3) == [(2, 3.0), (3, 2.0), (0, 1.0)]
    assert len(fn.top_units(model, 1)) == 5
    model.classes = ["ant", "bee", "cat"]
    assert fn.top_units(model, "cat", 1)[0].number == 4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m, x: fn.saliency("m", x), TypeError, "saliency takes layers"),
        (lambda m, x: fn.saliency(m, x, classes=3), ValueError, "classes must be integers from 0 to 2"),
        (lambda m, x: fn.saliency(m, x, classes=[0]), ValueError, r"or have shape \(2,\), not \(1,\)"),
        (lambda m, x: fn.saliency(m, x, classes=0.5), ValueError, "classes must be integers"),
        (lambda m, x: fn.saliency(m, x[:, 1:]), ValueError, "expects samples of shape"),
        (lambda m, x: fn.saliency(m, x, batch_size=0), ValueError, "batch_size"),
        (lambda m, x: fn.saliency(fn.Conv2d(2, 1, 3), x), ValueError, r"must have shape \(N, classes\)"),
        (lambda m, x: fn.occlusion(m, x[:, 0, 0]), ValueError, r"images \(N, H, W\) or"),
        (
            lambda m, x: fn.occlusion(m, x, window=7),
            ValueError,
            "window must be at most .* 6, not 7",
        ),
        (lambda m, x: fn.occlusion(m, x, window=2, stride=3), ValueError, "or pixels are left out"),
        (lambda m, x: fn.top_units(m, 3), ValueError, "classes must be integers from 0 to 2"),
        (lambda m, x: fn.top_units(m, 0, 0), ValueError, "k must be an integer of at least 1"),
        (lambda m, x: fn.top_units(fn.ReLU(), 0), ValueError, "the last layer with weights must be a Linear"),
        (lambda m, x: fn.top_units(fn.Sequential(m, fn.BatchNorm1d(3)), 0), ValueError, "must be a Linear"),
    ],
)
def test_invalid_arguments_are_rejected(cnn, call, error, words):
    with pytest.raises(error, match=words):
        call(cnn, RNG.normal(size=(2, 6, 6, 2)))
