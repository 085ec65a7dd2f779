"""Copies and pickles of trainers with recorded steps continue like the original, independently of it."""

import copy
import os
import pickle
import sys

import numpy as np
import pytest

import fastnn as fn
from tests.systems import needs_fork

from .twins import batch, small_net

COPIES = {
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda thing, protocol=protocol: pickle.loads(pickle.dumps(thing, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}
OPTIMIZERS = {"momentum": lambda: fn.SGD(momentum=0.9), "adam": fn.Adam}

all_ways = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
both_optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def dropped():
    return small_net(fn.ReLU(), fn.Dropout(0.3))


@all_ways
@both_optimizers
def test_trainer_that_has_recorded(copied, optimizer, twins):
    pair = twins(dropped, optimizer=optimizer)
    pair.run()
    originals = list(pair.both)
    pair.both = [copied(trainer) for trainer in pair.both]
    before = [pair.snapshot(trainer.model, trainer.optimizer) for trainer in originals]
    pair.check()
    pair.run()
    assert pair.replays
    assert before == [pair.snapshot(trainer.model, trainer.optimizer) for trainer in originals]
    pair.steps -= 3
    copies, pair.both = pair.both, originals
    pair.run()
    for one, other in zip(copies, originals, strict=True):
        assert pair.snapshot(one.model, one.optimizer) == pair.snapshot(other.model, other.optimizer)


@all_ways
@both_optimizers
def test_model_and_optimizer_in_a_new_trainer(copied, optimizer, twins):
    pair = twins(dropped, optimizer=optimizer)
    pair.run()
    for index, trainer in enumerate(pair.both):
        model, rule = copied((trainer.model, trainer.optimizer))
        pair.both[index] = fn.Trainer(model, optimizer=rule, seed=4, plan=trainer.plan)
    pair.run()


@all_ways
def test_copy_of_the_optimizer_alone_does_not_touch_the_original(copied, twins):
    pair = twins(dropped, optimizer=fn.Adam)
    pair.run()
    copies = [copied(trainer.optimizer) for trainer in pair.both]
    for rule in copies:
        rule.lr = 0.5
    pair.run()
    assert pair.planned.optimizer.lr == 0.001


def test_a_copied_model_takes_the_place_of_the_original(twins):
    """The weights are equal, but they lie elsewhere."""
    pair = twins(dropped)
    pair.run()
    for trainer in pair.both:
        trainer.model, trainer.optimizer = copy.deepcopy((trainer.model, trainer.optimizer))
    pair.run()


def test_original_and_copy_take_turns(twins):
    pair = twins(dropped, optimizer=fn.Adam)
    pair.run()
    originals, copies = list(pair.both), [copy.deepcopy(trainer) for trainer in pair.both]
    for trainers in (copies, originals, copies, copies, originals):
        pair.both = trainers
        pair.run(2)


def test_a_copy_of_a_recorded_trainer_can_be_stepped_while_the_original_is(twins):
    """Copies take turns of their own."""

    class Step(fn.Layer):
        other = None

        def forward(self, x, *, train=False):
            if self.other is not None:
                self.other.step(*batch(1))
            return x, lambda dy, *, need_dx=True: dy

    trainer = fn.Trainer(fn.Sequential(Step(), small_net()))
    trainer.step(*batch())
    other = copy.deepcopy(trainer)
    trainer.model[0].other = other
    trainer.step(*batch())
    trainer.step(*batch())
    assert (trainer.updates, other.updates) == (3, 3)


def test_saved_weights_loaded_between_steps(twins, tmp_path):
    pair = twins(dropped)
    pair.run()
    path = fn.save(pair.planned.model, tmp_path / "net.safetensors")
    pair.run()
    pair.do(lambda trainer: fn.load(trainer.model, path))
    pair.run()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_recorded_steps_in_a_forked_child(twins):
    fn.set_num_threads(3)
    pair = twins(lambda: fn.Sequential(fn.Linear(301, 203), fn.ReLU(), fn.Linear(203, 3)), optimizer=fn.Adam)

    def steps():
        for seed in range(3):
            x = np.random.default_rng(seed).normal(size=(33, 301)).astype(np.float32)
            pair.step(x, np.arange(33) % 3)

    steps()
    child = os.fork()
    if not child:
        status = 1
        try:
            steps()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    steps()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
