"""Ctrl-C at any bytecode leaves no setting of a `with` block behind."""

import contextlib
import signal
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import kernels, param, rng
from fastnn.kernels import core
from fastnn.kernels.plan import Plan
from fastnn.training import interrupts

from .interruptions import interruptions

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
