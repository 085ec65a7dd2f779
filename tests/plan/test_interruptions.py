"""Ctrl-C at any bytecode leaves no model locked."""

import contextlib
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import prediction
from fastnn.training import turns
from fastnn.training.plans import StepLock

from ..interruptions import PACKAGE, interruptions
from .twins import batch, small_net

X, Y = batch(rows=4)

# Where locks are taken. The step inside them is too long: a test runs it once for each bytecode.
LOCKING = contextlib.__file__, f"{PACKAGE}/training/trainer.py", f"{PACKAGE}/training/plans.py"


def is_locked(model):
    return StepLock(model).lock.is_taken


@pytest.mark.parametrize("plan", [True, False])
def test_steps_leave_the_model_unlocked(plan):
    trainer = fn.Trainer(small_net(), plan=plan, optimizer=fn.SGD(lr=0))
    trainer.step(X, Y)
    count = 0
    for count in interruptions(lambda: trainer.step(X, Y), **({} if plan else {"files": LOCKING})):
        assert not is_locked(trainer.model), count
    assert count > 100
    trainer.step(X, Y)


def test_a_model_is_unlocked_whatever_interrupts_its_first_step():
    model = small_net()
    for count in interruptions(lambda: fn.Trainer(model).step(X, Y), files=LOCKING, step=7):
        assert not is_locked(model), count
    fn.Trainer(model).step(X, Y)


def test_fit_leaves_the_model_unlocked():
    model = small_net()
    for count in interruptions(lambda: fn.fit(model, (X, Y), batch_size=2, watch=False), step=307):
        assert not is_locked(model), count
    fn.fit(model, (X, Y))


def training_in_turns(model):
    """A training, and the updates that it needs after the one that made its plan."""
    training = turns.turns_of(fn.fit)(model, (X, Y), batch_size=2, epochs=100, shuffle=False, watch=False)
    return training, turns.take_turn(training, next(training))


def test_updates_made_together_leave_all_models_unlocked():
    models = [small_net() for _ in range(3)]
    trainings, requests = zip(*map(training_in_turns, models), strict=True)
    assert turns.make_together(requests) == [(1, 3)] * 3
    files = *LOCKING, f"{PACKAGE}/training/turns.py"
    for count in interruptions(lambda: turns.make_together(requests), files=files):
        assert not any(map(is_locked, models)), count
    assert turns.make_together(requests) == [(1, 3)] * 3
    for training in trainings:
        training.close()


def test_updates_are_made_together_without_a_model_in_use():
    models = [small_net() for _ in range(3)]
    trainings, requests = zip(*map(training_in_turns, models), strict=True)
    made = StepLock(models[1]).lock.run(turns.make_together, requests)
    assert made == [(1, 2), None, (1, 2)]
    assert turns.make_together(requests) == [(1, 3)] * 3
    for training in trainings:
        training.close()


def test_predictions_stay_recorded():
    model = small_net()
    for _ in range(3):
        expected = model.predict(X)
    found = prediction._predictions.get(model)
    assert found.output is not None
    for count in interruptions(lambda: model.predict(X)):
        assert not found.lock.is_taken, count
    assert prediction._predictions.get(model) is found
    assert prediction._replay(model, X, None).tobytes() == expected.tobytes()


def test_one_lock_for_all_threads_that_ask_at_once():
    for _ in range(20):
        model, locks, begin = small_net(), [], threading.Barrier(8)

        def ask(model=model, locks=locks, begin=begin):
            begin.wait(30)
            locks.append(StepLock(model).lock)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(locks) == 8
        assert len(set(map(id, locks))) == 1


def test_a_lock_of_a_dead_model_is_forgotten():
    from fastnn.training import plans

    before = len(plans._locks._items)
    model = small_net()
    StepLock(model)
    assert len(plans._locks._items) == before + 1
    del model
    assert len(plans._locks._items) == before


def test_a_lock_excludes_other_threads_and_its_own():
    lock, inside, go_on = StepLock(small_net()).lock, threading.Event(), threading.Event()
    results = []

    def hold():
        inside.set()
        assert go_on.wait(30)
        return 5

    thread = threading.Thread(target=lambda: results.append(lock.run(hold)))
    thread.start()
    assert inside.wait(30)
    assert lock.is_taken
    for refused in (lock.check, lambda: lock.run(np.zeros, 3)):
        with pytest.raises(RuntimeError, match="this model is in the middle of a training step"):
            refused()
    assert lock.run_if_free(np.zeros, 3) is None
    go_on.set()
    thread.join(30)
    assert results == [5]
    assert lock.run_if_free(lambda *given: given, 1, 2) == (1, 2)
    with pytest.raises(ZeroDivisionError):
        lock.run(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="in the middle"):
        lock.run(lambda: lock.run(lambda: None))
    assert not lock.is_taken
