"""`fn.inspect`: activations and gradients of every layer."""

import numpy as np
import pytest

import fastnn as fn

RNG = np.random.default_rng(0)


@pytest.fixture
def net():
    fn.manual_seed(0)
    branch = fn.Sequential(fn.Linear(5, 5), fn.Tanh())
    layers = fn.Linear(6, 5), fn.Residual(branch), fn.Dropout(0.5), fn.Sequential(fn.Linear(5, 3))
    return fn.Sequential(*layers).to(np.float64)


NAMES = ["input", "0", "1", "1.branch", "1.branch.0", "1.branch.1", "1.shortcut", "2", "3", "3.0", "output"]


def test_activations_are_those_of_the_layers(net, blobs):
    x = blobs[0].astype(np.float64)
    found = fn.inspect(net, x)
    assert list(found) == NAMES
    np.testing.assert_array_equal(found["input"].output, x)
    np.testing.assert_array_equal(found["0"].output, fn.features(net, x, upto=0))
    np.testing.assert_array_equal(found["1"].output, fn.features(net, x, upto=1))
    np.testing.assert_array_equal(found["output"].output, net.predict(x))
    np.testing.assert_array_equal(found["3.0"].output, net.predict(x))
    assert repr(found["3.0"]) == "<Linear: output (64, 3), dweight (5, 3), dbias (3,)>"


def test_gradients_are_those_of_the_loss(net, blobs, unchanged):
    x, y = blobs[0].astype(np.float64), blobs[1]
    with unchanged(net):
        found = fn.inspect(net, x, y)
    assert all(param.grad is None for param in net.parameters())
    fn.gradients(net.__class__(net[0], net[1], net[3]), (x, y))  # without dropout
    for name in ("0", "1.branch.0", "3.0"):
        for key, gradient in found[name].parameters.items():
            index = name.replace("3.0", "2.0")
            params = dict(fn.Sequential(net[0], net[1], net[3]).named_parameters())
            np.testing.assert_allclose(gradient, params[f"{index}.{key}"].grad, atol=1e-12)


def test_gradients_of_activations_are_finite_differences(net, blobs, finite_differences):
    x, y = blobs[0][:4].astype(np.float64), blobs[1][:4]
    hidden = fn.features(net, x, upto=0)
    rest = fn.Sequential(*net.layers[1:])

    def value():
        return fn.evaluate(rest, (hidden, y), loss="cross_entropy")["loss"]

    expected = finite_differences(value, hidden)
    np.testing.assert_allclose(fn.inspect(net, x, y)["0"].gradient, expected, atol=1e-8)


def test_without_targets_gradients_are_those_of_the_largest_outputs(net, blobs):
    x = blobs[0].astype(np.float64)
    found = fn.inspect(net, x)
    np.testing.assert_allclose(found["input"].gradient, fn.saliency(net, x), atol=1e-14)
    np.testing.assert_array_equal(found["output"].gradient, np.eye(3)[net.predict(x).argmax(axis=1)])


def test_training_mode_drops_units(net, blobs):
    assert (fn.inspect(net, blobs[0], train=True)["2"].output == 0).any()
    assert not (fn.inspect(net, blobs[0])["2"].output == 0).any()


def test_layers_of_users_and_images_of_bytes():
    class Twice(fn.Layer):
        def forward(self, x, *, train=False):
            return 2 * x, lambda dy, need_dx=True: 2 * dy

    model = fn.Sequential(fn.Flatten(), Twice(), fn.Linear(4, 2))
    x = RNG.integers(0, 256, (3, 2, 2)).astype(np.uint8)
    found = fn.inspect(model, x, np.array([0, 1, 1]))
    np.testing.assert_allclose(found["1"].output, x.reshape(3, 4) * (2 / 255), rtol=1e-6)
    np.testing.assert_allclose(found["0"].gradient, 2 * found["1"].gradient)
    assert type(found["1"].layer) is Twice
    assert list(fn.inspect(fn.Linear(4, 2), x.reshape(3, 4))) == ["input", "output"]


def test_other_losses_and_labels(blobs):
    model = fn.Sequential(fn.Linear(6, 3))
    x, y = blobs
    target = np.eye(3, dtype=np.float32)[y]
    found = fn.inspect(model, x, target, loss="squared_error")
    np.testing.assert_allclose(found["output"].gradient, (model.predict(x) - target) / target.size, atol=1e-6)
    expected = fn.inspect(model, x, y)["output"].gradient
    model.classes = ["a", "b", "c"]
    labels = np.array(["a", "b", "c"])[y]
    np.testing.assert_array_equal(fn.inspect(model, x, labels)["output"].gradient, expected)


@pytest.mark.parametrize(
    ("model", "x", "y", "error", "words"),
    [
        ("net", np.zeros((2, 6)), None, TypeError, "layer"),
        (fn.Linear(6, 3), np.zeros((2, 5)), None, ValueError, "expects samples of shape"),
        (fn.Linear(6, 3), np.zeros((2, 6)), [0], ValueError, "x has 2 samples, but y has 1"),
        (fn.Linear(6, 3), np.zeros((2, 6)), [0, 3], ValueError, "labels must lie in 0..2"),
    ],
)
def test_invalid_arguments_are_rejected(model, x, y, error, words):
    with pytest.raises(error, match=words):
        fn.inspect(model, x, y)
