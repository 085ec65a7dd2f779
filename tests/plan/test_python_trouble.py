"""Python code in a recorded step that raises, calls fastnn itself, or changes the model being trained."""

import copy

import numpy as np
import pytest

import fastnn as fn

from .twins import CLASSES, batch, small_net


class Hook(fn.Layer):
    """y = x; calls `there(n)` and `back(n)` in its n-th training step, from 1."""

    def __init__(self):
        self.calls = 0
        self.there = self.back = lambda n: None

    def forward(self, x, *, train=False):
        if not train:
            return x, lambda dy, *, need_dx=True: dy
        self.calls += 1
        n = self.calls
        self.there(n)

        def backward(dy, *, need_dx=True):
            self.back(n)
            return dy

        return x, backward


def hooked():
    """Layer 3 is the hook; random and recorded layers are before and behind it."""
    return fn.Sequential(
        *(fn.Linear(6, 16), fn.ReLU(), fn.Dropout(0.3), Hook()),
        *(fn.Linear(16, 16), fn.Dropout(0.3), fn.Linear(16, CLASSES)),
    )


class HookedLoss(fn.CrossEntropy):
    calls, there = 0, staticmethod(lambda n: None)

    def evaluate(self, *arguments):
        self.calls += 1
        self.there(self.calls)
        super().evaluate(*arguments)


class HookedOptimizer(fn.SGD):
    calls, there = 0, staticmethod(lambda n: None)

    def update(self, value, grad, state, lr):
        self.calls += 1
        self.there(self.calls)
        super().update(value, grad, state, lr)


def raise_at(when, error=ZeroDivisionError):
    def function(n):
        if n == when:
            raise error("at the agreed time")

    return function


ERRORS = [ZeroDivisionError, ValueError, fn.NonFiniteError, KeyboardInterrupt, SystemExit, MemoryError]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("where", ["there", "back"])
def test_a_layer_that_raises(where, when, error, twins):
    pair = twins(hooked, optimizer=fn.Adam)
    pair.do(lambda trainer: setattr(trainer.model[3], where, raise_at(when, error)))
    pair.run(when - 1)
    before = pair.snapshot(pair.planned.model, pair.planned.optimizer)
    for trainer in pair.both:
        with pytest.raises(error, match="at the agreed time"):
            trainer.step(*batch(50))
    pair.check()
    assert pair.snapshot(pair.planned.model, pair.planned.optimizer) == before
    assert pair.planned.updates == when - 1
    pair.run(3)


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_loss_that_raises(when, twins):
    pair = twins(hooked, HookedLoss, fn.Adam)
    pair.do(lambda trainer: setattr(trainer.loss, "there", raise_at(when)))
    pair.run(when - 1)
    before = pair.snapshot(pair.planned.model, pair.planned.optimizer)
    for trainer in pair.both:
        with pytest.raises(ZeroDivisionError):
            trainer.step(*batch(50))
    pair.check()
    assert pair.snapshot(pair.planned.model, pair.planned.optimizer) == before
    pair.run(3)


@pytest.mark.parametrize("when", [1, 2, 3])
def test_an_optimizer_that_raises_at_once(when, twins):
    """In the update of the first of six parameters: not even that was counted."""
    pair = twins(hooked, optimizer=lambda: HookedOptimizer(momentum=0.9))
    pair.do(lambda trainer: setattr(trainer.optimizer, "there", raise_at(6 * when - 5)))
    pair.run(when - 1)
    before = pair.snapshot(pair.planned.model, pair.planned.optimizer)
    for trainer in pair.both:
        with pytest.raises(ZeroDivisionError):
            trainer.step(*batch(50))
    pair.check()
    assert pair.snapshot(pair.planned.model, pair.planned.optimizer) == before
    pair.run(3)


@pytest.mark.parametrize("when", [1, 3, 6, 7, 9])
@pytest.mark.parametrize("where", ["there", "back"])
def test_a_layer_that_raises_in_fit(where, when, snapshot):
    """12 updates in two epochs of 6, the last of each on a shorter batch."""
    x, y = batch(rows=55)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer, history = hooked(), fn.Adam(), fn.History()
        setattr(model[3], where, raise_at(when))
        options = {"batch_size": 10, "epochs": 2, "seed": 1, "plan": plan, "history": history}
        with pytest.raises(ZeroDivisionError):
            fn.fit(model, (x, y), optimizer=optimizer, **options)
        results.append((history.as_dict(), snapshot(model, optimizer)))
        assert len(history.updates["loss"]) == when - 1
        fn.fit(model, (x, y), optimizer=optimizer, **options)
        results[-1] += (history.as_dict(), snapshot(model, optimizer))
    assert results[0] == results[1]


def test_a_step_within_a_step(twins):
    pair = twins(lambda: small_net(Hook()))

    def step_again(trainer):
        def function(n):
            with pytest.raises(RuntimeError, match="this model is in the middle of a training step"):
                trainer.step(*batch())
            with pytest.raises(RuntimeError, match="this model is in the middle of a training step"):
                fn.Trainer(trainer.model, seed=3).step(*batch())
            with pytest.raises(RuntimeError, match="this model is in the middle of a training step"):
                fn.fit(trainer.model, batch(), plan=trainer.plan)

        trainer.model[1].there = trainer.model[1].back = function

    pair.do(step_again)
    pair.run(3)


