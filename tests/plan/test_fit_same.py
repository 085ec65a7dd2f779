"""fit(plan=True) and fit(plan=False): the same history, weights, optimizer state and random counters."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.training import plans

from .twins import CLASSES, FEATURES, small_net

SAMPLES = 100


@pytest.fixture
def data():
    """100 samples of 6 features as float32, their labels, and 100 images of 2x3 bytes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    images = generator.integers(0, 256, (SAMPLES, 2, 3), dtype=np.uint8)
    return x, generator.integers(0, CLASSES, SAMPLES), images


@pytest.fixture
def fit_both(snapshot):
    """A function that trains two models alike, planned and not, checks them and returns the history."""

    def fit(x, y, *, model=small_net, optimizer=fn.Adam, loss=fn.CrossEntropy, **options):
        results = []
        for planned in (True, False):
            fn.manual_seed(0)
            net, rule = model(), optimizer()
            arguments = {"batch_size": 16, "epochs": 3, "seed": 5, "plan": planned, **options}
            history = fn.fit(net, (x, y), loss=loss(), optimizer=rule, **arguments)
            results.append((history.as_dict(), snapshot(net, rule)))
        assert results[0] == results[1]
        return history

    return fit


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("batch_size", [1, 2, 16, 33, 99, 100, 1000])
def test_batch_sizes(batch_size, fuse, data, fit_both):
    history = fit_both(*data[:2], batch_size=batch_size, fuse=fuse)
    assert len(history.updates["loss"]) == 3 * -(-SAMPLES // batch_size)


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "as they come"])
@pytest.mark.parametrize("validated", [True, False], ids=["validated", "unvalidated"])
def test_validation_and_accuracy(shuffle, validated, data, fit_both):
    x, y, _ = data
    held_out = (x[:30], y[:30]) if validated else None
    history = fit_both(x, y, shuffle=shuffle, validation=held_out)
    assert history["accuracy"][-1] > 0
    assert ("val_accuracy" in history) == validated


@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes(scale, dtype, data, fit_both):
    _, y, images = data
    fit_both(images, y, scale=scale, model=lambda: fn.Sequential(fn.Flatten(), small_net()).to(dtype))


@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize("source", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types(dtype, source, scale, data, fit_both):
    x, y, _ = data
    fit_both((3 * x).astype(source), y, scale=scale, model=lambda: small_net().to(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("rows", ["one-hot", "soft"])
def test_rows_of_targets(rows, smoothing, dtype, data, fit_both):
    x, y, _ = data
    target = np.eye(CLASSES)[y] if rows == "one-hot" else 0.7 * np.eye(CLASSES)[y] + 0.1
    history = fit_both(
        x,
        target,
        model=lambda: small_net().to(dtype),
        loss=lambda: fn.CrossEntropy(label_smoothing=smoothing),
    )
    assert "accuracy" in history


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_and_reductions(reduction, data, fit_both):
    fit_both(*data[:2], loss=lambda: fn.CrossEntropy(weight=[1, 5, 0.5], reduction=reduction))
    history = fit_both(data[0], data[0][:, :CLASSES], loss=lambda: fn.SquaredError(reduction))
    assert list(history) == ["loss", *(["loss_mean"] if reduction == "sum" else [])]


def dropped():
    return small_net(fn.ReLU(), fn.Dropout(0.3), fn.Linear(16, 16), fn.Dropout(0.5))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("optimizer", [fn.SGD, lambda: fn.SGD(momentum=0.9), fn.Adam])
def test_dropout_and_optimizers(optimizer, threads, data, fit_both):
    fn.set_num_threads(threads)
    fit_both(*data[:2], model=dropped, optimizer=optimizer)


def test_without_a_seed_manual_seed_decides(data, fit_both):
    fit_both(*data[:2], model=dropped, seed=None)


def test_python_gets_control_back_between_any_two_updates(data, fit_both, monkeypatch):
    monkeypatch.setattr(plans, "RUN_SECONDS", 0.0)
    fit_both(*data[:2], model=dropped)


def test_a_second_fit_goes_on_where_the_first_ended(data, snapshot):
    x, y, _ = data
    results = []
    for planned in (True, False):
        fn.manual_seed(0)
        model, optimizer, history = dropped(), fn.Adam(), fn.History()
        for epochs, batch_size in ((2, 16), (1, 30), (2, 16)):
            options = {"epochs": epochs, "batch_size": batch_size, "seed": 1, "plan": planned}
            fn.fit(model, (x, y), optimizer=optimizer, history=history, **options)
        results.append((history.as_dict(), snapshot(model, optimizer)))
    assert results[0] == results[1]
    assert results[0][0]["stopped"] is None


def test_fit_between_steps(data, twins):
    x, y, _ = data
    pair = twins(dropped, optimizer=fn.Adam)
    for epochs in (1, 2):
        pair.run()
        for trainer in pair.both:
            options = {"epochs": epochs, "batch_size": 24, "seed": 1, "plan": trainer.plan}
            fn.fit(trainer.model, (x, y), optimizer=trainer.optimizer, **options)
        pair.check()
    pair.run()


def test_planned_fit_is_a_series_of_eager_steps(data, snapshot):
    x, y, _ = data
    fn.manual_seed(0)
    fitted, first = dropped(), fn.Adam()
    history = fn.fit(fitted, (x, y), optimizer=first, batch_size=24, epochs=3, shuffle=False, seed=3)
    fn.manual_seed(0)
    stepped, second = dropped(), fn.Adam()
    trainer = fn.Trainer(stepped, optimizer=second, seed=3, plan=False)
    parts = np.split(np.arange(SAMPLES), [24, 48, 72, 96])
    losses = [trainer.step(x[part], y[part]) for _ in range(3) for part in parts]
    assert history.updates["loss"] == losses
    assert snapshot(fitted, first) == snapshot(stepped, second)


def test_a_progress_bar_changes_nothing(data, fit_both, capsys):
    fit_both(*data[:2], progress=True)
    assert "epoch 3/3" in capsys.readouterr().err


def test_data_that_nobody_else_holds(snapshot):
    """The recorded calls read the samples as long as they run."""

    def fit(planned):
        fn.manual_seed(0)
        model, generator = small_net(), np.random.default_rng(0)
        options = {"batch_size": 7, "epochs": 5, "seed": 0, "plan": planned, "watch": False}
        fn.fit(model, (generator.normal(size=(500, FEATURES)), np.arange(500) % CLASSES), **options)
        return snapshot(model)

    assert fit(True) == fit(False)
