"""Runs of a sweep that share layers, optimizers or data with other runs in progress."""

import json
import threading
import weakref
from contextlib import nullcontext

import numpy as np
import pytest

import fastnn as fn
from fastnn.studies import turns
from tests.studies.test_population import Runs, check_same_bits, data, net, results, size_of_group, wide


def test_runs_that_share_an_object_follow_one_another():
    """The schedule reads the learning rate of the shared optimizer at the start of each run."""

    def shared(population):
        optimizer, schedule = fn.SGD(lr=0.1), fn.schedules.Plateau("loss", patience=0, threshold=0.5)

        def build(hidden):
            model = net(hidden=(hidden,))
            return {
                "model": model,
                "data": data(),
                "optimizer": optimizer,
                "schedule": schedule,
                "epochs": 4,
            }

        study = fn.sweep(
            build, {"hidden": [8]}, seeds=range(4), jobs=1, progress=False, population=population
        )
        return json.dumps([member.history.as_dict() for member in study.members])

    assert shared(True) == shared(False)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("whole", [True, False], ids=["the model", "a layer"])
def test_runs_in_progress_cannot_share_layers(whole, jobs):
    """Build may have given them new weights in the middle of a training. Run 2 has layers of its own."""
    shared, begun, rejected = net(), threading.Event(), threading.Event()

    def hold(training):  # run 0, until the other thread is done with run 1
        begun.set()
        assert rejected.wait(60)

    def build(seed):
        model = net() if seed == 2 else shared if whole else fn.Sequential(shared[0], fn.ReLU(), net()[2])
        if jobs == 2 and seed == 1:
            assert begun.wait(60)
        if seed == 2:
            rejected.set()
        return {"model": model, "data": data(), "callbacks": [hold] if jobs == 2 and seed == 0 else []}

    study = fn.Study()
    with pytest.warns(UserWarning, match="1 of 3 runs failed, .* the same layers: build must make new ones"):
        fn.sweep(build, [{}], jobs=jobs, study=study, progress=False)
    assert [member.error is None for member in study.members] == [True, False, True]
    assert not fn.sweep(build, [{}], seeds=[0, 1], jobs=1, progress=False, population=False).failed


def test_the_objects_of_a_run_in_progress_keep_their_ids():
    """Otherwise those of a new run could have them, and would count as shared."""
    in_progress, model = turns._InProgress(), net()
    kept = weakref.ref(model[0].weight)
    added = in_progress.add(turns._changes({"model": model}))
    del model
    assert kept() is not None
    in_progress.remove(added)
    del added
    assert kept() is None


@pytest.mark.parametrize("what", ["optimizer", "optimizer with a schedule", "history"])
def test_threads_cannot_share_what_a_training_changes(what):
    """An optimizer is not changed without a schedule. Run 2 has objects of its own."""
    begun, rejected = threading.Event(), threading.Event()
    optimizer, history = fn.SGD(lr=0.1), fn.History()

    def hold(training):  # run 0, until the other thread is done with run 1
        begun.set()
        assert rejected.wait(60)

    def build(seed):
        if seed == 1:
            assert begun.wait(60)
        if seed == 2:
            rejected.set()
        shared = {"history": history} if what == "history" else {"optimizer": optimizer}
        if what == "optimizer with a schedule":
            shared["schedule"] = fn.schedules.Cosine()
        return {
            "model": net(),
            "data": data(),
            "callbacks": [hold] if seed == 0 else [],
            **({} if seed == 2 else shared),
        }

    fails = what != "optimizer"
    match = f"1 of 3 runs failed, .* the same {what.split()[0]}: build must make new ones"
    with pytest.warns(UserWarning, match=match) if fails else nullcontext():
        study = fn.sweep(build, [{}], jobs=2, progress=False)
    assert [member.error is not None for member in study.members] == [False, fails, False]


def test_runs_share_frozen_layers():
    shared = fn.Linear(6, 8)
    shared.weight.trainable = shared.bias.trainable = False
    check_same_bits(lambda: Runs(lambda: fn.Sequential(shared, fn.ReLU(), fn.Linear(8, 3))), together=False)


@wide
@pytest.mark.parametrize("own", [True, False])
def test_runs_with_much_data_of_their_own_are_not_held_in_memory_at_once(own, monkeypatch):
    shared = data(dtype=np.float64)
    monkeypatch.setattr(turns, "MOST_BYTES", 2 * shared[0].nbytes)
    study, _ = results(Runs(data=lambda: data(dtype=np.float64) if own else shared), True)
    assert {member.together for member in study.members} == {2 if own else size_of_group(6)}
