"""How a training ends: every way out tells the callbacks, and the best weights are restored."""

import signal
import threading

import numpy as np
import pytest

import fastnn as fn


def data(count=64):
    rng = np.random.default_rng(0)
    return rng.random((count, 6), np.float32), rng.integers(0, 3, count)


def net(dtype=np.float32):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 8), fn.BatchNorm1d(8), fn.Tanh(), fn.Linear(8, 3)).to(dtype)


def held(model):
    return [each.value.tobytes() for each in (*model.parameters(), *model.buffers())]


class Endings(fn.Callback):
    """Keeps the weights and buffers after each epoch, and how the training ended."""

    def __init__(self):
        self.after, self.ended = [], []

    def on_epoch_end(self, training, values):
        self.after.append(held(training.model))

    def on_train_end(self, training):
        self.ended.append("end")

    def on_exception(self, training, error):
        self.ended.append(type(error).__name__)


class Worse(fn.Callback):
    """Raises the rate after the second epoch, so that later epochs are worse; calls `then` in the fourth."""

    def __init__(self, then):
        self.then = then

    def on_epoch_end(self, training, values):
        if training.epoch == 1:
            training.optimizer.lr = 30.0
        if training.epoch == 3:
            self.then(training)


def interrupt(training):
    raise KeyboardInterrupt


def fail(training):
    raise LookupError("mine")


def stop(training):
    training.stop("enough")


def diverge(training):
    weight = training.model[0].weight
    weight.value = np.full(weight.shape, np.nan)


WAYS = {
    "to the last epoch": (lambda training: None, None, "end"),
    "stopped by a callback": (stop, None, "end"),
    "loss not finite": (diverge, None, "end"),
    "Ctrl-C": (interrupt, KeyboardInterrupt, "KeyboardInterrupt"),
    "exception of a callback": (fail, LookupError, "LookupError"),
}


def run(then, raises, *, restore_best=True, **options):
    """Train until `then` ends the training; returns the model, the stopping and the diary."""
    model, diary = net(), Endings()
    stopping = fn.EarlyStopping("val_loss", patience=50, restore_best=restore_best)
    options = {"epochs": 6, "seed": 0, "optimizer": fn.SGD(0.5), "on_nonfinite": "stop", **options}

    def train():
        return fn.fit(
            model, data(), validation=data(), callbacks=[diary, stopping, Worse(then)], watch=False, **options
        )

    if raises is None:
        return model, stopping, diary, train()
    with pytest.raises(raises):
        train()
    return model, stopping, diary, None


@pytest.mark.parametrize("way", WAYS)
def test_best_weights_are_restored_on_every_way_out(way):
    then, raises, ended = WAYS[way]
    model, stopping, diary, history = run(then, raises)
    assert stopping.best_epoch < len(diary.after) - 1
    assert held(model) == diary.after[stopping.best_epoch] != diary.after[-1]
    assert diary.ended == [ended]
    if way == "loss not finite":
        assert "the loss is nan" in history.stopped


@pytest.mark.parametrize("way", ["Ctrl-C", "exception of a callback", "to the last epoch"])
def test_restore_best_false_keeps_the_last_weights_on_every_way_out(way):
    then, raises, _ = WAYS[way]
    model, _, diary, _ = run(then, raises, restore_best=False)
    assert held(model) == diary.after[-1]


@pytest.mark.parametrize("way", ["Ctrl-C", "loss not finite"])
def test_averaged_weights_are_restored(way):
    then, raises, _ = WAYS[way]
    ema = fn.EMA(0.5)
    model, stopping, _, _ = run(then, raises, ema=ema)
    assert fn.evaluate(model, data())["loss"] == stopping.best


@pytest.mark.parametrize("plan", [True, False])
def test_raising_at_a_loss_that_is_not_finite_restores_the_best_weights(plan):
    model, stopping, diary, _ = run(diverge, fn.NonFiniteError, on_nonfinite="raise", plan=plan)
    assert held(model) == diary.after[stopping.best_epoch]
    assert diary.ended == ["NonFiniteError"]


def test_ctrl_c_in_the_middle_of_an_epoch_restores_the_best_weights():
    class Interrupting(fn.Callback):
        def on_update(self, training, loss):
            if training.updates == 7:
                raise KeyboardInterrupt

    model, diary, stopping = net(), Endings(), fn.EarlyStopping("loss")
    with pytest.raises(KeyboardInterrupt):
        fn.fit(model, data(), callbacks=[diary, stopping, Interrupting()], epochs=9)
    assert len(diary.after) == 3
    assert held(model) == diary.after[stopping.best_epoch]


