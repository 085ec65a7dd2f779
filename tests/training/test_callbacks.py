"""Callbacks: when they are called and what they may change; early stopping; metrics after every epoch."""

import numpy as np
import pytest

import fastnn as fn


def data(count=100):
    rng = np.random.default_rng(0)
    return rng.random((count, 6), np.float32), rng.integers(0, 3, count)


def net():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 8), fn.Tanh(), fn.Dropout(0.1), fn.Linear(8, 3))


def fit(*callbacks, **options):
    model = options.pop("model", None) or net()
    options = {"epochs": 2, "batch_size": 40, "seed": 1, "progress": False, **options}
    return model, fn.fit(model, data(), callbacks=callbacks, **options)


def weights(model):
    return [p.value for p in model.parameters()]


class Diary(fn.Callback):
    def __init__(self):
        self.lines = []

    def on_train_begin(self, training):
        self.lines.append(f"begin {training.updates}")

    def on_epoch_begin(self, training):
        self.lines.append(f"epoch {training.epoch}")

    def on_update(self, training, loss):
        assert loss == training.history.updates["loss"][-1]
        self.lines.append(f"update {training.updates}")

    def on_epoch_end(self, training, values):
        assert training.history["loss"][-1] == values["loss"]
        self.lines.append(f"end {training.epoch}")

    def on_train_end(self, training):
        self.lines.append("done")


class EpochsOnly(fn.Callback):
    def on_epoch_end(self, training, values):
        self.last = training.epoch


def test_callbacks_are_called_in_order():
    diary = Diary()
    fit(diary)
    first = ["epoch 0", "update 1", "update 2", "update 3", "end 0"]
    second = ["epoch 1", "update 4", "update 5", "update 6", "end 1"]
    assert diary.lines == ["begin 0", *first, *second, "done"]


@pytest.mark.parametrize("plan", [True, False])
def test_callbacks_do_not_change_the_training(plan):
    wanted = weights(fit(plan=plan)[0])
    for callback in (Diary(), EpochsOnly(), lambda training: None):
        for one, other in zip(weights(fit(callback, plan=plan)[0]), wanted, strict=True):
            assert one.tobytes() == other.tobytes()


def test_updates_run_in_batches_unless_a_callback_overrides_on_update(monkeypatch):
    """An epoch of 50 batches of equal size: one recorded step, then one native run."""
    calls = []
    updates_from = fn.Trainer.updates_from
    monkeypatch.setattr(
        fn.Trainer, "updates_from", lambda self, *a: (calls.append(1), updates_from(self, *a))[1]
    )
    monkeypatch.setattr("fastnn.training.plans.RUN_SECONDS", 60)
    for callback, wanted in ((EpochsOnly(), 2), (lambda training: None, 2), (Diary(), 50)):
        calls.clear()
        fit(callback, batch_size=2, epochs=1)
        assert len(calls) == wanted


def test_function_is_called_after_every_epoch():
    seen = []
    fit(lambda training: seen.append((training.epoch, training.updates, len(training.history["loss"]))))
    assert seen == [(0, 3, 1), (1, 6, 2)]


def test_callback_may_stop_after_an_epoch_or_an_update():
    _, history = fit(lambda training: training.stop("enough"), epochs=5)
    assert history.stopped == "enough"
    assert history.epochs == 1

    class AfterFour(fn.Callback):
        def on_update(self, training, loss):
            if training.updates == 4:
                training.stop("four")

    _, history = fit(AfterFour(), epochs=5)
    assert history.stopped == "four"
    assert len(history.updates["loss"]) == 4
    assert history.epochs == 1


def test_callback_may_change_the_learning_rate():
    optimizer = fn.SGD(0.5)

    class Freeze(fn.Callback):
        def on_update(self, training, loss):
            if training.updates == 2:
                training.optimizer.lr = 0.0
                self.weights = weights(training.model)

    freeze = Freeze()
    model, _ = fit(freeze, optimizer=optimizer)
    for one, other in zip(weights(model), freeze.weights, strict=True):
        assert one.tobytes() == other.tobytes()


def test_callback_may_evaluate_the_model_but_not_step_it():
    def look(training):
        assert training.model.predict(data()[0]).shape == (100, 3)
        assert fn.evaluate(training.model, data())["loss"] > 0

    wanted = weights(fit()[0])
    for one, other in zip(weights(fit(look)[0]), wanted, strict=True):
        assert one.tobytes() == other.tobytes()


