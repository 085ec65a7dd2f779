"""`fit(validation=0.1)` sets samples aside; `fit(drop_last=True)` leaves out the last batch."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastnn as fn
from fastnn.losses import reducing_loss
from fastnn.training.held_out import split
from fastnn.training.samples import check_data

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4)).astype(np.float32)
Y = np.repeat([0, 1, 2], [60, 30, 10])


def new_model(outputs=3):
    fn.manual_seed(0)
    return fn.Linear(4, outputs)


def parts(y, fraction, seed=0, loss="cross_entropy", outputs=3, x=X):
    numbered = np.array(x, np.float32)
    numbered[:, 0] = np.arange(len(x))
    model = new_model(outputs)
    samples = check_data(model, reducing_loss(loss), (numbered, y), None)
    train, held_out = split(samples, fraction, seed)
    return train.x[:, 0].astype(int), held_out.x[:, 0].astype(int)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, np.float32(0.25), 0.37])
@pytest.mark.parametrize("targets", ["labels", "one-hot"])
def test_the_fraction_is_stratified(fraction, targets):
    y = Y if targets == "labels" else fn.data.one_hot(Y, 3)
    train, held_out = parts(y, fraction)
    assert len(held_out) == round(float(fraction) * 100)
    assert sorted([*train, *held_out]) == list(range(100))
    assert all(np.diff(train) > 0)
    assert all(np.diff(held_out) > 0)
    np.testing.assert_allclose(np.bincount(Y[held_out], minlength=3), np.bincount(Y) * fraction, atol=1)


def test_binary_targets_are_stratified():
    y = np.repeat([0.0, 1.0], [90, 10])[:, None]
    _, held_out = parts(y, 0.2, loss="binary_cross_entropy", outputs=1)
    assert y[held_out].sum() == 2


def test_targets_that_are_no_classes_are_split_at_random():
    y = RNG.normal(size=(100, 3))
    train, held_out = parts(y, 0.3, loss="squared_error")
    assert len(held_out) == 30
    assert sorted([*train, *held_out]) == list(range(100))


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.99])
def test_the_training_set_keeps_a_sample_of_each_class(fraction):
    y = np.array([0] * 50 + [1] * 2 + [2] + [0] * 47)
    for seed in range(20):
        train, held_out = parts(y, fraction, seed)
        assert set(y[train]) == {0, 1, 2}
        assert len(held_out) >= 1


def test_the_split_depends_on_the_seed_alone():
    first, again, other, unseeded = (parts(Y, 0.2, seed)[1].tolist() for seed in (0, 0, 1, None))
    assert first == again == unseeded != other


@pytest.mark.parametrize("plan", [True, False])
def test_fit_with_a_fraction_is_fit_with_the_parts(plan):
    train, held_out = parts(Y, 0.2, 3)
    weight = np.linspace(0.5, 1.5, 100)
    results = []
    for data, validation in (
        ((X, Y, weight), 0.2),
        ((X[train], Y[train], weight[train]), (X[held_out], Y[held_out], weight[held_out])),
    ):
        model = new_model()
        history = fn.fit(model, data, validation=validation, epochs=2, seed=3, plan=plan, metrics="f1")
        results.append((history.updates["loss"], history["val_loss"], history["val_f1"]))
    assert results[0] == results[1]


@pytest.mark.parametrize("form", ["sparse", "mapped"])
def test_features_that_are_not_in_memory_stay_where_they_are(form, tmp_path):
    np.save(tmp_path / "x.npy", X.astype(">f8"))
    x = sp.csr_array(X) if form == "sparse" else np.load(tmp_path / "x.npy", mmap_mode="r")
    losses = []
    for data in (X, x):
        history = fn.fit(new_model(), (data, Y), validation=0.2, epochs=2, seed=0, watch=False)
        losses.append((history.updates["loss"], history["val_loss"]))
    assert losses[0] == losses[1]


def test_targets_in_a_file_of_any_byte_order(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(">f8"))
    y = np.load(tmp_path / "x.npy", mmap_mode="r")
    losses = [
        fn.fit(new_model(4), (X, each), validation=0.2, loss="squared_error", seed=0).updates["loss"]
        for each in (X, y)
    ]
    assert losses[0] == losses[1]


def test_a_training_with_a_fraction_resumes(tmp_path):
    path = tmp_path / "run"
    whole = fn.fit(new_model(), (X, Y), validation=0.2, epochs=4, seed=0)
    fn.fit(new_model(), (X, Y), validation=0.2, epochs=2, seed=0, checkpoint=path)
    resumed = fn.fit(new_model(), (X, Y), validation=0.2, epochs=4, seed=0, checkpoint=path)
    assert resumed["val_loss"] == whole["val_loss"]


def test_nan_is_named_by_its_row_in_the_data():
    x = X.copy()
    x[50, 2] = np.nan
    with pytest.raises(fn.NonFiniteError, match="1 value of x is NaN or inf, nan in row 50, column 2"):
        fn.fit(new_model(), (x, Y), validation=0.3)


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, 5, np.nan, np.inf, True])
def test_invalid_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match=r"validation must be \(x, y\), or a fraction of the data above 0"):
        fn.fit(new_model(), (X, Y), validation=fraction)


def test_too_few_samples_for_a_split_are_refused():
    with pytest.raises(ValueError, match="there are 3 samples, and training needs 3, one of each class"):
        fn.fit(new_model(), (X[:3], np.arange(3)), validation=0.5)


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, RNG.random(100)], ids=["plain", "weighted"])
def test_drop_last_leaves_out_a_smaller_last_batch(plan, reduction, weight):
    options = {"loss": fn.CrossEntropy(reduction=reduction), "batch_size": 32, "seed": 0, "plan": plan}
    model = new_model()
    history = fn.fit(model, (X, Y, weight), drop_last=True, order="fixed", watch=False, **options)
    expected, few = new_model(), None if weight is None else weight[:96]
    same = fn.fit(expected, (X[:96], Y[:96], few), order="fixed", watch=False, **options)
    assert history.updates["loss"] == same.updates["loss"]
    assert history["loss"] == same["loss"]
    assert history["accuracy"] == same["accuracy"]
    np.testing.assert_array_equal(model.weight.value, expected.weight.value)


def test_drop_last_changes_nothing_where_batches_fit():
    for drop_last in (False, True):
        assert len(fn.fit(new_model(), (X, Y), batch_size=25, drop_last=drop_last).updates["loss"]) == 4


def test_drop_last_belongs_to_the_description_of_a_checkpoint(tmp_path):
    path = tmp_path / "run"
    fn.fit(new_model(), (X, Y), seed=0, checkpoint=path)
    with pytest.raises(fn.CheckpointError, match="drop_last was False, is True"):
        fn.fit(new_model(), (X, Y), seed=0, checkpoint=path, drop_last=True)


def test_drop_last_that_leaves_nothing_and_other_values_are_refused():
    with pytest.raises(ValueError, match="leaves out the only mini-batch, of 100 samples: pass batch"):
        fn.fit(new_model(), (X, Y), batch_size=128, drop_last=True)
    with pytest.raises(TypeError, match="drop_last must be True or False, not 1"):
        fn.fit(new_model(), (X, Y), drop_last=1)
