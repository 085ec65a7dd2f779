"""Checkpoints: a training that is killed at any moment and restarted ends with the same bits."""

import inspect
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnn as fn
from fastnn.optim.schedules import OneCycle, Plateau
from tests.kernels.children import TESTS_ON_PATH
from tests.systems import needs_kill


def images(count=210):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 10, 10)).astype(np.uint8), rng.integers(0, 3, count)


def net():
    fn.manual_seed(0)
    return fn.Sequential(
        fn.Conv2d(1, 4, 3),
        fn.BatchNorm2d(4),
        fn.ReLU(),
        fn.Flatten(),
        fn.Dropout(0.3),
        fn.Linear(256, 3),
    )


OPTIMIZERS = {
    "sgd": lambda: fn.SGD(0.05),
    "nesterov": lambda: fn.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: fn.Adam(0.01),
    "adamw": lambda: fn.AdamW(0.01),
    "rmsprop": lambda: fn.RMSprop(0.001, momentum=0.5, centered=True),
}


class Interrupt(fn.Callback):
    """Presses Ctrl-C once, after this many updates."""

    def __init__(self, updates):
        self.updates = updates

    def on_update(self, training, loss):
        if training.updates == self.updates:
            self.updates = None
            signal.raise_signal(signal.SIGINT)


def train(path, interrupt=None, *, epochs=3, callbacks=(), optimizer=None, data=None, **options):
    """Restart a training until it finishes; returns all its bits."""
    callbacks = list(callbacks)
    again = Interrupt(interrupt)
    while True:
        model, history = net(), fn.History()
        optimizer_now = (optimizer or OPTIMIZERS["adam"])()
        ema = fn.EMA(0.9)
        settings = {
            "validation": images(30),
            "batch_size": 16,
            "epochs": epochs,
            "seed": 1,
            "progress": False,
            "augment": fn.augment.Rotate(10),
            "ema": ema,
            **options,
        }
        try:
            fn.fit(
                model,
                data or images(),
                optimizer=optimizer_now,
                callbacks=[again, *callbacks],
                checkpoint=path,
                history=history,
                **settings,
            )
        except KeyboardInterrupt:
            continue
        return bits(model, optimizer_now, ema, history)


def bits(model, optimizer, ema, history):
    state = optimizer.state_dict(model.parameters()) | {f"ema {k}": v for k, v in ema.state_dict().items()}
    arrays = [held.value for held in (*model.parameters(), *model.buffers())]
    arrays += [np.asarray(state[name]) for name in sorted(state)]
    return b"".join(array.tobytes() for array in arrays) + json.dumps(history.as_dict()).encode()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("interrupt", [1, 13, 14, 15, 29, 42])
