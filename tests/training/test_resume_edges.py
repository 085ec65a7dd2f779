"""Checkpoints at awkward moments, and checkpoints of almost equal trainings."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastnn as fn


class Killed(BaseException):
    """Ends a training like a kill: fastnn does not catch it."""


class KillAt(fn.Callback):
    def __init__(self, updates):
        self.updates = updates

    def on_update(self, training, loss):
        if training.updates == self.updates:
            raise Killed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


@pytest.fixture
def train(make_model, blobs):
    """A function: train 3 epochs of 4 updates; returns the bytes of history, weights and optimizer state."""

    def run(*, model=None, optimizer=None, **options):
        model, optimizer = model or make_model(rate=0.2), optimizer or fn.Adam(lr=0.01)
        settings = {"validation": blobs, "batch_size": 16, "epochs": 3, "seed": 0, "progress": False}
        history = fn.fit(model, blobs, optimizer=optimizer, **{**settings, **options})
        found = {name: array.tobytes() for name, array in history_arrays(history).items()}
        for name, param in model.named_parameters():
            state = optimizer.state(param)
            arrays = {"value": param.value, "steps": state.counter, **state}
            found |= {f"{name} {key}": array.tobytes() for key, array in arrays.items()}
        return found | {f"random {n}": state.tobytes() for n, state in enumerate(model.random_states())}

    return run


def history_arrays(history):
    curves = {name: np.array(curve) for name, curve in history.items()}
    return curves | {f"updates {name}": np.array(curve) for name, curve in history.updates.items()}


# --- Ctrl-C ---


@pytest.mark.parametrize("press", ["Ctrl-C", "KeyboardInterrupt"])
@pytest.mark.parametrize("event", ["on_epoch_begin", "on_update", "on_epoch_end"])
def test_ctrl_c_in_a_callback(train, path, event, press):
    """Delayed or raised at once, no epoch is counted twice and none is lost."""

    class Press(fn.Callback):
        pressed = False

    def handle(self, training, *details):
        if training.updates >= 4 and not Press.pressed:
            Press.pressed = True
            if press == "KeyboardInterrupt":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)

    setattr(Press, event, handle)
    expected = train()
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=fn.Checkpoint(path, seconds=3600), callbacks=[Press()])
    assert path.exists() == (press == "Ctrl-C" or event == "on_epoch_begin")
    assert train(checkpoint=path) == expected


def test_ctrl_c_during_validation(train, path):
    calls = []

    def metric(outputs, targets):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 1

    expected = train(metrics={"m": lambda outputs, targets: 1})
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=path, metrics={"m": metric})
    assert path.exists()
    assert train(checkpoint=path, metrics={"m": metric}) == expected


def test_interrupted_update_is_not_saved(train, path):
    class Interrupted(fn.SGD):
        calls = 0

        def update(self, value, grad, state, lr):
            Interrupted.calls += 1
            if Interrupted.calls == 4 * 5 + 2:  # after one of the four parameters of the sixth update
                raise KeyboardInterrupt
            super().update(value, grad, state, lr)

    expected = train(optimizer=fn.SGD(0.1, momentum=0.9))
    with pytest.raises(KeyboardInterrupt):
        train(optimizer=Interrupted(0.1, momentum=0.9), checkpoint=fn.Checkpoint(path, seconds=0))
    assert train(optimizer=Interrupted(0.1, momentum=0.9), checkpoint=path) == expected


# --- restored state ---


def test_parameters_with_equal_names_keep_their_own_state(train, path):
    """Two layers inside a custom layer, whose parameters have equal names."""

    class Twice(fn.Layer):
        def __init__(self):
            fn.manual_seed(0)
            self.first, self.second = fn.Linear(6, 6), fn.Linear(6, 6)

        def forward(self, x, *, train=False):
            hidden, back = self.first.forward(x, train=train)
            outputs, last = self.second.forward(hidden, train=train)
            return outputs, lambda dy, *, need_dx=True: back(last(dy), need_dx=need_dx)

    expected = train(model=Twice())
    with pytest.raises(Killed):
        train(model=Twice(), checkpoint=fn.Checkpoint(path, seconds=0), callbacks=[KillAt(6)])
    assert train(model=Twice(), checkpoint=path) == expected


def test_frozen_parameters_and_learning_rate_are_restored(train, path):
    class Thaw(fn.Callback):
        def on_epoch_begin(self, training):
            training.model[0].set_lr_scale([0, 0.5, 0.25][training.epoch])
            training.optimizer.lr = [0.01, 0.02, 0.03][training.epoch]

    expected = train(callbacks=[Thaw()])
    with pytest.raises(Killed):
        train(checkpoint=fn.Checkpoint(path, seconds=0), callbacks=[Thaw(), KillAt(7)])
    assert train(checkpoint=path, callbacks=[Thaw()]) == expected


def test_decay_scales_are_restored(train, path):
    class Vary(fn.Callback):
        def on_epoch_begin(self, training):
            training.model.parameters()[0].decay_scale = [0, 2, 0.5][training.epoch]

    def adam():
        return fn.Adam(weight_decay=0.1)

    expected = train(optimizer=adam(), callbacks=[Vary()])
    checkpoint = fn.Checkpoint(path, seconds=0)
    with pytest.raises(Killed):
        train(optimizer=adam(), checkpoint=checkpoint, callbacks=[Vary(), KillAt(7)])
    assert train(optimizer=adam(), checkpoint=path, callbacks=[Vary()]) == expected


def test_temporary_files_of_dead_processes_are_removed(train, path):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    names = [
        f".checkpoint.{dead.pid}-1.tmp",
        f".checkpoint.{os.getpid()}-1.tmp",
        ".other.1-1.tmp",
        "mine.tmp",
    ]
    for name in names:
        (path.parent / name).touch()
    train(checkpoint=path)
    assert {entry.name for entry in path.parent.iterdir()} == {"checkpoint", *names[1:]}


def test_drawn_key_is_restored(train, path, make_model):
    def drawn(seed, **options):
        model = make_model(rate=0.2)
        fn.manual_seed(seed)  # the key is drawn from this generator
        return train(model=model, seed=None, **options)

    expected = drawn(5)
    assert drawn(6)["updates loss"] != expected["updates loss"]
    drawn(5, epochs=2, checkpoint=path)
    assert drawn(6, checkpoint=path) == expected


def test_early_stopping_keeps_its_count_on_resume(train, path):
    def waiting(kill=()):
        callbacks = [fn.EarlyStopping("val_loss", patience=3), *kill]
        return {"optimizer": fn.SGD(lr=0), "epochs": 9, "callbacks": callbacks}

    expected = train(**waiting())
    assert len(expected["val_loss"]) == 4 * 8
    with pytest.raises(Killed):
        train(checkpoint=fn.Checkpoint(path, seconds=0), **waiting([KillAt(10)]))
    assert train(checkpoint=path, **waiting()) == expected


# --- rejected checkpoints ---


@pytest.mark.parametrize("place", [0, 40, 200, -500, -30, -1])
def test_flipped_bit_is_detected(train, path, place):
    train(checkpoint=path)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(fn.CheckpointError, match="not a readable checkpoint"):
        train(checkpoint=path)
    assert path.read_bytes() == content


DIFFERENT = {
    "patience": (
        {"callbacks": [fn.EarlyStopping("loss", patience=9)]},
        r"callbacks\[0\].patience was 5, is 9",
    ),
    "class weights": ({"loss": fn.CrossEntropy(weight=[1, 2, 4])}, "loss.weight was '.*', is '.*'"),
    "threshold": ({"schedule": fn.schedules.Plateau("loss", threshold=0.5)}, "schedule.threshold was 0.0001"),
    "ema": ({"ema": 0.9999992}, "ema.decay was 0.9999991, is 0.9999992"),
    "dtype": ({"dtype": np.float64}, r"model.layers\[0\].weight was 'float32 .*', is 'float64"),
    "rate": ({"rate": 0.2000001}, r"model.layers\[2\].rate was 0.2, is 0.2000001"),
    "frozen": ({"frozen": True}, "lr_scale=1', is '.*lr_scale=0'"),
    "epochs": ({"epochs": 2}, "epochs"),
}


@pytest.mark.parametrize("change", DIFFERENT)
def test_almost_equal_training_is_rejected_and_nothing_changes(train, path, make_model, unchanged, change):
    def options(**changes):
        settings = {
            "callbacks": [fn.EarlyStopping("loss", patience=5)],
            "loss": fn.CrossEntropy(weight=[1, 2, 3]),
            "schedule": fn.schedules.Plateau("loss"),
            "ema": 0.9999991,
        }
        changed = {**settings, **changes}
        model = make_model(rate=changed.pop("rate", 0.2), dtype=changed.pop("dtype", np.float32))
        if changed.pop("frozen", False):
            model[0].set_lr_scale(0)
        return {**changed, "model": model, "checkpoint": path}

    train(**options())
    changes, words = DIFFERENT[change]
    content, changed = path.read_bytes(), options(**changes)
    with unchanged(changed["model"]), pytest.raises(fn.CheckpointError, match=words):
        train(**changed)
    assert path.read_bytes() == content
    train(**options())


def test_fewer_epochs_than_done_are_rejected(train, path):
    train(checkpoint=path)
    with pytest.raises(fn.CheckpointError, match="is in epoch 3 already, but epochs=2"):
        train(checkpoint=path, epochs=2)


class Counting(fn.Callback):
    """A user's callback with a setting, and with states in public attributes."""

    def __init__(self, every):
        self.every, self.epochs, self.losses = every, 0, []

    def on_epoch_end(self, training, values):
        self.epochs += 1
        self.losses.append(values["loss"])

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


