"""`ignore_index` of binary losses: single targets that do not count, such as the border of a mask."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import BACKENDS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4, 5, 1)).astype(np.float32)
MASK = (X > 0).astype(np.int64)
COUNTS = RNG.random(MASK.shape) < 0.7
IGNORED = np.where(COUNTS, MASK, 255)

LOSSES = {
    "binary_cross_entropy": lambda **options: fn.BinaryCrossEntropy(**options),
    "weights": lambda **options: fn.BinaryCrossEntropy(weight=2.0, pos_weight=3.0, **options),
    "binary_focal": lambda **options: fn.BinaryFocal(alpha=0.3, **options),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def net(dtype=np.float64):
    """A net that treats each pixel alone, so that pixels may be left out."""
    fn.manual_seed(0)
    return fn.Sequential(fn.Conv2d(1, 3, 1), fn.Tanh(), fn.Conv2d(3, 1, 1)).to(dtype)


def pixels(*arrays):
    """The pixels that count, each as an image of its own."""
    return tuple(array[COUNTS].reshape(-1, 1, 1, 1) for array in arrays)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_pixels_count_like_left_out_ones(loss, reduction, backend):
    with fn.backend(backend):
        whole, some = net(), net()
        value = fn.gradients(whole, (X, IGNORED), loss=loss(ignore_index=255, reduction=reduction))
        expected = fn.gradients(some, pixels(X, MASK), loss=loss(reduction=reduction))
    assert value == pytest.approx(expected, rel=1e-12)
    for one, other in zip(whole.parameters(), some.parameters(), strict=True):
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-10, atol=1e-13)


@every_loss
def test_gradients_equal_finite_differences(loss):
    data = X[:3], IGNORED[:3], [1.0, 0.0, 2.5]
    assert fn.gradcheck(net(), data, loss=loss(ignore_index=255)) < 1e-7


@every_loss
def test_evaluate_and_metrics_leave_ignored_pixels_out(loss):
    metrics = ["f1", "roc_auc"]
    found = fn.evaluate(net(), (X, IGNORED), loss=loss(ignore_index=255), metrics=metrics)
    flat = fn.Sequential(*net(), fn.Flatten())
    x, mask = pixels(X, MASK)
    expected = fn.evaluate(flat, (x, mask.reshape(-1, 1)), loss=loss(), metrics=metrics)
    assert found == pytest.approx(expected, rel=1e-6)
    assert "accuracy" in found


@every_loss
@pytest.mark.parametrize("source", ["arrays", "stream"])
def test_plans_and_single_steps_have_the_same_bits(loss, source):
    def batches():
        for start in range(0, 12, 5):
            yield X[start : start + 5], IGNORED[start : start + 5]

    data, options = ((X, IGNORED), {"batch_size": 5}) if source == "arrays" else (batches, {})
    results = []
    for plan in (True, False):
        model = net(np.float32)
        history = fn.fit(
            model, data, loss=loss(ignore_index=255), validation=data, epochs=3, shuffle=False,
            seed=0, plan=plan, watch=False, **options,
        )  # fmt: skip
        results.append((history.updates, dict(history), [p.value.tobytes() for p in model.parameters()]))
    assert results[0] == results[1]
    assert set(results[0][1]) == {"loss", "val_loss", "val_accuracy"}


def test_the_loss_of_an_epoch_is_that_of_all_pixels():
    loss, model = fn.BinaryCrossEntropy(ignore_index=255), net()
    history = fn.fit(model, (X, IGNORED), loss=loss, batch_size=5, optimizer=fn.SGD(lr=1e-300), seed=0)
    assert history["loss"] == [pytest.approx(fn.evaluate(model, (X, IGNORED), loss=loss)["loss"], rel=1e-12)]


def test_missing_labels_of_one_output_are_missing_samples():
    x, y = X.reshape(-1, 1), MASK.reshape(-1)
    missing = np.where(COUNTS.reshape(-1), y, -1)
    fn.manual_seed(0)
    model = fn.Linear(1, 1)
    found = fn.evaluate(model, (x, missing), loss=fn.BinaryCrossEntropy(ignore_index=-1), metrics="f1")
    some = COUNTS.reshape(-1)
    expected = fn.evaluate(model, (x[some], y[some]), loss="binary_cross_entropy", metrics="f1")
    assert found == pytest.approx(expected, rel=1e-6)


def test_sample_weights_and_ignored_pixels_multiply():
    loss, weight = fn.BinaryCrossEntropy(ignore_index=255), np.arange(12) % 4
    index = np.repeat(np.arange(12), weight)
    found = fn.evaluate(net(), (X, IGNORED, weight), loss=loss)
    assert found == pytest.approx(fn.evaluate(net(), (X[index], IGNORED[index]), loss=loss), rel=1e-10)


def test_losses_of_ignored_pixels_are_0():
    outputs = net().predict(X)
    losses = fn.BinaryCrossEntropy(ignore_index=255, reduction="none")(outputs, IGNORED)
    plain = fn.BinaryCrossEntropy(reduction="none")(outputs, MASK)
    np.testing.assert_array_equal(losses, np.where(COUNTS, plain, 0))
    mean = losses.sum() / COUNTS.sum()
    assert fn.binary_cross_entropy(outputs, IGNORED, ignore_index=255) == pytest.approx(mean, rel=1e-12)
    focal = fn.BinaryFocal(alpha=0.3, ignore_index=255)(outputs, IGNORED)
    assert fn.binary_focal(outputs, IGNORED, alpha=0.3, ignore_index=255) == focal


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ignore_index": 1}, ValueError, "ignore_index must not be 1, which is a target"),
        ({"ignore_index": 0.5}, TypeError, "ignore_index must be an integer"),
        ({"ignore_index": 255, "reduction": "batch_mean"}, ValueError, "ignore_index needs the reduction"),
    ],
)
def test_invalid_options_are_rejected(options, error, message):
    for loss in (fn.BinaryCrossEntropy, fn.BinaryFocal):
        with pytest.raises(error, match=message):
            loss(**options)


def test_masks_that_do_not_fit_are_rejected():
    loss = fn.BinaryCrossEntropy(ignore_index=255)
    for y, message in (
        (np.full_like(MASK, 255), "no sample counts"),
        (np.where(COUNTS, MASK, 254), "expects targets from 0 .no. to 1 .yes., got values from 0 to 254"),
        (IGNORED[..., 0], "expects targets of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            fn.fit(net(), (X, y), loss=loss)
    labels = np.where(RNG.random((12, 3)) < 0.5, 255, 1)
    with pytest.raises(ValueError, match="metrics cannot leave single labels of a sample out"):
        fn.evaluate(fn.Linear(3, 3), (np.ones((12, 3)), labels), loss=loss, metrics="f1")


def test_watch_and_inspection_leave_ignored_targets_out():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)), rng.integers(0, 2, (64, 3)).astype(float)
    y[:, 1] = -1
    loss = fn.BinaryCrossEntropy(ignore_index=-1)
    fn.manual_seed(0)
    model = fn.Sequential(fn.Linear(4, 3, dtype="float64"))
    fn.gradients(model, (x, y), loss=loss)
    expected = model[0].weight.grad
    found = fn.inspect(model, x, y, loss=loss)
    np.testing.assert_allclose(np.asarray(found["input"].gradient), found_input_gradient(model, x, y, loss))
    assert (expected[:, 1] == 0).all()
    watch = fn.GradientWatch(silent=True)
    fn.fit(
        model,
        (x, y),
        loss=loss,
        optimizer=fn.SGD(1e-12),
        epochs=1,
        batch_size=64,
        callbacks=watch,
        progress=False,
    )
    assert watch.norms["0.weight"][0] == pytest.approx(np.linalg.norm(expected))


def found_input_gradient(model, x, y, loss):
    """dx by hand: dy W^T, with zeros where targets are ignored and a mean over those that count."""
    p = 1 / (1 + np.exp(-model.predict(x)))
    dy = np.where(y == -1, 0, p - y) / np.count_nonzero(y != -1)
    return dy @ model[0].weight.value.T


def test_batch_mean_is_refused_when_it_is_assigned():
    loss = fn.BinaryCrossEntropy(ignore_index=-1)
    with pytest.raises(ValueError, match="ignore_index needs the reduction"):
        loss.reduction = "batch_mean"
    loss = fn.BinaryCrossEntropy(reduction="batch_mean")
    with pytest.raises(ValueError, match="ignore_index needs the reduction"):
        loss.ignore_index = -1