def test_a_step_within_a_step_reaches_the_caller(twins):
    pair = twins(hooked)
    pair.run(2)
    pair.do(lambda trainer: setattr(trainer.model[3], "there", lambda n: trainer.step(*batch())))
    assert isinstance(pair.fail(*batch()), RuntimeError)
    pair.do(lambda trainer: setattr(trainer.model[3], "there", lambda n: None))
    pair.run(2)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("where", ["there", "back"])
def test_a_layer_that_trains_and_asks_another_model(where, threads, twins):
    fn.set_num_threads(threads)
    x = np.random.default_rng(1).normal(size=(40, 301)).astype(np.float32)

    def give_work(trainer):
        fn.manual_seed(5)
        other = fn.Sequential(fn.Linear(301, 203), fn.Tanh(), fn.Linear(203, 6))
        teacher = fn.Trainer(other, optimizer=fn.Adam(), plan=trainer.plan, seed=1)

        def function(n):
            for rows in (40, 40, 39):
                teacher.step(x[:rows], np.arange(rows) % 6)
            fn.fit(other, (x, np.arange(40) % 6), batch_size=16, seed=n, plan=trainer.plan)
            outputs = [other.predict(x[:7]) for _ in range(3)]
            fn.gradients(other, (x, np.arange(40) % 6))
            trainer.model[3].seen = [array.tobytes() for array in outputs]

        setattr(trainer.model[3], where, function)

    pair = twins(hooked)
    pair.do(give_work)
    for _ in range(4):
        pair.step()
        assert pair.planned.model[3].seen == pair.both[1].model[3].seen


def test_a_layer_that_asks_and_copies_its_own_model(twins):
    def look_around(trainer):
        def function(n):
            trainer.model.predict(batch()[0])
            fn.evaluate(trainer.model, batch())
            copied = copy.deepcopy(trainer.model)
            copied[3].there = copied[3].back = lambda n: None
            fn.Trainer(copied, plan=trainer.plan).step(*batch())

        trainer.model[3].there = trainer.model[3].back = function

    pair = twins(hooked)
    pair.do(look_around)
    pair.run(4)


# --- changes in the middle of a step: they hold at once or in the next step ---

CHANGES = {
    "rate": lambda trainer: setattr(trainer.model[2], "rate", 0.8),
    "momentum": lambda trainer: setattr(trainer.optimizer, "momentum", 0.1),
    "frozen": lambda trainer: setattr(trainer.model[0].weight, "trainable", False),
    "frozen above": lambda trainer: trainer.model[6].set_lr_scale(0),
    "lr": lambda trainer: setattr(trainer.optimizer, "lr", 0.0),
    "loss": lambda trainer: setattr(trainer, "loss", fn.CrossEntropy(reduction="sum")),
    "smoothing": lambda trainer: setattr(trainer.loss, "label_smoothing", 0.5),
    "optimizer": lambda trainer: setattr(trainer, "optimizer", fn.Adam()),
    "layers": lambda trainer: setattr(trainer.model, "layers", (*trainer.model.layers, fn.Tanh())),
}


