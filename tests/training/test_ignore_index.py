"""`ignore_index`: labels that do not count, in losses, `fit`, steps, `evaluate` and gradients."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import BACKENDS

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)).astype(np.float32)
LABELS = RNG.integers(0, 3, 60)
GIVEN = RNG.random(60) < 0.6
MISSING = np.where(GIVEN, LABELS, -1)

LOSSES = {
    "cross_entropy": lambda **options: fn.CrossEntropy(**options),
    "class weights": lambda **options: fn.CrossEntropy(weight=[1, 2, 0.5], **options),
    "smoothing": lambda **options: fn.CrossEntropy(label_smoothing=0.1, **options),
    "focal": lambda **options: fn.Focal(weight=[1, 2, 0.5], **options),
    "hinge": lambda **options: fn.Hinge(**options),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "batch_mean"])


def net(dtype=np.float64):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(5, 8), fn.Tanh(), fn.Linear(8, 3)).to(dtype)


def parameters(model):
    return [param.value for param in model.parameters()]


@every_loss
@every_reduction
@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_samples_count_like_left_out_ones(loss, reduction, backend):
    with fn.backend(backend):
        some, all_ = net(), net()
        value = fn.gradients(all_, (X, MISSING), loss=loss(ignore_index=-1, reduction=reduction))
        expected = fn.gradients(some, (X[GIVEN], LABELS[GIVEN]), loss=loss(reduction=reduction))
        assert value == pytest.approx(expected, rel=1e-12)
        for one, other in zip(all_.parameters(), some.parameters(), strict=True):
            np.testing.assert_allclose(one.grad, other.grad, rtol=1e-10, atol=1e-14)


@every_loss
def test_evaluate_leaves_ignored_samples_out(loss):
    model, metrics = net(), [fn.metrics.f1, "log_loss"]
    found = fn.evaluate(model, (X, MISSING), loss=loss(ignore_index=-1), metrics=metrics)
    expected = fn.evaluate(model, (X[GIVEN], LABELS[GIVEN]), loss=loss(), metrics=metrics)
    assert found == pytest.approx(expected, rel=1e-12)


@every_loss
def test_a_loss_called_as_a_function_leaves_them_out(loss):
    outputs = net().predict(X)
    assert loss(ignore_index=-1)(outputs, MISSING) == pytest.approx(loss()(outputs[GIVEN], LABELS[GIVEN]))
    losses = loss(ignore_index=-1, reduction="none")(outputs, MISSING)
    assert not losses[~GIVEN].any()
    np.testing.assert_array_equal(losses[GIVEN], loss(reduction="none")(outputs[GIVEN], LABELS[GIVEN]))


def test_cross_entropy_equals_pytorch():
    torch = pytest.importorskip("torch")
    outputs = RNG.standard_normal((60, 3))
    for ignored in (-1, 2, 255):
        y = np.where(GIVEN, LABELS, ignored)
        for weight in (None, [1.0, 2, 0.5]):
            for smoothing in (0.0, 0.1):
                theirs = torch.nn.functional.cross_entropy(
                    torch.tensor(outputs),
                    torch.tensor(y),
                    None if weight is None else torch.tensor(weight, dtype=torch.float64),
                    ignore_index=ignored,
                    label_smoothing=smoothing,
                )
                ours = fn.cross_entropy(
                    outputs, y, weight=weight, label_smoothing=smoothing, ignore_index=ignored
                )
                assert ours == pytest.approx(theirs.item(), rel=1e-12)


@every_loss
def test_plans_and_single_steps_have_the_same_bits(loss):
    found = []
    for plan in (True, False):
        model = net(np.float32)
        options = {"loss": loss(ignore_index=-1), "optimizer": fn.Adam(lr=0.01), "seed": 0, "plan": plan}
        trainer = fn.Trainer(model, **options)
        losses = [trainer.step(X[i::4], MISSING[i::4]) for i in (0, 1, 2, 3, 0)]
        history = fn.fit(model, (X, MISSING), batch_size=20, epochs=3, **options)
        found.append((losses, history["loss"], history["accuracy"], parameters(model)))
    for one, other in zip(*found, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_accuracy_of_fit_counts_the_labels_that_are_given():
    history = fn.fit(
        net(), (X, MISSING), loss=fn.CrossEntropy(ignore_index=-1), optimizer=fn.Adam(lr=0.05),
        batch_size=20, epochs=150, seed=0,
    )  # fmt: skip
    assert history["accuracy"][-1] == 1


@every_loss
@pytest.mark.parametrize("plan", [True, False])
def test_a_mini_batch_without_labels_changes_nothing(loss, plan):
    model = net()
    y = np.concatenate((np.full(20, -1), LABELS[20:40], np.full(20, -1)))
    training = {"batch_size": 20, "shuffle": False, "seed": 0, "plan": plan, "optimizer": fn.SGD(lr=0.1)}
    history = fn.fit(model, (X, y), loss=loss(ignore_index=-1), epochs=1, **training)
    assert history.updates["loss"][0] == history.updates["loss"][2] == 0
    single = net()
    fn.fit(single, (X[20:40], y[20:40]), loss=loss(ignore_index=-1), epochs=1, **training)
    for one, other in zip(parameters(model), parameters(single), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sample_weights_and_ignored_labels_multiply():
    weight, loss = RNG.random(60), fn.CrossEntropy(ignore_index=-1)
    value = fn.gradients(net(), (X, MISSING, weight), loss=loss)
    expected = fn.gradients(net(), (X[GIVEN], LABELS[GIVEN], weight[GIVEN]), loss=loss)
    assert value == pytest.approx(expected, rel=1e-12)


def test_labels_that_neither_count_nor_fit_are_rejected():
    loss, model = fn.CrossEntropy(ignore_index=-1), net()
    before = parameters(model)
    trainer = fn.Trainer(model, loss=loss)
    for y, message in (
        (np.full(60, -1), "no sample counts: all labels are the ignore_index"),
        (np.where(GIVEN, LABELS, -2), "there is a label -2"),
        (np.where(GIVEN, LABELS, 3), "there is a label 3"),
    ):
        for call in (
            lambda y=y: fn.fit(model, (X, y), loss=loss),
            lambda y=y: trainer.step(X, y),
            lambda y=y: fn.evaluate(model, (X, y), loss=loss),
        ):
            with pytest.raises(ValueError, match=message):
                call()
    for one, other in zip(before, parameters(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_hot_rows_are_not_ignored():
    outputs = net().predict(X)
    assert fn.cross_entropy(outputs, np.eye(3)[LABELS], ignore_index=0) == fn.cross_entropy(
        outputs, np.eye(3)[LABELS]
    )
