"""Recorded steps in several Python threads."""

import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels.jit.scalar import ScalarFunction

from ..systems import needs_affinity
from .twins import CLASSES, batch, small_net

THREADS = 8


class Waiting(fn.Layer):
    """y = x; its n-th call in training says that it is there and waits until it may go on."""

    def __init__(self, when=1):
        self.calls, self.when = 0, when
        self.there, self.may_go_on = threading.Event(), threading.Event()

    def forward(self, x, *, train=False):
        self.calls += train
        if train and self.calls == self.when:
            self.there.set()
            assert self.may_go_on.wait(30)
        return x, lambda dy, *, need_dx=True: dy


def in_threads(function):
    """[function(0), ..., function(7)], all begun at the same time, each in a thread of its own."""
    begin = threading.Barrier(THREADS)

    def run(index):
        begin.wait(30)
        return function(index)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


@pytest.mark.parametrize("kernel_threads", [1, 2, 3])
@pytest.mark.parametrize("features", [6, 301])
def test_eight_threads_train_their_own_models(features, kernel_threads, snapshot):
    fn.set_num_threads(kernel_threads)

    def train(index, plan=True):
        fn.manual_seed(index)
        model = fn.Sequential(
            *(fn.Linear(features, 64 + index), fn.ReLU(), fn.Dropout(0.2), fn.Linear(64 + index, CLASSES))
        )
        optimizer = fn.Adam(lr=0.01) if index % 2 else fn.SGD(lr=0.1, momentum=0.9)
        generator = np.random.default_rng(index)
        x = generator.normal(size=(200, features)).astype(np.float32)
        y = generator.integers(0, CLASSES, 200)
        trainer = fn.Trainer(model, optimizer=optimizer, seed=index, plan=plan)
        losses = [trainer.step(x[i : i + 20 + i % 3], y[i : i + 20 + i % 3]) for i in range(60)]
        history = fn.fit(model, (x, y), optimizer=optimizer, epochs=3, seed=index, plan=plan)
        return losses, history.as_dict(), snapshot(model, optimizer)

    serial = [train(index, plan=False) for index in range(THREADS)]
    assert in_threads(train) == serial


def test_eight_threads_train_and_predict_at_once(snapshot):
    """Each trains a model of its own and asks one that all share, between its steps."""
    fn.set_num_threads(2)
    fn.manual_seed(100)
    shared = small_net(fn.Tanh())
    x, _ = batch(100)
    expected = shared.predict(x).tobytes()

    def train(index, plan=True):
        fn.manual_seed(index)
        model = small_net(fn.Dropout(0.2))
        trainer = fn.Trainer(model, optimizer=fn.Adam(), seed=index, plan=plan)
        found = []
        for update in range(40):
            found.append(trainer.step(*batch(update)))
            assert shared.predict(x).tobytes() == expected
            found.append(model.predict(x).tobytes())
        return found, snapshot(model)

    assert in_threads(train) == [train(index, plan=False) for index in range(THREADS)]


def test_no_module_switches_the_gil_on():
    """A module that does not declare that it needs none would, with a warning."""
    program = (
        "import sys, fastnn, fastnn.kernels; "
        "[fastnn.kernels.load(name) for name in ('aot', 'ref')]; "
        "print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert result.stdout.strip() == str(not free_threaded)


def test_one_optimizer_for_the_models_of_eight_threads(snapshot):
    def train(index, optimizer, plan=True):
        fn.manual_seed(index)
        model = small_net()
        trainer = fn.Trainer(model, optimizer=optimizer, seed=index, plan=plan)
        losses = [trainer.step(*batch(seed)) for seed in range(30)]
        return losses, snapshot(model, optimizer)

    shared = fn.Adam(), fn.Adam()
    serial = [train(index, shared[0], plan=False) for index in range(THREADS)]
    assert in_threads(lambda index: train(index, shared[1])) == serial


def test_python_layers_in_eight_threads(snapshot):
    class Square(fn.Layer):
        def forward(self, x, *, train=False):
            return x * x, lambda dy, *, need_dx=True: 2 * x * dy

    def train(index, plan=True):
        fn.manual_seed(index)
        model = small_net(Square(), fn.Dropout(0.2))
        trainer = fn.Trainer(model, seed=index, plan=plan)
        losses = [trainer.step(*batch(seed, rows=10 + seed % 2)) for seed in range(40)]
        return losses, snapshot(model)

    assert in_threads(train) == [train(index, plan=False) for index in range(THREADS)]


def test_eight_threads_compile_an_activation(monkeypatch):
    """Each begins to compile it before another one has ended; all get the same machine code."""
    together, compile_loop = threading.Barrier(THREADS), ScalarFunction._compile

    def compile_together(self, name):
        together.wait(30)
        return compile_loop(self, name)

    monkeypatch.setattr(ScalarFunction, "_compile", compile_together)
    activation = fn.elementwise(lambda x: x * x, lambda x, dy: 2 * x * dy)
    addresses = in_threads(lambda index: activation.function.address("float32"))
    assert set(addresses) == {activation.function.address("float32")}
    x = np.arange(4, dtype=np.float32)
    assert activation.forward(x)[0].tolist() == [0, 1, 4, 9]


def test_eight_threads_train_with_activations_of_their_own(snapshot):
    def train(index, plan=True):
        fn.manual_seed(index)
        model = small_net(fn.elementwise(lambda x: x * index, lambda x, dy: dy * index))
        trainer = fn.Trainer(model, seed=index, plan=plan)
        return [trainer.step(*batch(seed)) for seed in range(5)], snapshot(model)

    assert in_threads(train) == [train(index, plan=False) for index in range(THREADS)]


def test_changes_in_eight_threads(snapshot):
    """What one thread changes, all others must look at; none misses its own."""

    def train(index, plan=True):
        fn.manual_seed(index)
        model = small_net(fn.Dropout(0.2))
        trainer = fn.Trainer(model, optimizer=fn.SGD(lr=0.1, momentum=0.9), seed=index, plan=plan)
        losses = []
        for update in range(60):
            model[1].rate = update % 3 / 10
            model[0].weight.trainable = update % 5 != 0
            trainer.optimizer.lr = 0.1 / (1 + update % 4)
            losses.append(trainer.step(*batch(update)))
        return losses, snapshot(model, trainer.optimizer)

    assert in_threads(train) == [train(index, plan=False) for index in range(THREADS)]


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_model_stepped_by_two_threads_at_once(when, twins):
    """The second one is refused, and the model is as if it had not tried: in a recording and in replays."""
    pair = twins(lambda: small_net(fn.Dropout(0.2), Waiting(when)))
    pair.both[1].model[2].may_go_on.set()
    pair.run(when - 1)
    waiting = pair.planned.model[2]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pair.planned.step, *batch(50))
        assert waiting.there.wait(30)
        for _ in range(3):
            with pytest.raises(RuntimeError, match=r"in another thread .*: train a copy.deepcopy\(\) of it"):
                pair.planned.step(*batch(51))
        waiting.may_go_on.set()
        assert first.result(30) == pair.both[1].step(*batch(50))
    pair.check()
    pair.run(3)


