"""Ctrl-C during recorded steps takes effect between two updates and loses nothing."""

import signal

import numpy as np
import pytest

import fastnn as fn
from fastnn.training import turns
from tests.kernels.children import run_child
from tests.systems import needs_timer


def in_child_interruptions(kind, times):
    """Interrupt `fit` at random moments; whatever was done must be exactly so many updates."""
    import random
    import time

    import numpy as np

    import fastnn as fn

    class Square(fn.Layer):
        def forward(self, x, *, train=False):
            return x * x, lambda dy, *, need_dx=True: 2 * x * dy

    rows, size, epochs = {
        "short epochs": (64, 10, 5000),
        "long epochs": (100_003, 10, 50),
        "python": (500, 10, 500),
    }[kind]
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 6)).astype(np.float32)
    y = generator.integers(0, 3, rows)

    def make():
        fn.manual_seed(0)
        middle = Square() if kind == "python" else fn.Tanh()
        return fn.Sequential(fn.Linear(6, 16), middle, fn.Dropout(0.2), fn.Linear(16, 3)), fn.Adam()

    def contents(model, optimizer):
        states = [optimizer.state(param) for param in model.parameters()]
        return (
            [param.value.tobytes() for param in model.parameters()],
            [[state.steps, *(array.tobytes() for array in state.values())] for state in states],
            [state.tobytes() for state in model.random_states()],
        )

    def seconds_of_start():
        started = time.perf_counter()
        fn.fit(make()[0], (x[:size], y[:size]), optimizer=fn.Adam(), batch_size=size, epochs=1)
        return time.perf_counter() - started

    ends = []  # (updates done, losses, contents), to be compared with one run that is not interrupted
    randomness = random.Random(0)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    for _ in range(times):
        model, optimizer, history = make()[0], fn.Adam(), fn.History()
        options = {"batch_size": size, "shuffle": False, "seed": 1, "history": history}
        interrupted = False
        # On a busy machine, most moments would come before the first update.
        slowest = max(0.08 if kind == "long epochs" else 0.04, 10 * seconds_of_start())
        try:
            signal.setitimer(signal.ITIMER_REAL, randomness.uniform(0.0005, slowest))
            fn.fit(model, (x, y), optimizer=optimizer, epochs=epochs, **options)
        except KeyboardInterrupt:
            interrupted = True
        assert interrupted
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        losses = history.updates["loss"]
        assert optimizer.state(model.parameters()[0]).steps == len(losses)
        ends.append((len(losses), losses[-3:], contents(model, optimizer)))
        if rows < 1000:  # training can go on
            per_epoch = -(-rows // size)
            fn.fit(model, (x, y), optimizer=optimizer, epochs=1, **options)
            assert len(history.updates["loss"]) == ends[-1][0] + per_epoch
            assert np.isfinite(history.updates["loss"]).all()

    model, optimizer = make()
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1)
    starts, done, last = list(range(0, rows, size)), 0, []
    for count, losses, expected in sorted(ends, key=lambda end: end[0]):
        while done < count:
            start = starts[done % len(starts)]
            last = [*last[-2:], trainer.step(x[start : start + size], y[start : start + size])]
            done += 1
        if count:
            assert losses == last
            assert contents(model, optimizer) == expected, count
    # In a long epoch Ctrl-C is answered every 50 ms, whatever the moment.
    few = 2 if kind == "long epochs" else times // 3
    assert len({count for count, _, _ in ends}) >= few, "the moments are all alike"
    assert time.process_time() < 60
    print(sorted(count for count, _, _ in ends))


@needs_timer
@pytest.mark.parametrize("kind", ["short epochs", "long epochs", "python"])
def test_interruptions_at_random_moments(kind):
    print(run_child(in_child_interruptions, kind, 50))


def in_child_steps_by_hand(times, counted):
    """Interrupt a loop of recorded steps: each was taken as a whole or not at all, and the next one works."""
    import random

    import numpy as np

    import fastnn as fn

    x, y = np.random.default_rng(0).normal(size=(33, 6)).astype(np.float32), np.arange(33) % 3

    def make():
        fn.manual_seed(0)
        model = fn.Sequential(fn.Linear(6, 16), fn.Tanh(), fn.Dropout(0.2), fn.Linear(16, 3))
        return fn.Trainer(model, optimizer=fn.Adam(), seed=1)

    def contents(trainer):
        return [param.value.tobytes() for param in trainer.model.parameters()]

    trainer, reference = make(), make()
    trainer.step(x, y)
    trainer.step(x, y)
    state = trainer.optimizer.state(trainer.model.parameters()[0])
    interrupted, randomness = 0, random.Random(0)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    for _ in range(times):
        try:
            signal.setitimer(signal.ITIMER_REAL, randomness.uniform(0.00002, 0.0003))
            for _ in range(10**6):
                trainer.step(x, y)
        except KeyboardInterrupt:
            interrupted += 1
        while reference.updates < state.steps:
            reference.step(x, y)
        assert contents(trainer) == contents(reference)
        assert not counted or trainer.updates == state.steps
    assert interrupted == times
    trainer.step(x, y)


