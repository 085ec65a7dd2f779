"""`fn.StopWhenStill`: the training ends when an update hardly changes the weights."""

import copy
import signal

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels.plan import WeightChange

rng = np.random.default_rng(0)
DATA = rng.standard_normal((40, 6)).astype(np.float32), rng.integers(0, 3, 40)


def net(dtype=np.float32):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 8), fn.Tanh(), fn.Linear(8, 3)).to(dtype)


def fit(model, *callbacks, **options):
    options = {"batch_size": 40, "epochs": 60, "optimizer": fn.SGD(0.1), **options}
    return fn.fit(model, DATA, seed=0, progress=False, callbacks=callbacks, **options)


class Changes(fn.Callback):
    """The norms of the changes, as NumPy computes them."""

    def on_train_begin(self, training):
        self.norms = []
        self.before = [p.value.astype(float) for p in training.model.parameters()]

    def on_update(self, training, loss):
        now = [p.value.astype(float) for p in training.model.parameters()]
        squares = (((a - b) ** 2).sum() for a, b in zip(now, self.before, strict=True))
        self.norms.append(float(np.sqrt(sum(squares))))
        self.before = now


@pytest.fixture(scope="module")
def norms():
    changes = Changes()
    fit(net(), changes)
    return changes.norms


def just_above(norm):
    """A bound that does not depend on the order of the sum."""
    return norm * (1 + 1e-9)


def first_below(norms, bound):
    return next(update for update, norm in enumerate(norms, 1) if norm <= bound)


@pytest.mark.parametrize("options", [{}, {"plan": False}, {"fuse": False}], ids=["plan", "layers", "unfused"])
def test_training_ends_at_the_first_update_whose_change_is_small(norms, options):
    bound = just_above(sorted(norms)[20])
    model = net()
    history = fit(model, fn.StopWhenStill(bound), **options)
    expected = first_below(norms, bound)
    assert 1 < expected < 60
    assert len(history.updates["loss"]) == expected
    assert (
        history.stopped == f"an update changed the weights by only {norms[expected - 1]:.3g} (StopWhenStill)"
    )
    same = net()
    fit(same, epochs=expected)
    assert [p.value.tobytes() for p in model.parameters()] == [p.value.tobytes() for p in same.parameters()]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "batch_size": 8},
        {"optimizer": fn.SGD(0.2, momentum=0.5), "clip_norm": 0.1, "batch_size": 12},
        {"ema": 0.9, "schedule": fn.schedules.Cosine()},
        {"micro_batch": 16},
        {"micro_batch": 16, "plan": False},
    ],
    ids=["adam", "clipped momentum, an odd last batch", "ema and schedule", "pieces", "pieces without plans"],
)
def test_any_optimizer_and_batch_size(options):
    """The bound is the smallest change of the first half, in the middle of an epoch or not."""
    changes = Changes()
    fit(net(), changes, **copy.deepcopy(options))
    bound = just_above(min(changes.norms[: len(changes.norms) // 2]))
    history = fit(net(), fn.StopWhenStill(bound), **copy.deepcopy(options))
    assert len(history.updates["loss"]) == first_below(changes.norms, bound)


def test_double_precision_and_frozen_parameters():
    changes, model = Changes(), net(np.float64)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        next(iter(each.parameters())).trainable = False
    fit(model, changes)
    bound = just_above(changes.norms[30])
    history = fit(twin, fn.StopWhenStill(bound))
    assert len(history.updates["loss"]) == first_below(changes.norms, bound)


def test_stream_ends_too():
    def train(callback):
        options = {"epochs": 60, "optimizer": fn.SGD(0.1), "seed": 0, "progress": False}
        return fn.fit(net(), lambda: iter([DATA]), callbacks=callback, **options)

    changes = Changes()
    train(changes)
    bound = just_above(changes.norms[30])
    assert len(train(fn.StopWhenStill(bound)).updates["loss"]) == first_below(changes.norms, bound)


def test_updates_still_run_in_batches(monkeypatch):
    calls = []
    updates_from = fn.Trainer.updates_from
    monkeypatch.setattr(
        fn.Trainer, "updates_from", lambda self, *a: (calls.append(1), updates_from(self, *a))[1]
    )
    monkeypatch.setattr("fastnn.training.plans.RUN_SECONDS", 60)
    fit(net(), fn.StopWhenStill(1e-30), batch_size=1, epochs=1)
    assert len(calls) == 2  # one recorded step, then one native run


def test_the_largest_of_several_bounds_counts(norms):
    bound = just_above(sorted(norms)[20])
    history = fit(net(), fn.StopWhenStill(bound), fn.StopWhenStill(bound / 100))
    assert len(history.updates["loss"]) == first_below(norms, bound)


def test_resumed_training_ends_at_the_same_update(norms, tmp_path):
    bound = just_above(sorted(norms)[20])

    class CtrlC(fn.Callback):
        def on_update(self, training, loss):
            if training.updates == 3:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(net(), fn.StopWhenStill(bound), CtrlC(), checkpoint=tmp_path / "c")
    history = fit(net(), fn.StopWhenStill(bound), checkpoint=tmp_path / "c", resume=True)
    assert len(history.updates["loss"]) == first_below(norms, bound)


def test_validation_follows_the_last_update(norms):
    bound = just_above(sorted(norms)[20])
    model = net()
    history = fit(model, fn.StopWhenStill(bound), validation=DATA, validate_every=7)
    assert history.updates_of("val_loss")[-1] == first_below(norms, bound)
    assert history["val_loss"][-1] == fn.evaluate(model, DATA)["loss"]


def test_weights_that_do_not_move_are_still_at_bound_0():
    model = net()
    for param in model.parameters():
        param.lr_scale = 1e-30  # the change is lost in rounding
    assert len(fit(model, fn.StopWhenStill(0)).updates["loss"]) == 1


@pytest.mark.parametrize("bound", [-1e-5, np.nan, np.inf, "small", None])
def test_invalid_bounds_are_rejected(bound):
    with pytest.raises((ValueError, TypeError), match="norm"):
        fn.StopWhenStill(bound)


def test_change_of_large_arrays_and_nan():
    for dtype in (np.float32, np.float64):
        one, two = np.zeros(5000, dtype), np.zeros((3, 7), dtype)
        change = WeightChange([one, two], 5.0)
        change.remember()
        one[4999], two[2, 6] = 3, 4
        change.look()
        assert (change.is_still, change.norm) == (True, 5)
        two[0, 0] = 0.01
        change.look()
        assert not change.is_still
        change.remember()
        change.look()
        assert change.is_still
        one[0] = np.nan
        change.look()
        assert not change.is_still
    with pytest.raises(TypeError, match="float32 or float64"):
        WeightChange([np.zeros(3, int)], 1.0)