def test_exception_of_a_callback_propagates_and_keeps_the_history():
    history = fn.History()

    def fail(training):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(fail, history=history)
    assert history.epochs == 1
    assert len(history.updates["loss"]) == 3


def test_invalid_callbacks_raise():
    with pytest.raises(TypeError, match="parentheses"):
        fit(fn.EarlyStopping)
    with pytest.raises(TypeError, match=r"fn.Callback objects or functions, not 3"):
        fit(3)


# --- early stopping ---


class Scripted(fn.Callback):
    """Sets the values of each epoch before the next callback sees them, and sets the weights to the epoch."""

    def __init__(self, name, values):
        self.name, self.values = name, values

    def on_epoch_end(self, training, values):
        values[self.name] = self.values[training.epoch]
        for param in training.model.parameters():
            param.value = np.full(param.shape, training.epoch)


@pytest.mark.parametrize(
    ("options", "values", "epochs", "best"),
    [
        ({"patience": 2}, [3, 2, 2, 2.5, 1], 4, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.2, 1], 5, 4),
        ({"patience": 1}, [3, 2, 1, 0.5, 0.4], 5, 4),
        ({"patience": 0}, [3, 2, 2, 1, 0], 3, 1),
        ({"patience": 1, "monitor": "val_accuracy"}, [0.5, 0.7, 0.6, 0.9, 1], 3, 1),
        ({"patience": 1, "mode": "max"}, [1, 2, 1, 5, 6], 3, 1),
        ({"patience": 1}, [np.nan, 1, np.nan, 0, 0], 1, None),
    ],
)
def test_early_stopping_matches_a_hand_computation(options, values, epochs, best):
    stopping = fn.EarlyStopping(**options)
    model, history = fit(Scripted(stopping.monitor, values), stopping, validation=data(), epochs=5)
    assert history.epochs == epochs
    assert (history.stopped is None) == (epochs == 5)
    if best is not None:
        assert stopping.best_epoch == best
        assert all((p.value == best).all() for p in model.parameters())


def test_restore_best_false_keeps_the_last_weights():
    stopping = fn.EarlyStopping(patience=1, restore_best=False)
    model, history = fit(Scripted("val_loss", [1, 2, 3]), stopping, validation=data(), epochs=3)
    assert "val_loss has not improved for 1 epochs; its best value is 1, of epoch 1" in history.stopped
    assert all((p.value == 1).all() for p in model.parameters())


def test_early_stopping_resets_for_a_new_training():
    stopping = fn.EarlyStopping("loss", patience=1)
    for _ in range(2):
        _, history = fit(stopping, optimizer=fn.SGD(0.5), epochs=3)
        assert history.epochs == 3


def test_early_stopping_names_the_missing_curve():
    with pytest.raises(ValueError, match="validation"):
        fit(fn.EarlyStopping())
    for options in ({"patience": -1}, {"min_delta": -1}, {"mode": "best"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            fn.EarlyStopping(**options)
    for make in (fn.EarlyStopping, fn.schedules.Plateau):
        with pytest.raises(TypeError, match="monitor must be the name of a curve, such as 'val_loss', not 3"):
            make(3)


# --- metrics ---


def certainty(outputs, targets):
    assert outputs.shape == (len(targets), 3)
    return np.ptp(outputs, axis=1).mean()


def test_metrics_are_computed_after_every_epoch():
    model, history = fit(validation=data(30), metrics=[certainty, *()], epochs=3)
    assert len(history["val_certainty"]) == 3
    assert history["val_certainty"][-1] == fn.evaluate(model, data(30), metrics={"mine": certainty})["mine"]
    _, history = fit(validation=data(30), metrics={"spread": certainty})
    assert "val_spread" in history


def test_invalid_metrics_raise():
    for metrics, message in (
        ([certainty, certainty], "two metrics are named 'certainty'"),
        ({"loss": certainty}, "always reported"),
    ):
        with pytest.raises(ValueError, match=message):
            fn.evaluate(net(), data(), metrics=metrics)
    with pytest.raises(TypeError, match="must be a function"):
        fn.evaluate(net(), data(), metrics={"a": 3})