@pytest.mark.parametrize("plan", [True, False])
def test_a_model_stepped_by_two_trainers_at_once(plan, twins):
    pair = twins(lambda: small_net(Waiting(3)))
    pair.both[1].model[1].may_go_on.set()
    other = fn.Trainer(pair.planned.model, optimizer=pair.planned.optimizer, plan=plan)
    pair.run(2)
    waiting = pair.planned.model[1]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pair.planned.step, *batch(50))
        assert waiting.there.wait(30)
        with pytest.raises(RuntimeError, match="this model is in the middle of a training step"):
            other.step(*batch(51))
        waiting.may_go_on.set()
        assert first.result(30) == pair.both[1].step(*batch(50))
    pair.check()
    assert other.updates == 0
    pair.run(2)


def test_a_model_that_took_the_place_of_another_one_is_guarded_too():
    first, second = fn.Trainer(small_net()), fn.Trainer(small_net(Waiting()))
    first.model = second.model
    waiting = second.model[1]
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(first.step, *batch())
        assert waiting.there.wait(30)
        refused = pool_free = False
        try:
            second.step(*batch())
        except RuntimeError:
            refused = True
        waiting.may_go_on.set()
        pool_free = np.isfinite(step.result(30))
    assert refused
    assert pool_free


def test_a_fit_refuses_a_second_one():
    model = small_net(Waiting(3))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fn.fit, model, batch(rows=60), batch_size=10, seed=1)
        assert model[1].there.wait(30)
        with pytest.raises(RuntimeError, match="this model is in the middle of a training step"):
            fn.fit(model, batch(rows=60), batch_size=10, seed=1)
        model[1].may_go_on.set()
        assert len(first.result(30).updates["loss"]) == 6


def test_predictions_of_a_model_while_another_thread_waits_in_its_step():
    model = small_net(Waiting(2))
    x, y = batch()
    expected = model.predict(x)
    trainer = fn.Trainer(model, optimizer=fn.SGD(lr=0))
    trainer.step(x, y)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(trainer.step, x, y)
        assert model[1].there.wait(30)
        for _ in range(3):
            assert model.predict(x).tobytes() == expected.tobytes()
            fn.evaluate(model, (x, y))
        model[1].may_go_on.set()
        first.result(30)


ON_ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
import fastnn as fn

fn.set_num_threads(2)
model = fn.Sequential(fn.Linear(30, 64), fn.ReLU(), fn.Linear(64, 64), fn.ReLU(), fn.Linear(64, 1))
trainer = fn.Trainer(model, optimizer=fn.Adam(), loss="binary_cross_entropy", seed=0)
x, y = np.ones((128, 30), np.float32), np.zeros((128, 1), np.float32)
alone = 0
for _ in range(20_000):
    trainer.step(x, y)
    alone += trainer._plans.last is not None and trainer._plans.last.plan.runs_alone
print(alone)
"""


@needs_affinity
def test_a_step_runs_on_one_thread_if_two_do_not_gain():
    """Two threads on one core: each trial may be disturbed, but not most of them."""
    command = [sys.executable, "-c", ON_ONE_CORE]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout) > 10_000
