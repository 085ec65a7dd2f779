"""Feature extraction from a frozen network, and classifiers trained on the features."""

import numpy as np
import pytest

import fastnn as fn


@pytest.fixture
def model():
    fn.manual_seed(0)
    return fn.Sequential(
        fn.Conv2d(1, 4, 3), fn.BatchNorm2d(4), fn.ReLU(), fn.Flatten(), fn.Dropout(0.5), fn.Linear(144, 3)
    )


def images(count=50):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 8, 8)).astype(np.uint8), rng.integers(0, 3, count)


def test_features_are_the_outputs_of_a_layer(model):
    x, _ = images()
    y = x[..., None] / np.float32(255)
    for index, layer in enumerate(model):
        y = layer.forward(y.astype(np.float32))[0]
        for upto in (index, layer, index - len(model)):
            np.testing.assert_allclose(fn.features(model, x, upto=upto, batch_size=20), y, 1e-5, 1e-6)


def test_features_change_no_state(model):
    x, _ = images()
    before = [held.value for held in (*model.parameters(), *model.buffers())]
    names = [p.name for p in model.parameters()]
    fn.features(model, x, upto=3)
    after = [held.value for held in (*model.parameters(), *model.buffers())]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert [p.name for p in model.parameters()] == names


def test_classifier_on_features_equals_training_with_frozen_layers(model):
    """Both ways of transfer learning make the same updates (without dropout and batch statistics)."""
    x, y = images()
    fn.manual_seed(1)
    front = fn.Sequential(fn.Conv2d(1, 4, 3), fn.ReLU(), fn.Flatten())
    whole = fn.Sequential(*front.layers, head := fn.Linear(144, 3))
    classifier = fn.Linear(144, 3)
    classifier.weight.value, classifier.bias.value = head.weight.value, head.bias.value
    front.set_lr_scale(0)
    options = {"optimizer": fn.SGD(0.1), "batch_size": 10, "epochs": 2, "seed": 0, "progress": False}
    fn.fit(whole, (x, y), **options)
    z = fn.features(whole, x, upto=2)
    fn.fit(classifier, (z, y), **options)
    np.testing.assert_allclose(classifier.weight.value, head.weight.value, 1e-4, 1e-6)


def test_invalid_arguments_are_rejected(model):
    x, _ = images(2)
    for upto in (6, -7, 1.0, True, "3"):
        with pytest.raises(ValueError, match="index from 0 to 5"):
            fn.features(model, x, upto=upto)
    with pytest.raises(ValueError, match="not one of the 6 layers"):
        fn.features(model, x, upto=fn.ReLU())
    with pytest.raises(TypeError, match=r"fn.Sequential, not Linear"):
        fn.features(fn.Linear(2, 3), x, upto=0)
