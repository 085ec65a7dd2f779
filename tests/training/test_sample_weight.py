"""Sample weights: in losses, steps, plans, `fit`, `evaluate` and gradients; and the reduction batch_mean."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.losses import LOSSES

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)
WEIGHT = RNG.integers(0, 4, 40).astype(float)


def targets(loss):
    """Targets for outputs (40, 3) that fit the loss."""
    if loss.binary:
        return RNG.integers(0, 2, (40, 3)).astype(np.float32)
    if isinstance(loss, (fn.CrossEntropy, fn.Focal, fn.Hinge)):
        return LABELS
    return RNG.random((40, 3)).astype(np.float32)


def net(dtype=np.float64, seed=0):
    fn.manual_seed(seed)
    return fn.Sequential(fn.Linear(6, 8), fn.Tanh(), fn.Linear(8, 3)).to(dtype)


def repeated(*arrays):
    """Each sample as often as its weight says."""
    index = np.repeat(np.arange(40), WEIGHT.astype(int))
    return tuple(array[index] for array in arrays)


def grads(model):
    return [param.grad for param in model.parameters()]


@pytest.mark.parametrize("reduction", ["mean", "sum", "batch_mean"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_counts_like_repeated_samples(name, reduction):
    loss = LOSSES[name](reduction=reduction)
    y = targets(loss)
    weighted, several = net(), net()
    value = fn.gradients(weighted, (X, y, WEIGHT), loss=loss)
    expected = fn.gradients(several, repeated(X, y), loss=loss)
    assert value == pytest.approx(expected, rel=1e-12)
    for one, other in zip(grads(weighted), grads(several), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_weights_and_class_weights_multiply():
    loss = fn.CrossEntropy(weight=[1, 2, 0.5])
    weighted, several = net(), net()
    value = fn.gradients(weighted, (X, LABELS, WEIGHT), loss=loss)
    assert value == pytest.approx(fn.gradients(several, repeated(X, LABELS), loss=loss), rel=1e-12)
    result = fn.evaluate(weighted, (X, LABELS, WEIGHT), loss=loss)
    assert result["loss"] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences(name):
    loss = LOSSES[name]()
    y = targets(loss)
    model = net()
    fn.gradients(model, (X, y, WEIGHT), loss=loss)
    param = model.parameters()[0]
    value, step = param.value, 1e-6
    for index in ((0, 0), (3, 5)):
        numeric = 0.0
        for sign in (1, -1):
            moved = value.copy()
            moved[index] += sign * step
            param.value = moved
            numeric += sign * fn.evaluate(model, (X, y, WEIGHT), loss=loss)["loss"] / (2 * step)
        param.value = value
        assert param.grad[index] == pytest.approx(numeric, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_batch_mean_divides_by_the_number_of_samples(name):
    total, mean = LOSSES[name](reduction="sum"), LOSSES[name](reduction="batch_mean")
    y = targets(total)
    outputs = net().predict(X)
    assert mean(outputs, y) == pytest.approx(total(outputs, y) / 40)


@pytest.mark.parametrize(
    "loss",
    [
        *(fn.CrossEntropy(), fn.CrossEntropy(weight=[1, 2, 3]), fn.SquaredError()),
        *(fn.Huber(), fn.Poisson(), fn.Hinge(weight=[1, 2, 3]), fn.BinaryHinge()),
    ],
    ids=repr,
)
def test_plans_and_single_steps_have_the_same_bits(loss):
    y = targets(loss)
    weights = {}
    for plan in (True, False):
        model = net(np.float32)
        trainer = fn.Trainer(model, loss=loss, optimizer=fn.Adam(lr=0.01), seed=0, plan=plan)
        losses = [trainer.step(X[i::4], y[i::4], WEIGHT[i::4]) for i in (0, 1, 2, 3, 0)]
        losses.append(trainer.step(X[:10], y[:10]))  # without weights, in a batch of the same shape
        weights[plan] = losses, [param.value for param in model.parameters()]
    assert weights[True][0] == weights[False][0]
    for one, other in zip(weights[True][1], weights[False][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_fit_uses_the_weights_of_each_batch():
    model, single = net(np.float32), net(np.float32)
    fn.fit(
        model, (X, LABELS, WEIGHT), batch_size=10, epochs=2, shuffle=False, optimizer=fn.SGD(lr=0.1), seed=0
    )
    trainer = fn.Trainer(single, optimizer=fn.SGD(lr=0.1), seed=0)
    for start in (0, 10, 20, 30) * 2:
        rows = slice(start, start + 10)
        trainer.step(X[rows], LABELS[rows], WEIGHT[rows])
    for one, other in zip(model.parameters(), single.parameters(), strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def test_equal_weights_change_nothing():
    weighted, plain = net(), net()
    fn.gradients(weighted, (X, LABELS, np.full(40, 3)))
    fn.gradients(plain, (X, LABELS))
    for one, other in zip(grads(weighted), grads(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones(39), ValueError, r"must have shape \(40,\)"),
        (np.ones((40, 1)), ValueError, r"must have shape \(40,\)"),
        (-np.ones(40), ValueError, "at least 0, but weight 0 is -1"),
        (np.full(40, np.nan), ValueError, "must be finite"),
        (np.zeros(40), ValueError, "all sample weights are 0"),
        (np.full(40, "a"), TypeError, "must be real numbers"),
    ],
)
def test_invalid_weights_raise_before_anything_changes(weight, error, message):
    model = net()
    before = [param.value for param in model.parameters()]
    for call in (
        lambda: fn.fit(model, (X, LABELS, weight)),
        lambda: fn.evaluate(model, (X, LABELS, weight)),
        lambda: fn.gradients(model, (X, LABELS, weight)),
        lambda: fn.Trainer(model).step(X, LABELS, weight),
    ):
        with pytest.raises(error, match=message):
            call()
    for param, value in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(param.value, value)


def test_weight_decay_of_a_parameter_can_be_scaled():
    for optimizer in (fn.SGD(lr=0.1, weight_decay=0.5), fn.AdamW(lr=0.1, weight_decay=0.5)):
        model = fn.Linear(2, 2, weight_init="ones", bias_init="ones")
        model.bias.decay_scale = 0
        trainer = fn.Trainer(model, loss="squared_error", optimizer=optimizer, seed=0)
        x = np.zeros((4, 2), np.float32)
        for _ in range(3):  # the outputs are the targets: only the decay changes anything
            trainer.step(x, np.ones((4, 2), np.float32))
        np.testing.assert_allclose(model.bias.value, 1)
        assert (model.weight.value < 0.9).all()


def test_naive_gradients_take_the_weights_or_refuse_them():
    model, data = net(), (X, LABELS, WEIGHT)
    assert fn.gradcheck(model, data) < 1e-7
    with pytest.raises(ValueError, match="takes no sample weights"):
        fn.naive.path_gradients(model, data)


@pytest.mark.parametrize(
    "loss", [fn.CrossEntropy(), fn.CrossEntropy(weight=[1, 2, 0.5])], ids=["plain", "classes"]
)
@pytest.mark.parametrize("reduction", ["mean", "batch_mean", "sum"])
def test_the_loss_of_an_epoch_is_that_of_all_samples(loss, reduction):
    """Batches count by what their means are divided by: with a learning rate of 0, `evaluate` agrees."""
    loss = fn.CrossEntropy(weight=loss.weight, reduction=reduction)
    data, model = (X, LABELS, WEIGHT), net()
    options = {"loss": loss, "optimizer": fn.SGD(lr=1e-300), "seed": 0, "watch": False}
    history = fn.fit(model, data, batch_size=7, **options)
    assert history["loss"] == [pytest.approx(fn.evaluate(model, data, loss=loss)["loss"], rel=1e-12)]


def test_metrics_get_the_weights():
    model, data = net(), (X, LABELS, WEIGHT)
    metrics = {
        "f1": "f1",
        "top2": fn.metrics.top_k(2),
        "right": fn.metrics.accuracy,
        "own": lambda y, t: len(y),
    }
    several = repeated(X, LABELS)
    found = fn.evaluate(model, data, metrics=metrics)
    expected = fn.evaluate(model, several, metrics=metrics)
    assert found.pop("own") == 40  # has no parameter sample_weight
    assert expected.pop("own") == WEIGHT.sum()
    assert found == pytest.approx(expected, rel=1e-12)
    assert found["accuracy"] == pytest.approx(found["right"], rel=1e-12)
    history = fn.fit(model, data, validation=data, metrics=metrics, seed=0)
    assert history["val_f1"][0] == pytest.approx(fn.evaluate(model, several, metrics="f1")["f1"], rel=1e-12)


def test_the_accuracy_of_a_binary_loss_is_weighted():
    y = RNG.integers(0, 2, (40, 3))
    model = net()
    found = fn.evaluate(model, (X, y, WEIGHT), loss="binary_cross_entropy")
    assert found == pytest.approx(fn.evaluate(model, repeated(X, y), loss="binary_cross_entropy"), rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["samples alike", "weighted"])
def test_the_loss_of_an_epoch_with_class_weights_is_that_of_all_samples(weight):
    """A mean over a mini-batch with much class weight counts for more in the mean over the epoch."""
    model, loss = net(), fn.CrossEntropy(weight=[1, 5, 0.1])
    data = (X, LABELS) if weight is None else (X, LABELS, weight)
    history = fn.fit(model, data, loss=loss, batch_size=7, optimizer=fn.SGD(lr=1e-300), epochs=1, seed=0)
    assert history["loss"] == [pytest.approx(fn.evaluate(model, data, loss=loss)["loss"], rel=1e-12)]
