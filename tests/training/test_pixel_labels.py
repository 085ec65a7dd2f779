"""Labels per pixel or step of a sequence, and `ignore_index` among them, in losses, `fit` and `evaluate`."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import BACKENDS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4, 5, 1)).astype(np.float32)
MASK = np.digitize(X[..., 0], [-0.5, 0.5])
COUNTS = RNG.random(MASK.shape) < 0.7
COUNTS[3] = False  # nothing of this image counts
IGNORED = np.where(COUNTS, MASK, 255)
SAMPLE_WEIGHT = np.arange(12) % 4

LOSSES = {
    "cross_entropy": lambda **options: fn.CrossEntropy(**options),
    "class weights": lambda **options: fn.CrossEntropy(weight=[1, 2, 0.5], **options),
    "smoothing": lambda **options: fn.CrossEntropy(label_smoothing=0.1, weight=[1, 2, 0.5], **options),
    "focal": lambda **options: fn.Focal(weight=[1, 2, 0.5], **options),
    "hinge": lambda **options: fn.Hinge(**options),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def net(dtype=np.float64, outputs=3):
    """A net that treats each pixel alone, so that pixels may be left out."""
    fn.manual_seed(0)
    return fn.Sequential(fn.Conv2d(1, 4, 1), fn.Tanh(), fn.Conv2d(4, outputs, 1)).to(dtype)


def as_samples(model):
    """The same model with one label per sample: the pixels are samples of 1 x 1."""
    return fn.Sequential(*model, fn.Flatten())


def assert_same_gradients(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-10, atol=1e-14)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@every_backend
def test_pixels_count_like_samples(loss, reduction, backend):
    with fn.backend(backend):
        whole, some = net(), net()
        value = fn.gradients(whole, (X, MASK), loss=loss(reduction=reduction))
        rows = X.reshape(-1, 1, 1, 1), MASK.reshape(-1)
        assert value == pytest.approx(
            fn.gradients(as_samples(some), rows, loss=loss(reduction=reduction)), rel=1e-12
        )
        assert_same_gradients(whole, some)
        value = fn.gradients(whole, (X, IGNORED), loss=loss(ignore_index=255, reduction=reduction))
        rows = X[COUNTS].reshape(-1, 1, 1, 1), MASK[COUNTS]
        assert value == pytest.approx(
            fn.gradients(as_samples(some), rows, loss=loss(reduction=reduction)), rel=1e-12
        )
        assert_same_gradients(whole, some)


@every_loss
@every_backend
def test_the_batch_mean_divides_by_the_number_of_images(loss, backend):
    with fn.backend(backend):
        one, other = net(), net()
        value = fn.gradients(one, (X, MASK), loss=loss(reduction="batch_mean"))
        assert value == pytest.approx(fn.gradients(other, (X, MASK), loss=loss(reduction="sum")) / 12)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad / 12, rtol=1e-10, atol=1e-14)


@every_loss
@pytest.mark.parametrize("y", [MASK, IGNORED], ids=["all", "ignored"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sample_weights_count_for_each_pixel(loss, y, reduction):
    options = {"ignore_index": 255} if y is IGNORED else {}
    index = np.repeat(np.arange(12), SAMPLE_WEIGHT)
    loss = loss(reduction=reduction, **options)
    one, other = net(), net()
    value = fn.gradients(one, (X, y, SAMPLE_WEIGHT), loss=loss)
    assert value == pytest.approx(fn.gradients(other, (X[index], y[index]), loss=loss), rel=1e-12)
    assert_same_gradients(one, other)
    metrics = ["f1", "iou"]
    found = fn.evaluate(one, (X, y, SAMPLE_WEIGHT), loss=loss, metrics=metrics)
    expected = fn.evaluate(one, (X[index], y[index]), loss=loss, metrics=metrics)
    assert found == pytest.approx(expected, rel=1e-9)
    mean_of_sum = {"loss_mean"} if reduction == "sum" else set()
    assert set(found) == {"loss", "accuracy", "f1", "iou"} | mean_of_sum


@every_loss
def test_gradients_equal_finite_differences(loss):
    data = X[:4], IGNORED[:4], [1.0, 0.0, 2.5, 1.0]
    assert fn.gradcheck(net(), data, loss=loss(ignore_index=255)) < 1e-6
    assert fn.gradcheck(net(), (X[:3], MASK[:3]), loss=loss()) < 1e-6


@every_loss
def test_evaluate_and_metrics_leave_ignored_pixels_out(loss):
    metrics = ["f1", "iou", "log_loss"]
    found = fn.evaluate(net(), (X, IGNORED), loss=loss(ignore_index=255), metrics=metrics)
    rows = X[COUNTS].reshape(-1, 1, 1, 1), MASK[COUNTS]
    expected = fn.evaluate(as_samples(net()), rows, loss=loss(), metrics=metrics)
    assert found == pytest.approx(expected, rel=1e-9)


@every_loss
@pytest.mark.parametrize("source", ["arrays", "weights", "stream"])
def test_plans_and_single_steps_have_the_same_bits(loss, source):
    def batches():
        for start in range(0, 12, 5):
            yield X[start : start + 5], IGNORED[start : start + 5]

    options = {"batch_size": 5, "epochs": 3, "shuffle": False, "seed": 0, "watch": False}
    loss, data, held_out = loss(ignore_index=255), (X, IGNORED), (X, IGNORED)
    if source == "weights":
        data = X, IGNORED, SAMPLE_WEIGHT
    elif source == "stream":
        data = batches
        del options["batch_size"]
    results = []
    for plan in (True, False):
        model = net(np.float32)
        history = fn.fit(model, data, loss=loss, validation=held_out, plan=plan, **options)
        trainer = fn.Trainer(model, loss=loss, seed=0, plan=plan)
        losses = [trainer.step(X[i::4], IGNORED[i::4]) for i in (0, 1, 2, 3, 0)]
        values = [p.value.tobytes() for p in model.parameters()]
        results.append((history.updates, dict(history), losses, values))
    assert results[0] == results[1]
    assert set(results[0][1]) == {"loss", "accuracy", "val_loss", "val_accuracy"}


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_and_accuracy_of_an_epoch_are_those_of_all_pixels(loss, weighted):
    loss, model = loss(ignore_index=255), net()
    data = (X, IGNORED, SAMPLE_WEIGHT) if weighted else (X, IGNORED)
    history = fn.fit(model, data, loss=loss, batch_size=5, optimizer=fn.SGD(lr=1e-300), seed=0)
    found = fn.evaluate(model, data, loss=loss)
    assert history["loss"] == [pytest.approx(found["loss"], rel=1e-9)]
    if not weighted:
        assert history["accuracy"] == [pytest.approx(found["accuracy"], rel=1e-12)]


def test_a_net_learns_masks_and_predicts_the_class_of_each_pixel():
    fn.manual_seed(0)
    model = net(np.float32)
    fn.fit(
        model, (X, IGNORED), loss=fn.CrossEntropy(ignore_index=255), optimizer=fn.Adam(0.1), epochs=100,
        batch_size=4, seed=0,
    )  # fmt: skip
    classes = model.predict_classes(X)
    assert classes.shape == MASK.shape
    assert (classes == MASK).mean() > 0.95
    assert fn.metrics.iou(model.predict(X), MASK) == fn.metrics.iou(classes, MASK) > 0.9


def test_sequences_have_a_label_per_step():
    fn.manual_seed(0)
    model = fn.Sequential(fn.Conv1d(2, 6, 3, padding="same"), fn.ReLU(), fn.Conv1d(6, 3, 1))
    x = RNG.normal(size=(40, 9, 2)).astype(np.float32)
    y = np.digitize(x[..., 0], [-0.4, 0.4])
    y[:, :1] = -1
    loss = fn.CrossEntropy(ignore_index=-1)
    history = fn.fit(model, (x, y), validation=0.25, loss=loss, optimizer=fn.Adam(0.03), epochs=40, seed=0)
    assert history["val_accuracy"][-1] > 0.9
    assert model.predict_classes(x).shape == y.shape
    assert fn.gradcheck(model, (x[:3], y[:3]), loss=loss) < 1e-5


def test_labels_counted_from_1_are_learned_as_for_samples():
    model = net(np.float32)
    fn.fit(model, (X, MASK + 1), epochs=1, seed=0)
    assert model.classes.tolist() == [1, 2, 3]
    assert set(np.unique(model.predict_classes(X))) <= {1, 2, 3}
    plain = net(np.float32)
    fn.fit(plain, (X, MASK), epochs=1, seed=0)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))


def test_boolean_masks_are_labels_of_two_classes():
    mask, results = MASK > 0, []
    for y in (mask, mask.astype(np.uint8)):
        model = net(outputs=2)
        results.append((dict(fn.fit(model, (X, y), epochs=2, seed=0)), model.predict_classes(X) == 1))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_probabilities_of_pixels_are_targets():
    soft = RNG.random((*MASK.shape, 3))
    soft /= soft.sum(axis=-1, keepdims=True)
    rows = X.reshape(-1, 1, 1, 1), soft.reshape(-1, 3)
    for loss in (fn.CrossEntropy(label_smoothing=0.1), fn.Focal(weight=[1, 2, 0.5])):
        one, other = net(), net()
        value = fn.gradients(one, (X, soft), loss=loss)
        assert value == pytest.approx(fn.gradients(as_samples(other), rows, loss=loss), rel=1e-12)
        assert_same_gradients(one, other)
    one_hot = np.eye(3)[MASK]
    assert fn.hinge(net().predict(X), one_hot) == fn.hinge(net().predict(X), MASK)
    assert "accuracy" not in fn.fit(net(), (X, soft), loss="cross_entropy", epochs=1)


def test_masks_that_do_not_fit_are_rejected_before_anything_changes():
    loss, model = fn.CrossEntropy(ignore_index=255), net()
    before = [param.value for param in model.parameters()]
    trainer = fn.Trainer(model, loss=loss)
    flat = "targets must be labels of shape .N, 4, 5., one per pixel or step, or probabilities of shape"
    for y, error, message in (
        (np.full_like(MASK, 255), ValueError, "no sample counts: all labels are the ignore_index"),
        (np.where(COUNTS, MASK, 254), ValueError, "there is a label 254"),
        (np.where(COUNTS, MASK, -1), ValueError, "there is a label -1"),
        (MASK[..., None], ValueError, flat + r".*got \(12, 4, 5, 1\): use y\[..., 0\]"),
        (MASK[:, 0, 0], ValueError, flat + ".*add Flatten.. or GlobalAvgPool2d.. and Linear"),
        (MASK[:, :2], ValueError, flat),
        (MASK + 0.5, TypeError, "labels must be integers, not float64: for real targets"),
        (MASK.astype(float), TypeError, "labels must be integers, not float64: use y.astype"),
        (np.full((12, 4, 5, 3), 0.5), ValueError, r"sum to 1, but element \[0, 0, 0\] of y is"),
    ):
        for call in (
            lambda y=y: fn.fit(model, (X, y), loss=loss),
            lambda y=y: trainer.step(X, y),
            lambda y=y: fn.evaluate(model, (X, y), loss=loss),
        ):
            with pytest.raises(error, match=message):
                call()
    for one, other in zip(before, model.parameters(), strict=True):
        np.testing.assert_array_equal(one, other.value)


def test_ignored_pixels_have_no_batch_mean():
    loss = fn.CrossEntropy(ignore_index=255, reduction="batch_mean")
    with pytest.raises(ValueError, match='the reduction must be "mean", "sum" or "none", not "batch_mean"'):
        fn.fit(net(), (X, IGNORED), loss=loss)
    with pytest.raises(ValueError, match="there are 2 class weights for 3 classes"):
        fn.fit(net(), (X, MASK), loss=fn.CrossEntropy(weight=[1, 2]))
    with pytest.raises(ValueError, match='use loss="binary_cross_entropy"'):
        fn.fit(net(outputs=1), (X, MASK))


def test_augmentation_that_would_leave_the_masks_behind_is_rejected():
    trainer = fn.Trainer(net(), augment=fn.augment.Flip())
    for call in (
        lambda: fn.fit(net(), (X, MASK), augment=fn.augment.Flip()),
        lambda: trainer.step(X, MASK),
    ):
        with pytest.raises(ValueError, match="moves the pixels of images, but not their labels"):
            call()


@pytest.mark.parametrize("y", [MASK, IGNORED], ids=["all", "ignored"])
def test_a_step_on_masks_is_profiled(y):
    profile = fn.Trainer(net(), loss=fn.CrossEntropy(ignore_index=255)).profile(X, y, steps=2)
    assert "cross_entropy_labels" in str(profile)


def test_labels_that_change_during_a_training_stop_it():
    y = MASK.copy()

    class Spoil(fn.Callback):
        def on_epoch_end(self, training, values):
            y[-1, -1, -1] = 10**9

    with pytest.raises(ValueError, match=r"there is a label 1000000000|label out of range"):
        fn.fit(net(), (X, y), epochs=3, batch_size=4, callbacks=Spoil(), seed=0)


def test_a_mini_batch_without_labels_changes_nothing():
    y = np.concatenate((np.full_like(MASK[:4], 255), IGNORED[4:8], np.full_like(MASK[:4], 255)))
    for plan in (True, False):
        options = {"batch_size": 4, "shuffle": False, "seed": 0, "plan": plan, "optimizer": fn.SGD(lr=0.1)}
        loss, model, single = fn.CrossEntropy(ignore_index=255), net(), net()
        history = fn.fit(model, (X, y), loss=loss, epochs=1, **options)
        assert history.updates["loss"][0] == history.updates["loss"][2] == 0
        fn.fit(single, (X[4:8], y[4:8]), loss=loss, epochs=1, **options)
        for one, other in zip(model.parameters(), single.parameters(), strict=True):
            np.testing.assert_array_equal(one.value, other.value)


@every_loss
@pytest.mark.parametrize("y", [MASK, IGNORED], ids=["all", "ignored"])
def test_small_pieces_of_a_mini_batch_give_its_update(loss, y):
    """The divisor of the whole mini-batch depends on which labels are in it."""
    results = []
    for micro_batch in (None, 2):
        model, loss_ = net(), loss(ignore_index=255)
        history = fn.fit(
            model, (X, y), loss=loss_, batch_size=5, epochs=2, micro_batch=micro_batch, optimizer=fn.SGD(0.1),
            seed=0,
        )  # fmt: skip
        results.append((history.updates["loss"], [param.value for param in model.parameters()]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)