def test_interrupted_training_ends_with_the_same_bits(tmp_path, name, interrupt):
    """14 updates per epoch, the last with a smaller batch; interrupted mid-epoch, at its end, after it."""
    optimizer = OPTIMIZERS[name]
    wanted = train(tmp_path / "whole", optimizer=optimizer)
    assert train(tmp_path / "parts", interrupt, optimizer=optimizer) == wanted


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": OneCycle()},
        {"clip_norm": 0.1},
        {"plan": False},
        {"shuffle": False},
        {"augment": None},
        {"callbacks": [fn.EarlyStopping(patience=1)], "epochs": 6},
        {"metrics": [lambda outputs, targets: float(outputs.max())]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_interrupted_training_with_other_options_ends_with_the_same_bits(tmp_path, options):
    wanted = train(tmp_path / "whole", **options)
    for interrupt in (5, 20):
        assert train(tmp_path / f"{interrupt}", interrupt, **options) == wanted


def test_schedule_with_a_state_resumes(tmp_path):
    def options():
        return {"schedule": Plateau("loss", patience=0, threshold=0.9), "epochs": 4}

    wanted = train(tmp_path / "whole", **options())
    for interrupt in (20, 35):
        path = tmp_path / f"{interrupt}"
        with pytest.raises(KeyboardInterrupt):
            fit_once(path, Interrupt(interrupt), **options())
        assert train(path, **options()) == wanted


def fit_once(path, callback, **options):
    settings = {
        "validation": images(30),
        "batch_size": 16,
        "seed": 1,
        "progress": False,
        "augment": fn.augment.Rotate(10),
        "ema": fn.EMA(0.9),
        **options,
    }
    fn.fit(net(), images(), optimizer=fn.Adam(0.01), callbacks=[callback], checkpoint=path, **settings)


def test_number_of_threads_may_change_on_resume(tmp_path):
    before = fn.get_num_threads()
    try:
        fn.set_num_threads(1)
        wanted = train(tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            fit_once(tmp_path / "parts", Interrupt(20), epochs=3)
        fn.set_num_threads(2)
        assert train(tmp_path / "parts") == wanted
    finally:
        fn.set_num_threads(before)


def test_drawn_key_is_kept_on_resume(tmp_path):
    """Without a seed, the checkpoint holds the key of the first start."""
    fn.manual_seed(5)
    with pytest.raises(KeyboardInterrupt):
        fit_once(tmp_path / "a", Interrupt(20), seed=None, epochs=2)
    seen = []
    for _ in range(2):
        content = (tmp_path / "a").read_bytes()
        history = fn.History()
        fit_once(tmp_path / "a", Interrupt(None), seed=None, epochs=2, history=history)
        seen.append(history.updates["loss"])
        (tmp_path / "a").write_bytes(content)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 28


def test_finished_training_returns_its_result(tmp_path):
    first = train(tmp_path / "a")
    assert train(tmp_path / "a") == first


# --- kill -9 ---


def child_train(path, out):
    """Train with a checkpoint after every run of updates; at the end write all bits to a file."""
    import sys
    from pathlib import Path

    import fastnn as fn
    from tests.training.test_resume import OPTIMIZERS, bits, images, net

    print("ready", flush=True)
    model, optimizer, ema, history = net(), OPTIMIZERS["nesterov"](), fn.EMA(0.9), fn.History()
    fn.fit(
        model,
        images(),
        optimizer=optimizer,
        callbacks=[type("EveryUpdate", (fn.Callback,), {"on_update": lambda *a: None})()],
        checkpoint=fn.Checkpoint(path, seconds=0),
        batch_size=16,
        epochs=20,
        seed=1,
        augment=fn.augment.Rotate(10),
        ema=ema,
        history=history,
        progress=False,
    )
    Path(out).write_bytes(bits(model, optimizer, ema, history))
    sys.exit(0)


def start(path, out):
    code = f"{TESTS_ON_PATH}\n{inspect.getsource(child_train)}\nchild_train({str(path)!r}, {str(out)!r})"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


@needs_kill
def test_training_killed_twenty_times_ends_with_the_same_bits(tmp_path):
    began = time.perf_counter()
    with start(tmp_path / "whole.checkpoint", tmp_path / "whole") as whole:
        assert whole.wait(60) == 0
    taken = time.perf_counter() - began
    rng = np.random.default_rng()  # kills at other times in every run
    path, out = tmp_path / "killed.checkpoint", tmp_path / "killed"
    kills = 0
    while kills < 20:
        with start(path, out) as child:
            child.stdout.readline()
            time.sleep(rng.random() * taken / 15)
            if child.poll() is None:
                child.kill()
                kills += 1
        if out.exists():  # it had finished: start again
            assert out.read_bytes() == (tmp_path / "whole").read_bytes()
            out.unlink()
            path.unlink()
    with start(path, out) as last:
        assert last.wait(60) == 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


# --- rejected checkpoints ---


def test_resume_requires_or_forbids_a_checkpoint(tmp_path):
    model = net()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        fn.fit(model, images(), checkpoint=tmp_path / "a", resume=True, progress=False)
    train(tmp_path / "a", epochs=1)
    with pytest.raises(FileExistsError, match='resume="auto"'):
        fn.fit(model, images(), checkpoint=tmp_path / "a", resume=False, progress=False)
    with pytest.raises(ValueError, match="resume must be"):
        fn.fit(model, images(), checkpoint=tmp_path / "b", resume="yes", progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch_size was 16, is 8"),
        ({"seed": 2}, "seed was 1, is 2"),
        ({"data": (images()[0], images()[1][::-1].copy())}, "data.y was 'int64 (210,)"),
        ({"validation": None}, "validation.x was 'uint8 (30, 10, 10)"),
        (
            {"optimizer": OPTIMIZERS["sgd"]},
            "optimizer.class was 'fastnn.optim.optimizers.Adam', is 'fastnn.optim.optimizers.SGD'",
        ),
        ({"clip_norm": 1.0}, "clip_norm was None, is 1.0"),
        ({"micro_batch": 4}, "micro_batch was None, is 4"),
        ({"augment": None}, "augment.class was"),
        ({"schedule": OneCycle()}, "schedule was None, is missing"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_checkpoint_of_another_training_is_rejected(tmp_path, change, message):
    path = tmp_path / "a"
    train(path, epochs=1)
    before = path.read_bytes()
    with pytest.raises(fn.CheckpointError, match="another training") as error:
        train(path, epochs=1, **change)
    assert message in str(error.value)
    assert path.read_bytes() == before


def test_checkpoint_of_another_model_changes_nothing(tmp_path):
    train(tmp_path / "a", epochs=1)
    fn.manual_seed(0)
    model = fn.Sequential(fn.Flatten(), fn.Linear(100, 3))
    before = [p.value for p in model.parameters()]
    with pytest.raises(fn.CheckpointError, match="another training: model"):
        fn.fit(model, images(), checkpoint=tmp_path / "a", progress=False)
    assert all(np.array_equal(p.value, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("spoil", ["truncated", "empty", "noise", "weights"])
def test_damaged_or_foreign_file_is_rejected_and_kept(tmp_path, spoil):
    path = tmp_path / "a"
    train(path, epochs=1)
    if spoil == "weights":
        fn.save(net(), path)
    else:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[:-100], "empty": b"", "noise": bytes(1000)}[spoil])
    before = path.read_bytes()
    with pytest.raises(fn.CheckpointError, match="not a readable checkpoint"):
        train(path, epochs=1)
    assert path.read_bytes() == before


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a"
    train(path, epochs=1)
    before = path.read_bytes()

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastnn.training.resume.write_atomic", full)
    with pytest.warns(UserWarning, match="No space left"):
        train(path, epochs=2)
    assert path.read_bytes() == before


def test_more_epochs_resume_where_fewer_ended(tmp_path):
    wanted = train(tmp_path / "whole", epochs=3)
    train(tmp_path / "parts", epochs=1)
    assert train(tmp_path / "parts", epochs=3) == wanted
