"""`p.grad` between recorded steps: the gradient of the last backward pass, or None."""

import numpy as np
import pytest

import fastnn as fn

from .twins import CLASSES, FEATURES, batch, small_net

LARGE = 600  # rows whose updates are not fused


def grads(trainer):
    return [param.grad for param in trainer.model.parameters()]


def assert_same_gradients(pair):
    for a, b in zip(*map(grads, pair.both), strict=True):
        assert (a is None) == (b is None)
        assert a is None or a.tobytes() == b.tobytes()


def assert_none(trainer):
    assert [grad is None for grad in grads(trainer)] == [True] * len(grads(trainer))


def assert_none_or_same(pair):
    """A gradient that is not stored is None; one that is there is that of the last step."""
    for a, b in zip(*map(grads, pair.both), strict=True):
        assert a is None or a.tobytes() == b.tobytes()


def test_fused_steps_store_no_gradients(twins):
    pair = twins()
    for _ in range(3):
        pair.step()
        assert_none(pair.planned)


@pytest.mark.parametrize("rows", [1, 33, LARGE])
@pytest.mark.parametrize("optimizer", [fn.SGD, fn.Adam])
def test_kept_gradients_are_those_of_the_eager_step(optimizer, rows, twins):
    pair = twins(optimizer=optimizer, keep_gradients=True)
    for seed in range(4):
        pair.step(*batch(seed, rows=rows))
        assert_same_gradients(pair)
    assert grads(pair.planned)[0] is not None


def test_kept_gradients_of_batches_that_take_turns(twins):
    pair = twins(keep_gradients=True)
    for seed in range(8):
        pair.step(*batch(seed, rows=(5, 7, LARGE)[seed % 3]))
        assert_same_gradients(pair)


def test_kept_gradients_with_frozen_parameters(twins):
    pair = twins(keep_gradients=True)
    pair.run(2)
    for trainable in (False, True):
        pair.do(lambda trainer, on=trainable: setattr(trainer.model[0].weight, "trainable", on))
        for _ in range(2):
            pair.step()
            assert_same_gradients(pair)
        assert (grads(pair.planned)[0] is not None) == trainable


@pytest.mark.parametrize("rows", [33, LARGE])
def test_gradients_between_steps(rows, twins):
    pair = twins(lambda: small_net(fn.Dropout(0.3)))
    for seed in range(4):
        pair.step(*batch(seed, rows=rows))
        x, y = batch(seed + 100, rows=20)
        losses = [fn.gradients(trainer.model, (x, y)) for trainer in pair.both]
        assert losses[0] == losses[1]
        assert_same_gradients(pair)
        assert grads(pair.planned)[0] is not None
        pair.check()
        pair.step(*batch(seed + 50, rows=rows))
        assert_none_or_same(pair)
        if rows != LARGE:
            assert_none(pair.planned)


def test_gradients_between_steps_that_keep_theirs(twins):
    pair = twins(keep_gradients=True)
    for seed in range(4):
        pair.step()
        pair.do(lambda trainer, seed=seed: fn.gradients(trainer.model, batch(seed, rows=20)))
        assert_same_gradients(pair)
        pair.step()
        assert_same_gradients(pair)


def test_no_gradient_of_an_earlier_pass_is_left_behind(twins):
    """Small batches drop the gradients, large ones store them: in whatever order, none is stale."""
    pair = twins()
    for rows in (9, LARGE, 9, 0, LARGE, 0, 9, LARGE, LARGE, 0, LARGE, 9):
        if rows == 0:
            pair.do(lambda trainer: fn.gradients(trainer.model, batch(3, rows=20)))
            assert_same_gradients(pair)
        else:
            pair.step(*batch(pair.steps, rows=rows))
            assert_none_or_same(pair)


def test_conversion_to_the_type_that_it_has_keeps_later_gradients(twins):
    """It forgets the gradients, but those of the steps after it are there."""
    pair = twins(keep_gradients=True)
    pair.run(2)
    pair.do(lambda trainer: trainer.model.to(np.float32))
    assert_same_gradients(pair)
    pair.step()
    assert_same_gradients(pair)


def test_two_trainers_of_a_model_of_which_one_keeps_the_gradients(twins):
    pair = twins(keep_gradients=True)
    others = [
        fn.Trainer(trainer.model, optimizer=trainer.optimizer, seed=3, plan=trainer.plan)
        for trainer in pair.both
    ]
    for seed in range(6):
        if seed % 2:
            for other in others:
                other.step(*batch(seed))
            assert_none(pair.planned)
        else:
            pair.step()
            assert_same_gradients(pair)


@pytest.mark.parametrize("between", ["predict", "evaluate", "gradients", "fit", "value", "summary"])
def test_nothing_between_two_steps_disturbs_them(between, twins):
    x, y = batch(9, rows=20)
    actions = {
        "predict": lambda trainer: trainer.model.predict(x),
        "evaluate": lambda trainer: fn.evaluate(trainer.model, (x, y)),
        "gradients": lambda trainer: fn.gradients(trainer.model, (x, y)),
        "fit": lambda trainer: fn.fit(
            trainer.model, (x, y), optimizer=trainer.optimizer, seed=1, plan=trainer.plan
        ),
        "value": lambda trainer: [param.value for param in trainer.model.parameters()],
        "summary": lambda trainer: trainer.model.summary(),
    }
    pair = twins(lambda: small_net(fn.Dropout(0.3), fn.ReLU()), optimizer=fn.Adam)
    for _ in range(3):
        pair.run(2)
        pair.do(actions[between])
        pair.check()
    pair.run(2)


def test_predictions_see_every_step(twins):
    x, y = batch()
    pair = twins()
    for _ in range(6):
        pair.step(x, y)
        planned, eager = (trainer.model.predict(x[:4]) for trainer in pair.both)
        assert planned.tobytes() == eager.tobytes()


def test_unfused_steps_store_their_gradients(twins):
    pair = twins(fuse=False)
    for _ in range(3):
        pair.step()
        assert_same_gradients(pair)


def test_a_frozen_parameter_keeps_no_gradient_to_learn_from(twins):
    """Gradients made while it was frozen by `gradients` of another moment are not applied later."""
    pair = twins(lambda: fn.Sequential(fn.Linear(FEATURES, 8), fn.Tanh(), fn.Linear(8, CLASSES)))
    pair.run(2)
    for trainable in (False, True, False):
        pair.do(lambda trainer: fn.gradients(trainer.model, batch(5, rows=20)))
        pair.do(lambda trainer, on=trainable: setattr(trainer.model[2].weight, "trainable", on))
        pair.run(2)