def test_checkpoint_keeps_the_last_weights_when_the_best_ones_are_restored(tmp_path):
    """A resumed training ends with the bits of one that was never interrupted."""

    def train(callback, path):
        model = net()
        callbacks = [fn.EarlyStopping("val_loss", patience=50), callback]
        options = {"epochs": 6, "seed": 0, "optimizer": fn.SGD(2.0), "checkpoint": tmp_path / path}
        history = fn.fit(model, data(), validation=data(), callbacks=callbacks, **options)
        return held(model), history.as_dict()

    with pytest.raises(KeyboardInterrupt):
        train(lambda training: interrupt(training) if training.epoch == 3 else None, "a")
    assert train(lambda training: None, "a") == train(lambda training: None, "b")


def test_nothing_is_restored_before_the_first_epoch_has_ended():
    """Nor the best weights of an earlier training with the same callback."""
    stopping = fn.EarlyStopping("loss")
    fn.fit(net(), data(), callbacks=stopping, epochs=3)

    class AtOnce(fn.Callback):
        def __init__(self, event):
            setattr(self, event, lambda *_: interrupt(None))

    for event in ("on_train_begin", "on_epoch_begin"):
        for callbacks in ([stopping, AtOnce(event)], [AtOnce(event), stopping]):
            model = net()
            before = held(model)
            with pytest.raises(KeyboardInterrupt):
                fn.fit(model, data(), callbacks=callbacks)
            assert held(model) == before


def test_all_callbacks_hear_of_an_exception_even_if_one_of_them_fails():
    class Failing(fn.Callback):
        def on_exception(self, training, error):
            raise ValueError("of the callback")

    first, last = Endings(), Endings()
    with pytest.raises(LookupError, match="mine") as found:
        fn.fit(net(), data(), callbacks=[first, Failing(), last, fail])
    assert first.ended == last.ended == ["LookupError"]
    assert "Failing object" in found.value.__notes__[0]
    assert "raised ValueError: of the callback" in found.value.__notes__[0]


def test_learning_rate_is_restored_on_every_way_out():
    for then, raises, _ in WAYS.values():
        optimizer = fn.SGD(0.5)
        schedule = fn.schedules.Cosine()
        callbacks = [lambda training, then=then: then(training)]
        options = {"optimizer": optimizer, "schedule": schedule, "on_nonfinite": "stop", "epochs": 2}
        if raises is None:
            fn.fit(net(), data(), callbacks=callbacks, **options)
        else:
            with pytest.raises(raises):
                fn.fit(net(), data(), callbacks=callbacks, **options)
        assert optimizer.lr == 0.5


def test_thread_that_is_stopped_from_outside_restores_the_best_weights():
    from fastnn.training.interrupts import stopped_by

    event, model, diary, stopping = threading.Event(), net(), Endings(), fn.EarlyStopping("loss")

    def train():
        with stopped_by(event), pytest.raises(KeyboardInterrupt):
            fn.fit(model, data(), callbacks=[diary, stopping, at_third], epochs=100)

    def at_third(training):
        if training.epoch == 2:
            event.set()

    thread = threading.Thread(target=train)
    thread.start()
    thread.join(60)
    assert held(model) == diary.after[stopping.best_epoch]
    assert diary.ended == ["KeyboardInterrupt"]


def test_checkpoint_that_cannot_be_written_still_restores_the_best_weights(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError("no space left on device")

    monkeypatch.setattr("fastnn.training.resume.write_atomic", full)
    ctrl_c = lambda training: signal.raise_signal(signal.SIGINT), KeyboardInterrupt
    for then, error in (ctrl_c, (lambda training: None, None)):
        with pytest.warns(UserWarning, match="cannot write the checkpoint .* no space left on device"):
            model, stopping, diary, _ = run(then, error, checkpoint=tmp_path / "c")
        assert held(model) == diary.after[stopping.best_epoch] != diary.after[-1]


class Fails(fn.Callback):
    """Raises in the method `event`."""

    def __init__(self, event):
        def raise_error(*_):
            raise LookupError(event)

        setattr(self, event, raise_error)


@pytest.mark.parametrize("events", [("on_train_end",), ("on_train_end", "on_train_end")])
def test_a_callback_that_fails_at_the_end_does_not_keep_the_others_from_theirs(events):
    endings, model = Endings(), net()
    stopping = fn.EarlyStopping("loss", patience=9)
    callbacks = [Worse(lambda _: None), *map(Fails, events), endings, stopping]
    with pytest.raises(LookupError):
        fn.fit(model, data(), epochs=6, callbacks=callbacks)
    assert endings.ended == ["end"]
    assert held(model) == endings.after[stopping.best_epoch] != endings.after[-1]


def test_a_callback_that_fails_at_the_beginning_is_an_exception_for_the_others():
    endings = Endings()
    with pytest.raises(LookupError):
        fn.fit(net(), data(), callbacks=[endings, Fails("on_train_begin")])
    assert endings.ended == ["LookupError"]