@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("where", ["there", "back"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_the_middle_holds_in_the_next_step(change, where, when, twins):
    """The step itself may go either way, so the twin gets the weights that come out of it."""
    pair = twins(hooked, optimizer=lambda: fn.SGD(lr=0.05, momentum=0.9))

    def change_at(trainer):
        hook = trainer.model[3]
        setattr(hook, where, lambda n: CHANGES[change](trainer) if n == when else None)

    pair.do(change_at)
    pair.run(when - 1)
    losses = [trainer.step(*batch(50)) for trainer in pair.both]
    assert np.isfinite(losses).all()
    planned, eager = pair.both
    for old, new in zip(planned.model.parameters(), eager.model.parameters(), strict=True):
        new.value = old.value
        theirs, ours = planned.optimizer.state(old), eager.optimizer.state(new)
        ours.counter[:] = theirs.counter
        ours.clear()
        for name, array in theirs.items():
            ours.array(name, array)[...] = array
    for old, new in zip(planned.model.random_states(), eager.model.random_states(), strict=True):
        new[:] = old
    pair.run(3)


@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("where", ["there", "back"])
def test_weights_set_in_the_middle_hold_at_once(where, when, twins):
    def change_at(trainer):
        def function(n):
            if n == when:
                trainer.model[4].weight.value = 0.5 * trainer.model[4].weight.value

        setattr(trainer.model[3], where, function)

    pair = twins(hooked)
    pair.do(change_at)
    pair.run(5)


@pytest.mark.parametrize("change", sorted({*CHANGES} - {"loss", "optimizer", "layers"}))
def test_a_change_in_the_middle_of_fit_holds(change, snapshot):
    """Made in the third update; compared is what a copy of model and optimizer does after it."""
    x, y = batch(rows=80)
    model, optimizer, loss = hooked(), fn.SGD(lr=0.05, momentum=0.9), fn.CrossEntropy()
    trainer = type("Trained", (), {"model": model, "optimizer": optimizer, "loss": loss})()
    copies = []

    def function(n):
        if n == 3:
            CHANGES[change](trainer)
        if n == 4:
            model[3].there = lambda n: None
            copies.append(copy.deepcopy((model, optimizer, loss)))
            model[3].there = function

    model[3].there = function
    options = {"batch_size": 10, "shuffle": False, "seed": 1}
    fn.fit(model, (x, y), loss=loss, optimizer=optimizer, **options)
    ((twin, rule, loss),) = copies
    eager = fn.Trainer(twin, loss=loss, optimizer=rule, seed=1, plan=False)
    # The copy was made behind the dropout of the fourth update, which has drawn already.
    for state, count in zip(twin.random_states(), (3, 3), strict=True):
        state[1] = count
    for start in range(30, 80, 10):
        eager.step(x[start : start + 10], y[start : start + 10])
    assert snapshot(twin, rule) == snapshot(model, optimizer)


# --- what is not like the recorded step ---


class Odd(fn.Layer):
    """y = x, but in its n-th call the output, in its m-th the gradient is of another kind."""

    def __init__(self, there=0, back=0, odd=lambda x: x[:, :-1].copy()):
        self.calls, self.odd_there, self.odd_back, self.odd = 0, there, back, odd

    def forward(self, x, *, train=False):
        self.calls += 1
        there, back = self.calls == self.odd_there, self.calls == self.odd_back
        return (self.odd(x) if there else x), lambda dy, *, need_dx=True: self.odd(dy) if back else dy


ODD = {
    "narrower": (lambda a: a[:, :-1].copy(), r"float32 \(33, 15\)"),
    "flat": (lambda a: a[:, 0].copy(), r"float32 \(33,\)"),
    "wider type": (lambda a: a.astype(np.float64), r"float64 \(33, 16\)"),
}


@pytest.mark.parametrize("where", ["there", "back"])
@pytest.mark.parametrize("kind", ODD)
def test_another_shape_for_a_batch_of_the_same_shape(kind, where, twins, unchanged):
    odd, got = ODD[kind]
    model = small_net(fn.Dropout(0.2), Odd(**{where: 3}, odd=odd), fn.ReLU())
    optimizer = fn.Adam()
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1)
    for seed in range(2):
        trainer.step(*batch(seed))
    what = "output" if where == "there" else "input gradient"
    wanted = rf"the {what} of Odd\(\.\.\.\) is {got}, but it was float32 \(33, 16\) for an .*plan=False"
    with unchanged(model, optimizer), pytest.raises(ValueError, match=wanted):
        trainer.step(*batch(2))
    trainer.step(*batch(3))
    assert trainer.updates == 3


def test_another_shape_for_another_batch_shape(twins):
    class Pooled(fn.Layer):
        """Half of the features for a small batch, filled up with zeros."""

        def forward(self, x, *, train=False):
            kept = 8 if len(x) < 10 else 16
            y = np.zeros_like(x)
            y[:, :kept] = x[:, :kept]
            mask = np.arange(16) < kept
            return y, lambda dy, *, need_dx=True: dy * mask

    pair = twins(lambda: small_net(Pooled()))
    for rows in (5, 20, 5, 20, 9, 10):
        pair.step(*batch(pair.steps, rows=rows))


class Once(fn.Layer):
    """y = x, but in its n-th training call there is an infinity."""

    def __init__(self, when):
        self.calls, self.when = 0, when

    def forward(self, x, *, train=False):
        self.calls += train
        y = np.full_like(x, np.inf) if train and self.calls == self.when else x
        return y, lambda dy, *, need_dx=True: dy


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_layer_that_overflows_once(when, twins):
    """Its step is called once, and fails; it is not repeated until it works."""
    pair = twins(lambda: small_net(fn.Dropout(0.2), Once(when)))
    pair.run(when - 1)
    for trainer in pair.both:
        with pytest.raises(fn.NonFiniteError, match=f"the loss is nan at update {when}"):
            trainer.step(*batch(50))
    pair.check()
    assert {trainer.model[2].calls for trainer in pair.both} == {when}
    pair.run(2)


@pytest.mark.parametrize("when", [1, 2, 3, 6])
def test_a_layer_that_overflows_once_in_fit(when, snapshot):
    x, y = batch(rows=55)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer, history = small_net(fn.Dropout(0.2), Once(when)), fn.Adam(), fn.History()
        options = {"batch_size": 10, "epochs": 2, "seed": 1, "plan": plan, "history": history}
        with pytest.raises(fn.NonFiniteError, match=f"the loss is nan at update {when}"):
            fn.fit(model, (x, y), optimizer=optimizer, **options)
        assert len(history.updates["loss"]) == when - 1
        results.append((history.as_dict(), snapshot(model, optimizer), model[2].calls))
    assert results[0] == results[1]
