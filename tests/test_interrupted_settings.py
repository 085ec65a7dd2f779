"""Ctrl-C at any bytecode leaves no setting of a `with` block behind."""

import contextlib
import signal
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import kernels, param, rng, states
from fastnn.kernels import core
from fastnn.kernels.plan import Plan
from fastnn.training import interrupts

from .interruptions import PACKAGE, interruptions

# The `with` statements of this file, and those of contextlib if a setting should use it.
HERE = {"files": (__file__, contextlib.__file__)}

SETTINGS = {
    "backend": (lambda: fn.backend("ref"), kernels.active_backend),
    "recorder": (lambda: kernels.record_with(object()), kernels.active_recorder),
    "precision": (lambda: kernels.products_in("bf16"), kernels._precision.get),
    "elements": (lambda: param.limited(5), param._room.get),
    "generator": (rng.separate_generator, rng._generator.get),
    "event": (lambda: interrupts.stopped_by(threading.Event()), interrupts._stop.get),
    "threads": (lambda: core.Threads(5), core.get_num_threads),
    "one thread": (core.OneThreadEach, core.get_num_threads),
}


@pytest.fixture(autouse=True)
def three_threads():
    before = core.get_num_threads()
    core.set_num_threads(3)
    yield
    core.set_num_threads(before)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_not_left_behind(name):
    setting, value = SETTINGS[name]
    before = value()

    def use():
        with setting():
            assert value() is not before
            "a bytecode".upper()

    for count in interruptions(use, **HERE):
        assert value() is before, count
    use()
    assert value() is before


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_end_with_an_exception_and_may_be_nested(name):
    setting, value = SETTINGS[name]
    before = value()

    def use():
        with setting(), setting():
            assert value() is not before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert value() is before


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_serves_one_block_after_the_other(name):
    new, value = SETTINGS[name]
    before, setting = value(), new()
    for _ in range(2):
        with setting:
            inside = value()
            with pytest.raises(RuntimeError, match="in use already: make a new one"):
                setting.__enter__()
            assert value() is inside
        assert value() is before


KEEPING = *HERE["files"], f"{PACKAGE}/optim/ema.py", f"{PACKAGE}/states.py"


def model_of_many_arrays():
    fn.manual_seed(0)
    layers = [(fn.Linear(3, 3), fn.BatchNorm1d(3), fn.Dropout(0.5)) for _ in range(4)]
    return fn.Sequential(*(layer for three in layers for layer in three))


def held(model):
    return [each.value.tobytes() for each in (*model.parameters(), *model.buffers())]


def test_weights_come_back_whatever_interrupts_the_block_of_their_averages():
    model, ema = model_of_many_arrays(), fn.EMA()
    ema.begin(model)
    for each in (*model.parameters(), *model.buffers()):
        each.value = each.value + 1
    own = held(model)

    def use():
        with ema.applied(model):
            assert held(model)[0] != own[0]
            "a bytecode".upper()

    for count in interruptions(use, files=KEEPING):
        assert held(model) == own, count
    assert held(model) == own


def test_states_come_back_whatever_interrupts_the_block():
    model = model_of_many_arrays()
    before = [state.tobytes() for state in model.states()]

    def use():
        with states.restored(model):
            model.forward(np.ones((2, 3), np.float32), train=True)
            "a bytecode".upper()

    for count in interruptions(use, files=KEEPING):
        assert [state.tobytes() for state in model.states()] == before, count
    assert [state.tobytes() for state in model.states()] == before


def test_arrays_come_back_unless_the_update_was_counted():
    """An interruption leaves neither a part of an update nor takes back what is counted."""
    updates, arrays = np.zeros(1, np.int64), [np.zeros(3) for _ in range(5)]

    def use():
        with states.arrays_restored_on_failure(arrays, updates):
            for array in arrays:
                array += 1
            updates[0] += 1

    for count in interruptions(use, files=KEEPING):
        assert all((array == updates[0]).all() for array in arrays), count
    assert updates[0] > 1  # some came after the count
    assert all((array == updates[0]).all() for array in arrays)


def test_a_block_that_ends_without_an_update_keeps_its_arrays():
    updates, array = np.zeros(1, np.int64), np.zeros(3)
    kept = states.arrays_restored_on_failure([array], updates)
    with kept:
        array += 1
    del kept
    assert array.tolist() == [1, 1, 1]


def test_kernels_are_not_recorded_after_an_interrupted_one():
    plan, x = Plan(), np.ones(3, np.float32)

    def kernel(*arrays):
        kernels.ops.relu_forward(*arrays)
        raise KeyboardInterrupt

    with fn.backend("aot"), pytest.raises(KeyboardInterrupt):
        plan.record(kernel, (x, x))
    assert len(plan) == 1
    with fn.backend("aot"):
        kernels.ops.relu_forward(x, x)
    assert len(plan) == 1


def test_a_second_ctrl_c_at_any_bytecode_ends_the_delay():
    """The handler of Ctrl-C is the usual one again, whatever it interrupts."""

    def train():
        with interrupts.ctrl_c_between_updates():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    delayed = interrupts.ctrl_c_between_updates()
    delayed.__enter__()  # as if the second one had come before the `finally` of the block
    try:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        with pytest.raises(KeyboardInterrupt):
            delayed.__exit__(None, None, None)
