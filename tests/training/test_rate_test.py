"""The learning-rate range test."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fn
from fastnn import rng


@pytest.fixture
def digits():
    return fn.data.digits()[0]


def test_the_suggested_rate_trains_well_and_ten_times_less_or_more_does_not(digits):
    """The rule of the suggestion, on a net whose good rates are known: 0.1 to 0.2."""
    found = fn.find_lr(fn.nets.mlp([64, 32, 10]), digits, optimizer=fn.SGD(momentum=0.9))
    assert 0.05 < found.suggestion < 0.3
    accuracies = []
    for factor in (0.1, 1, 10):
        fn.manual_seed(0)
        optimizer = fn.SGD(factor * found.suggestion, momentum=0.9)
        model = fn.nets.mlp([64, 32, 10])
        history = fn.fit(model, digits, optimizer=optimizer, epochs=2, seed=0, progress=False, watch=False)
        accuracies.append(history["accuracy"][-1])
    assert accuracies[1] > max(accuracies[0], accuracies[2]) + 0.1


def test_nothing_changes(digits, unchanged):
    model = fn.Sequential(
        fn.Flatten(), fn.Linear(64, 8), fn.BatchNorm1d(8), fn.ReLU(), fn.Dropout(0.2), fn.Linear(8, 10)
    )
    optimizer = fn.Adam(0.01)
    fn.fit(model, digits, optimizer=optimizer, epochs=1, seed=0, progress=False)
    before = pickle.dumps(model), pickle.dumps(optimizer)
    drawn = copy.deepcopy(rng.default_generator()).random()
    with unchanged(model, optimizer):
        fn.find_lr(model, digits, optimizer=optimizer, updates=30)
    assert (pickle.dumps(model), pickle.dumps(optimizer)) == before
    assert rng.default_generator().random() == drawn


def test_rates_rise_from_low_to_high_and_losses_are_those_of_a_training(digits):
    model = fn.nets.mlp([64, 16, 10])
    found = fn.find_lr(model, digits, low=1e-4, high=1e-2, updates=50, optimizer=fn.SGD(), seed=3)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-2, 50))
    assert found.stopped is None
    # The first losses, at rates that change nothing yet, are those of fit.
    twin = fn.fit(model, digits, optimizer=fn.SGD(1e-4), seed=3, progress=False)
    np.testing.assert_allclose(found.losses[:2], twin.updates["loss"][:2], rtol=1e-4)


def test_test_ends_when_the_loss_explodes(digits):
    found = fn.find_lr(fn.nets.mlp([64, 16, 10]), digits, optimizer=fn.SGD(), high=1e6)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 200
    assert found.rates[-1] < 1e5
    assert "stopped at lr=" in str(found)
    assert "the loss has risen far above its lowest value" in found.stopped


def test_loss_that_is_not_finite_ends_the_test(blobs):
    model = fn.Sequential(fn.Linear(6, 3))
    data = blobs[0], np.eye(3)[blobs[1]]
    found = fn.find_lr(model, data, optimizer=fn.SGD(), high=1e38, loss="squared_error", updates=20)
    assert np.isfinite(found.losses).all()
    assert found.stopped


def test_a_loss_that_does_not_fall_gets_no_suggestion(blobs):
    found = fn.find_lr(fn.nets.mlp([6, 3]), blobs, optimizer=fn.SGD(), low=1e-12, high=1e-9)
    assert found.suggestion is None
    assert str(found) == "the loss does not fall between lr=1e-12 and lr=1e-09 (200 updates)"


def test_data_and_options_are_those_of_fit(digits):
    x, y = digits
    names = np.array([f"digit {label}" for label in y])
    model = fn.nets.mlp([64, 16, 10])
    augment = fn.augment.Shift(1)
    options = {
        "clip_norm": 1.0,
        "augment": augment,
        "batch_size": 16,
        "loss": fn.CrossEntropy(label_smoothing=0.1),
    }
    found = fn.find_lr(model, (x, names, np.ones(len(x))), updates=20, **options)
    assert len(found.losses) == 20
    assert model.classes is None


def test_picture(digits, tmp_path):
    pytest.importorskip("matplotlib")
    found = fn.find_lr(fn.nets.mlp([64, 16, 10]), digits, optimizer=fn.SGD(), updates=40)
    assert found.plot(tmp_path / "a.png") == tmp_path / "a.png"
    axes = found.plot().axes[0]
    assert axes.get_xscale() == "log"
    assert [line.get_label() for line in axes.lines][-1] == f"suggestion {found.suggestion:.2g}"
    assert axes.lines[-1].get_xdata()[0] == found.suggestion


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"low": 0}, ValueError, "low and high must be rates with 0 < low < high, not 0 and 10"),
        ({"low": 2, "high": 1}, ValueError, "not 2 and 1"),
        ({"high": float("inf")}, ValueError, "high must be a finite number"),
        ({"updates": 5}, ValueError, "updates must be at least 20, not 5"),
        ({"schedule": fn.schedules.Cosine()}, ValueError, "leave out schedule"),
        ({"optimizer": "sdg"}, ValueError, "unknown optimizer 'sdg'"),
        ({"epochs": 3}, TypeError, "epochs"),
        ({"batchsize": 3}, TypeError, "batch_size"),
    ],
)
def test_invalid_arguments_are_rejected(blobs, options, error, words):
    with pytest.raises(error, match=words):
        fn.find_lr(fn.nets.mlp([6, 3]), blobs, **options)


def test_a_model_must_be_a_layer(blobs):
    with pytest.raises(TypeError, match="layer"):
        fn.find_lr("mlp", blobs)


def test_an_iterator_of_batches_is_refused():
    x, y = np.zeros((8, 4), np.float32), np.arange(8) % 2
    with pytest.raises(ValueError, match="pass a function that returns a new iterator, not generator"):
        fn.find_lr(fn.Linear(4, 2), ((x, y) for _ in range(3)))
