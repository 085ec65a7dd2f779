"""The plan takes a step by itself until something changes that it depends on."""

import numpy as np
import pytest

import fastnn as fn

X = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
Y = np.arange(12) % 3


@pytest.fixture(autouse=True)
def compiled():
    with fn.backend("aot"):
        yield


def new_trainer(**options):
    fn.manual_seed(0)
    return fn.Trainer(
        fn.nets.mlp([5, 7, 3]), **{"optimizer": fn.SGD(0.1), "seed": 0, "updates_per_epoch": 1, **options}
    )


def recorded_twins():
    """A trainer whose plan is about to step by itself, and one without plans, after the same two steps."""
    trainer, twin = new_trainer(), new_trainer(plan=False)
    for each in (twin, trainer):  # in this order, for the plan notices what the twin changes
        each.step(X, Y)
        each.step(X, Y)
    return trainer, twin


def weights(trainer):
    return [param.value.copy() for param in trainer.model.parameters()]


def by_plan(trainer, x=X, y=Y):
    """Take a step; returns its loss, and whether the plan took it by itself."""
    in_python = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_direct_step", "_checked_step"):
            own = getattr(trainer, name)
            patch.setitem(vars(trainer), name, lambda *a, own=own: in_python.append(1) or own(*a))
        loss = trainer.step(x, y)
    return loss, not in_python


def test_steps_have_the_bits_of_eager_ones():
    trainer, twin = new_trainer(), new_trainer(plan=False)
    for _ in range(2):  # the first step is recorded, the second one compares everything
        assert trainer.step(X, Y) == twin.step(X, Y)
    for factor in (1, 2, 3):  # other data of the same shape
        x = factor * X
        assert by_plan(trainer, x) == (twin.step(x, Y), True)
    for mine, other in zip(weights(trainer), weights(twin), strict=True):
        np.testing.assert_array_equal(mine, other)


CHANGES = {
    "learning rate": lambda t: setattr(t.optimizer, "lr", 0.5),
    "momentum": lambda t: setattr(t.optimizer, "momentum", 0.9),
    "schedule": lambda t: setattr(t, "schedule", fn.schedules.Step(2, 0.5)),
    "clipping": lambda t: setattr(t, "clip_norm", 0.01),
    "eager steps": lambda t: setattr(t, "plan", False),
    "frozen layer": lambda t: setattr(t.model[0], "trainable", False),
    "loss": lambda t: setattr(t, "loss", fn.CrossEntropy(label_smoothing=0.1)),
    "weights": lambda t: setattr(t.model.parameters()[0], "value", np.ones((5, 7), np.float32)),
    "gradients": lambda t: fn.gradients(t.model, (X, Y)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_reach_the_next_step(name):
    trainer, twin = new_trainer(), new_trainer(plan=False)
    for each in (twin, trainer):  # what the twin changes would be noticed
        each.step(X, Y)
        each.step(X, Y)
        CHANGES[name](each)
    for _ in range(3):
        assert trainer.step(X, Y) == twin.step(X, Y)
    for mine, other in zip(weights(trainer), weights(twin), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_rate_that_another_trainer_left_in_memory_is_noticed():
    """The rate of the optimizer is the same object as before, but the memory that updates read is not."""
    trainer, twin = new_trainer(), new_trainer(plan=False)
    for first in (trainer, twin):
        second = fn.Trainer(first.model, optimizer=first.optimizer, plan=first.plan)
        rate = first.optimizer.lr
        for _ in range(4):
            first.step(X, Y)
            first.optimizer.lr = 0.5
            second.step(X, Y)
            first.optimizer.lr = rate
    for mine, wanted in zip(weights(trainer), weights(twin), strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_gradients_of_another_trainer_are_dropped():
    """`p.grad` must not be taken for the gradient of a step that does not store it."""
    trainer = new_trainer()
    other = fn.Trainer(trainer.model, optimizer=fn.SGD(0.1), keep_gradients=True)
    param = trainer.model.parameters()[0]
    for _ in range(3):
        other.step(X, Y)
        assert param.grad is not None
        trainer.step(X, Y)
        assert param.grad is None


def test_eager_steps_stay_eager():
    trainer = new_trainer()
    for _ in range(3):
        trainer.step(X, Y)
    trainer.plan = False
    for _ in range(3):
        trainer.step(X, Y)
        assert trainer.model.parameters()[0].grad is not None


def test_other_backend_is_noticed():
    trainer, twin = recorded_twins()
    with fn.backend("ref"):  # its bits may be those of the plan
        assert by_plan(trainer) == (twin.step(X, Y), False)
        assert not by_plan(trainer)[1]


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.full_like(X, np.nan), Y, fn.NonFiniteError, "NaN"),
        (X, np.full(12, 3), ValueError, "label"),
        (X[:, :4], Y, ValueError, "shape"),
        (X, Y[:5], ValueError, "12"),
    ],
)
def test_bad_data_raise_and_change_nothing(x, y, error, message):
    trainer, twin = new_trainer(), new_trainer()
    for each in (trainer, twin):
        each.step(X, Y)
        each.step(X, Y)
    with pytest.raises(error, match=message):
        trainer.step(np.ascontiguousarray(x), y)
    assert trainer.step(X, Y) == twin.step(X, Y)


def test_step_during_a_step_is_refused():
    trainer, twin = recorded_twins()
    with pytest.raises(RuntimeError, match="in the middle of a"):
        trainer._step_lock.lock.run(trainer.step, X, Y)
    assert trainer.step(X, Y) == twin.step(X, Y)


def test_other_forms_of_a_batch_are_accepted():
    trainer, twin = recorded_twins()
    strided = np.repeat(X, 2, axis=0)[::2]
    for x, y in ((strided, Y), (X.tolist(), Y.tolist()), (X[:7], Y[:7]), (X, Y)):
        assert trainer.step(x, y) == twin.step(x, y)
