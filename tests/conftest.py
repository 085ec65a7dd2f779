"""What the tests of several files share."""

import signal
from contextlib import contextmanager

import numpy as np
import pytest

import fastnn as fn
from fastnn import kernels


def pytest_sessionstart():
    """Tests send Ctrl-C to their own process, which the background jobs of a shell ignore from the start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same default generator, whatever ran before it."""
    fn.manual_seed(0)


@pytest.fixture
def blobs():
    """64 samples of 6 features around the centres of 3 classes: x float32, y int64."""
    generator = np.random.default_rng(0)
    y = np.arange(64) % 3
    x = generator.normal(size=(3, 6))[y] + 0.5 * generator.normal(size=(64, 6))
    return x.astype(np.float32), y


@pytest.fixture
def make_model():
    """A function that makes a small classifier for `blobs`: each call gives the same weights."""

    def make(*, rate=0.0, dtype=np.float32, seed=0):
        fn.manual_seed(seed)
        return fn.Sequential(fn.Linear(6, 16), fn.Tanh(), fn.Dropout(rate), fn.Linear(16, 3)).to(dtype)

    return make


@pytest.fixture
def finite_differences():
    """f(), array -> df/darray by central differences; the array is changed in place and restored."""

    def differences(function, array, step=1e-5):
        gradient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + step
            above = function()
            array[index] = kept - step
            gradient[index] = (above - function()) / (2 * step)
            array[index] = kept
        return gradient

    return differences


@pytest.fixture
def snapshot():
    """All that training changes, bytewise: weights, random counters, buffers and the optimizer's memory."""

    def take(model, optimizer=None):
        params = model.parameters()
        states = [] if optimizer is None else [optimizer.state(param) for param in params]
        return (
            [param.value.tobytes() for param in params],
            [state.tobytes() for state in model.states()],
            [(state.steps, {name: array.tobytes() for name, array in state.items()}) for state in states],
        )

    return take


@pytest.fixture
def unchanged(snapshot):
    """A `with` block that must leave a model (and an optimizer) bytewise as it was."""

    @contextmanager
    def check(model, optimizer=None):
        before = snapshot(model, optimizer)
        yield
        assert snapshot(model, optimizer) == before

    return check


@pytest.fixture
def kernel_calls(monkeypatch):
    """The names of the kernels called in this test, in order."""
    calls = []
    look_up = type(kernels.ops).__getattr__

    def spy(ops, name):
        calls.append(name)
        return look_up(ops, name)

    monkeypatch.setattr(type(kernels.ops), "__getattr__", spy)
    return calls