def test_a_callback_that_has_counted_resumes_its_own_training(train, path):
    """In a notebook, the same object is used again after Ctrl-C."""
    expected, counting = train(), Counting(2)
    with pytest.raises(Killed):
        train(checkpoint=fn.Checkpoint(path, seconds=0), callbacks=[counting, KillAt(7)])
    assert counting.epochs == 1
    assert train(checkpoint=path, callbacks=[counting]) == expected
    assert counting.epochs == 3
    with pytest.raises(fn.CheckpointError, match=r"callbacks\[0\].every was 2, is 3"):
        train(checkpoint=path, callbacks=[Counting(3)])


def test_stateless_callbacks_may_differ_on_resume(train, path):
    expected = train(checkpoint=path, callbacks=[lambda training: None])
    assert train(checkpoint=path, callbacks=[KillAt(999), lambda training: None]) == expected


# --- early stopping ---


def test_early_stopping_restores_the_best_averages(make_model, blobs):
    """Noisy labels, so that the weights soon overfit."""
    x, y = blobs
    model, held_out = make_model(), (x[40:], y[40:])
    stopping = fn.EarlyStopping("val_loss", patience=3)
    history = fn.fit(
        *(model, (x[:40], np.roll(y[:40], 1) * (np.arange(40) % 2) + y[:40] * (1 - np.arange(40) % 2))),
        **{"validation": held_out, "ema": 0.9, "epochs": 100, "optimizer": fn.Adam(lr=0.05), "seed": 0},
        callbacks=[stopping],
    )
    assert history.stopped is not None
    assert fn.evaluate(model, held_out)["loss"] == stopping.best == min(history["val_loss"])


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        *((name, "min") for name in ("loss", "val_loss", "val_error")),
        *(
            (name, "max")
            for name in ("accuracy", "val_accuracy", "val_top3", "val_recall", "val_f1", "val_auc")
        ),
    ],
)
def test_direction_of_improvement_follows_from_the_name(monitor, mode):
    assert fn.EarlyStopping(monitor).mode == mode
    assert fn.EarlyStopping(monitor, mode="min").mode == "min"


def test_unknown_direction_of_improvement_raises():
    with pytest.raises(ValueError, match="are larger or smaller values of 'val_dice' better"):
        fn.EarlyStopping("val_dice")