@needs_timer
def test_interrupted_steps_by_hand_are_whole_and_the_model_stays_usable():
    run_child(in_child_steps_by_hand, 1000, False)


@needs_timer
def test_interrupted_steps_by_hand_are_counted():
    run_child(in_child_steps_by_hand, 1000, True)


def in_child_draws(times):
    """Interrupt steps with a layer in Python: one that counted has kept its draw, another has not drawn."""
    import random

    import numpy as np

    import fastnn as fn

    class Square(fn.Layer):
        def forward(self, x, *, train=False):
            return x * x, lambda dy, *, need_dx=True: 2 * x * dy

    x, y = np.random.default_rng(0).normal(size=(33, 6)).astype(np.float32), np.arange(33) % 3
    for plan in (True, False):
        fn.manual_seed(0)
        dropout = fn.Dropout(0.2)
        model = fn.Sequential(fn.Linear(6, 300), Square(), dropout, fn.Linear(300, 3))
        trainer = fn.Trainer(model, optimizer=fn.SGD(lr=0.0), seed=1, plan=plan)
        trainer.step(x, y)
        interrupted, randomness = 0, random.Random(0)
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        for _ in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, randomness.uniform(0.00002, 0.0003))
                for _ in range(10**6):
                    trainer.step(x, y)
            except KeyboardInterrupt:
                interrupted += 1
            assert dropout.state[1] == trainer.updates, (plan, dropout.state[1], trainer.updates)
        assert interrupted == times


@needs_timer
def test_a_step_that_counts_keeps_its_draws():
    run_child(in_child_draws, 300)


def in_child_bar_is_interrupted(when):
    """Ctrl-C while the progress bar is made or thrown away, where Python ignores exceptions."""

    import numpy as np
    import tqdm.auto

    import fastnn as fn
    from fastnn.training import progress

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *arguments, **options):
            if when == "made":
                signal.raise_signal(signal.SIGINT)
            super().__init__(*arguments, **options)

        def __del__(self):
            if when == "thrown away":
                signal.raise_signal(signal.SIGINT)
            super().__del__()

    tqdm.auto.tqdm = Bar
    progress._is_terminal = lambda: True
    history = fn.History()
    try:
        data = np.ones((100, 6), np.float32), np.arange(100) % 3
        fn.fit(fn.Linear(6, 3), data, batch_size=10, epochs=3, history=history)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("Ctrl-C was lost")
    assert len(history.updates["loss"]) <= 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("when", ["made", "thrown away"])
def test_the_progress_bar_swallows_no_interruption(when):
    run_child(in_child_bar_is_interrupted, when)


def in_child_two_interruptions():
    """A second Ctrl-C does not wait for the end of the update; the counters are still whole."""

    import numpy as np

    import fastnn as fn

    class Impatient(fn.Layer):
        calls = 0

        def forward(self, x, *, train=False):
            self.calls += train
            if self.calls == 5:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return x, lambda dy, *, need_dx=True: dy

    model = fn.Sequential(fn.Linear(6, 16), fn.Dropout(0.2), Impatient(), fn.Linear(16, 3))
    optimizer, history = fn.Adam(), fn.History()
    x, y = np.ones((100, 6), np.float32), np.arange(100) % 3
    try:
        fn.fit(model, (x, y), optimizer=optimizer, batch_size=10, history=history)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("Ctrl-C was lost")
    assert len(history.updates["loss"]) == 4
    assert {optimizer.state(param).steps for param in model.parameters()} == {4}
    assert [int(state[1]) for state in model.random_states()] == [4]
    fn.fit(model, (x, y), optimizer=optimizer, batch_size=10)


def test_a_second_ctrl_c_ends_the_step_that_is_at_it():
    run_child(in_child_two_interruptions)


def test_an_interruption_between_two_turns_ends_the_training(monkeypatch):
    """It still exists in the traceback; then Ctrl-C must be handled as before the training."""
    ended = []

    class Ends(fn.Callback):
        def on_exception(self, training, error):
            ended.append(error)

    def interrupted(training, updates):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        raise KeyboardInterrupt

    monkeypatch.setattr(turns, "take_turn", interrupted)
    with pytest.raises(KeyboardInterrupt) as error:
        fn.fit(fn.Sequential(fn.Linear(2, 2)), (np.ones((4, 2)), np.zeros(4, int)), callbacks=Ends())
    assert error.traceback
    assert ended
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
