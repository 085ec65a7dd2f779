"""How the tests are spread over the cores, and the fixtures that several folders use.

`pytest` runs whole folders of tests in one process of pytest-xdist per core, and single files or tests in
this process, without the seconds that several take to start. `-n 0` and `-n 4` decide it otherwise.
Benchmarks always have the machine for themselves.
"""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn
from fastnn import kernels

# Tests of timing, threads, memory, signals and forks: no other test runs at the same time.
ALONE = (
    "kernels/test_team.py",
    "kernels/test_threadpools.py",
    "kernels/test_workers.py",
    "measure/test_probe.py",
    "plan/test_ctrl_c.py",
    "plan/test_memory.py",
    "plan/test_threads.py",
    "training/test_fork.py",
    "training/test_mpi.py",
    "training/test_resume.py",
    "test_structure.py",
)


def is_alone(nodeid):
    return nodeid.partition("::")[0].endswith(tuple(f"tests/{file}" for file in ALONE))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Ask for one process per core if the command line names nothing but folders."""
    if hasattr(config, "workerinput"):  # a worker, which must not start workers of its own
        return
    option = config.option
    undecided = getattr(option, "numprocesses", 0) is None and "PYTEST_XDIST_WORKER" not in os.environ
    needs_this_process = option.collectonly or option.usepdb or getattr(option, "benchmark_only", False)
    if undecided and not needs_this_process and all(Path(arg).is_dir() for arg in config.args):
        option.numprocesses = "auto"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hand out the tests file by file; those of Numba, and those that run alone, as if they were one file.

    What a file computes once serves all of its tests, and one process compiles each kernel of Numba once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            if is_alone(nodeid):
                return "alone"
            return "Numba" if "jit" in test.partition("[")[2] else file

    return ByFile(config, log)


def pytest_sessionstart(session):
    """Tests send Ctrl-C to their own process, which the background jobs of a shell ignore from the start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = getattr(session.config, "workerinput", None)
    session.config.turns = None
    if worker:
        from .turns import Turns  # not on Windows, where `pytest -n 0` runs the tests

        session.config.turns = Turns(worker["testrunuid"])


def pytest_sessionfinish(session):
    if session.config.turns:
        session.config.turns.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """With several processes, wait for the test's turn; tests that run alone stay until the last of them."""
    turns, alone = item.config.turns, is_alone(item.nodeid)
    if turns is None:
        return (yield)
    turns.enter(alone)
    try:
        return (yield)
    finally:
        if not (alone and nextitem and is_alone(nextitem.nodeid)):
            turns.leave()


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same default generator, whatever ran before it."""
    fn.manual_seed(0)


@pytest.fixture(autouse=True)
def restored_ctrl_c():
    """No test changes what Ctrl-C does in those after it, not even one that fails."""
    before = signal.getsignal(signal.SIGINT)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is before


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
def homeless(monkeypatch):
    """A user without HOME and without an entry in the password database, as in many containers."""
    pwd = pytest.importorskip("pwd")

    def missing(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", missing)


@pytest.fixture
def full_disk():
    """A `with` block in which every write beyond `size` bytes of a file fails: the kernel sees to it."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return limited


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
