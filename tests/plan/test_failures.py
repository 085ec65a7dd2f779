"""A recorded step that fails changes nothing and raises the same error as an eager step."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastnn as fn

from .twins import CLASSES, FEATURES, batch, small_net

X, Y = batch()
SOFT = np.eye(CLASSES, dtype=np.float32)[Y]
NONFINITE = ("nan", "infinity", "nan in float64", "infinite loss", "nan in a soft row")


def with_number(number, dtype=np.float32):
    x = X.astype(dtype)
    x[3, 2] = number
    return x


MISTAKES = {
    "label too large": (X, np.where(np.arange(33) == 20, CLASSES, Y)),
    "label -1": (X, np.where(np.arange(33) == 20, -1, Y)),
    "labels from 1": (X, Y + 1),
    "huge label": (X, np.where(np.arange(33) == 32, 2**62, Y)),
    "float labels": (X, Y.astype(float)),
    "short labels": (X, Y[:-1]),
    "label column": (X, Y[:, None]),
    "no labels": (X, None),
    "labels with None": (X, np.append(Y[:-1].astype(object), None)),
    "wide rows": (X, np.eye(4)[Y]),
    "complex": (X + 0j, Y),
    "text": (X.astype(str), Y),
    "objects": (X.astype(object), Y),
    "few features": (np.ascontiguousarray(X[:, :-1]), Y),
    "flat": (X.ravel(), Y),
    "deep": (X[:, :, None], Y),
    "empty": (X[:0], Y[:0]),
    "nothing": (None, Y),
    "ragged": ([[1.0] * FEATURES, [1.0]], Y[:2]),
    "nan": (with_number(np.nan), Y),
    "infinity": (with_number(np.inf), Y),
    "nan in float64": (with_number(np.nan, np.float64), Y),
    "nan in a soft row": (X, np.where(np.arange(33)[:, None] == 5, np.nan, SOFT)),
    "infinite loss": (X * np.float32(1e36), Y),
}
every_mistake = pytest.mark.parametrize("mistake", MISTAKES)


def dropped():
    return small_net(fn.ReLU(), fn.Dropout(0.3), fn.Linear(16, 16))


def steep():
    """Its logits overflow for large features."""
    model = fn.Sequential(fn.Linear(FEATURES, 16), fn.Dropout(0.3), fn.Linear(16, CLASSES))
    for param in model.parameters():
        param.value = 1e3 * param.value
    return model


@every_mistake
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("net", [dropped, small_net])
def test_after_the_recording(net, mistake, fuse, twins):
    """The second net ends in tanh, whose outputs are finite even where its inputs are not."""
    pair = twins(net if mistake != "infinite loss" else steep, optimizer=fn.Adam, fuse=fuse)
    pair.run()
    pair.fail(*MISTAKES[mistake])
    pair.run()
    assert pair.replays


@every_mistake
def test_before_and_after_the_recording(mistake, twins):
    pair = twins(dropped if mistake != "infinite loss" else steep, optimizer=fn.Adam)
    first = pair.fail(*MISTAKES[mistake])
    pair.run(2)
    later = pair.fail(*MISTAKES[mistake])
    assert (type(first), str(first).replace("update 1", "update 3")) == (type(later), str(later))


@every_mistake
def test_with_rows_of_targets_recorded_too(mistake, twins):
    pair = twins(dropped if mistake != "infinite loss" else steep, optimizer=fn.Adam)
    for _ in range(2):
        pair.step(X, Y)
        pair.step(X, SOFT)
    pair.fail(*MISTAKES[mistake])
    pair.step(X, Y)
    pair.step(X, SOFT)


def test_regression_targets(twins):
    pair = twins(loss=fn.SquaredError)
    target = X[:, :CLASSES].copy()
    for seed in range(3):
        pair.step(batch(seed)[0], target)
    bad = target.copy()
    bad[0, 0] = -np.inf
    assert isinstance(pair.fail(X, bad), fn.NonFiniteError)
    assert isinstance(pair.fail(X, Y), ValueError)
    pair.step(X, target)


@pytest.mark.parametrize("mistake", NONFINITE)
def test_stop_returns_nan_and_changes_nothing(mistake, twins, snapshot):
    pair = twins(dropped if mistake != "infinite loss" else steep, optimizer=fn.Adam, on_nonfinite="stop")
    pair.run()
    before = snapshot(pair.planned.model, pair.planned.optimizer)
    assert [np.isnan(trainer.step(*MISTAKES[mistake])) for trainer in pair.both] == [True, True]
    assert snapshot(pair.planned.model, pair.planned.optimizer) == before
    pair.check()
    pair.run()


def test_weights_that_become_infinite_between_steps(twins):
    pair = twins(dropped)
    pair.run()
    pair.do(lambda trainer: setattr(trainer.model[0].weight, "value", np.full((FEATURES, 16), np.inf)))
    pair.fail(X, Y)
    pair.do(lambda trainer: setattr(trainer.model[0].weight, "value", np.full((FEATURES, 16), 0.1)))
    pair.run()


def test_all_class_weights_of_a_batch_are_zero(twins):
    """The mean over nothing is nan."""
    pair = twins(loss=lambda: fn.CrossEntropy(weight=[0, 1, 1]))
    pair.run()
    assert "the loss is nan" in str(pair.fail(X, 0 * Y))
    pair.run()


def test_a_bad_batch_of_a_shape_that_was_not_recorded(twins):
    pair = twins(dropped)
    pair.run()
    pair.fail(X[:5], Y[:5] + CLASSES)
    pair.fail(with_number(np.nan)[:5], Y[:5])
    pair.run()
    pair.step(X[:5], Y[:5])


@every_mistake
def test_a_layer_in_python_does_not_see_bad_data(mistake, twins):
    """The door comes first, so a layer that counts its calls does not count this one."""

    class Counting(fn.Layer):
        calls = 0

        def forward(self, x, *, train=False):
            self.calls += 1
            factor = np.float32(1 / self.calls)
            return x * factor, lambda dy, *, need_dx=True: dy * factor

    pair = twins(lambda: fn.Sequential(*steep().layers, Counting()))
    pair.run()
    pair.fail(*MISTAKES[mistake])
    calls = [trainer.model[3].calls for trainer in pair.both]
    assert calls == ([4, 4] if mistake == "infinite loss" else [3, 3])
    pair.run()


# --- fit ---


@pytest.mark.parametrize("where", [0, 37, 99])
@pytest.mark.parametrize("label", [CLASSES, -1])
def test_a_wrong_label_anywhere_in_the_data_stops_at_the_door(label, where, unchanged):
    x, y = batch(rows=100)
    model, optimizer, history = dropped(), fn.Adam(), fn.History()
    y[where] = label
    with unchanged(model, optimizer), pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        fn.fit(model, (x, y), optimizer=optimizer, batch_size=8, history=history)
    assert history.updates["loss"] == []


def diverging(update, batches):
    """Data whose loss overflows float32 in the given update (from 1) of an epoch as they come."""
    x, y = batch(rows=10 * batches)
    x[10 * (update - 1) + 4] *= np.float32(1e37)
    return x, y


@pytest.mark.parametrize("update", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("on_nonfinite", ["raise", "stop"])
def test_infinite_loss_in_the_middle_of_an_epoch(update, on_nonfinite, snapshot):
    x, y = diverging(update, 30)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer, history = steep(), fn.Adam(), fn.History()
        options = {"batch_size": 10, "shuffle": False, "seed": 1, "plan": plan, "on_nonfinite": on_nonfinite}
        fails = pytest.raises(fn.NonFiniteError) if on_nonfinite == "raise" else nullcontext()
        with fails as error:
            fn.fit(model, (x, y), optimizer=optimizer, history=history, **options)
        stopped = history.stopped if error is None else str(error.value)
        assert f"at update {update}:" in stopped
        assert len(history.updates["loss"]) == update - 1
        assert history.epochs == 0
        assert optimizer.state(model.parameters()[0]).steps == update - 1
        results.append((stopped, history.as_dict(), snapshot(model, optimizer)))
    assert results[0] == results[1]
    # As after the last good update: a fit on what came before.
    if update > 1:
        fn.manual_seed(0)
        good, rule = steep(), fn.Adam()
        before = fn.fit(
            good, (x[: 10 * update - 10], y[: 10 * update - 10]), optimizer=rule, **{**options, "plan": True}
        )
        assert before.updates == history.updates
        assert snapshot(good, rule) == results[0][2]


@pytest.mark.parametrize("update", [1, 3, 30])
def test_infinite_loss_ignored(update):
    x, y = diverging(update, 30)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model = steep()
        history = fn.fit(
            model,
            (x, y),
            **{"batch_size": 10, "shuffle": False, "seed": 1, "plan": plan, "on_nonfinite": "ignore"},
        )
        assert history.stopped is None
        assert len(history.updates["loss"]) == 30
        results.append((history.updates["loss"], [param.value for param in model.parameters()]))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert not np.isfinite(results[0][0][-1])
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("on_nonfinite", ["raise", "stop"])
def test_divergence_by_a_large_rate(on_nonfinite, snapshot):
    """Nobody planted it: after some updates the loss is infinite."""
    x, _ = batch(rows=100)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer, history = small_net(fn.Dropout(0.1)), fn.SGD(lr=20.0), fn.History()
        options = {"batch_size": 8, "epochs": 50, "seed": 1, "plan": plan, "on_nonfinite": on_nonfinite}
        options |= {"loss": "squared_error", "optimizer": optimizer, "history": history}
        fails = pytest.raises(fn.NonFiniteError) if on_nonfinite == "raise" else nullcontext()
        with fails as error:
            fn.fit(model, (x, x[:, :3]), **options)
        reason = history.stopped if error is None else str(error.value)
        assert f"at update {len(history.updates['loss']) + 1}:" in reason
        results.append((history.as_dict(), snapshot(model, optimizer)))
    assert results[0] == results[1]
    assert 2 < len(history.updates["loss"]) < 600
    assert all(np.isfinite(param.value).all() for param in model.parameters())


@pytest.mark.parametrize("on_nonfinite", ["raise", "stop"])
def test_training_goes_on_after_a_failure(on_nonfinite, snapshot):
    x, y = diverging(5, 10)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer, history = steep(), fn.Adam(), fn.History()
        options = {"batch_size": 10, "shuffle": False, "seed": 1, "plan": plan, "on_nonfinite": on_nonfinite}
        options |= {"optimizer": optimizer, "history": history}
        with pytest.raises(fn.NonFiniteError) if on_nonfinite == "raise" else nullcontext():
            fn.fit(model, (x, y), **options)
        fn.fit(model, (x[:40], y[:40]), **options)
        results.append((history.as_dict(), snapshot(model, optimizer)))
    assert results[0] == results[1]
    assert len(results[0][0]["updates"]["loss"]) == 8


def test_labels_spoilt_while_fit_runs():
    """The door says which label is wrong, and no weight was changed by it."""
    x, y = batch(64)
    y = np.array(y)
    model = small_net(fn.ReLU())
    weights = []

    class Spoiling(fn.History):
        def add_epoch(self, values):
            super().add_epoch(values)
            if len(self["loss"]) == 3:
                y[5] = CLASSES
                weights.extend(param.value for param in model.parameters())

    with pytest.raises(ValueError, match=f"label.*{CLASSES}"):
        fn.fit(model, (x, y), history=Spoiling(), epochs=9, batch_size=64, seed=0)
    for param, before in zip(model.parameters(), weights, strict=True):
        np.testing.assert_array_equal(param.value, before)
