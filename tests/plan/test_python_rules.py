"""Losses and optimizers written in Python: called in order in every step, with the same result."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import ops

from .test_python_layers import Scale
from .twins import CLASSES, batch, small_net


class Absolute(fn.Loss):
    """The mean of |y - t|."""

    def targets(self, target, outputs, dtype):
        return np.ascontiguousarray(target, dtype)

    def evaluate(self, y, target, reduction, losses, loss, dy):
        difference = y - target
        losses[...] = np.abs(difference).mean(axis=1)
        loss[0] = losses.mean() if reduction == "mean" else losses.sum()
        if dy is not None:
            dy[...] = np.sign(difference) / (difference.size if reduction == "mean" else CLASSES)


class Doubled(Absolute):
    """Its door changes the targets, so they are not what the user gave, but look the same."""

    def targets(self, target, outputs, dtype):
        return 2 * super().targets(target, outputs, dtype)


class Confident(fn.CrossEntropy):
    """A subclass of a recordable loss that does something more."""

    def evaluate(self, y, target, reduction, losses, loss, dy):
        super().evaluate(y, target, reduction, losses, loss, dy)
        loss[0] += 0.5
        if dy is not None:
            dy *= 1.5


class SameEntropy(fn.CrossEntropy):
    """A subclass that changes nothing."""


class Halved(fn.CrossEntropy):
    """A subclass that overrides what the trainer calls."""

    def value_and_gradient(self, y, target):
        loss, dy = super().value_and_gradient(y, target)
        return loss / 2, dy / y.dtype.type(2)


class Counted(fn.CrossEntropy):
    """It counts its own calls in an attribute."""

    calls = 0

    def evaluate(self, y, target, reduction, losses, loss, dy):
        self.calls += 1
        super().evaluate(y, target, reduction, losses, loss, dy)
        loss[0] *= self.calls


class FromOne(fn.CrossEntropy):
    """Its labels are counted from 1."""

    def targets(self, target, outputs, dtype):
        return super().targets(np.asarray(target) - 1, outputs, dtype)


def rows(x, y):
    return np.eye(CLASSES, dtype=np.float32)[y]


class Delayed(Absolute):
    """It mixes in the targets of the step before, having kept the array that it was given."""

    before = None

    def evaluate(self, y, target, reduction, losses, loss, dy):
        before, self.before = self.before, target
        mixed = target if before is None or before.shape != target.shape else (target + before) / 2
        super().evaluate(y, mixed.astype(y.dtype), reduction, losses, loss, dy)


LOSSES = {
    Absolute: rows,
    Delayed: rows,
    Doubled: rows,
    Confident: lambda x, y: y,
    SameEntropy: lambda x, y: y,
    Halved: lambda x, y: y,
    Counted: lambda x, y: y,
    FromOne: lambda x, y: y + 1,
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda kind: kind.__name__)
def test_loss(loss, reduction, twins):
    pair = twins(
        lambda: small_net(fn.ReLU(), fn.Dropout(0.2)),
        lambda: loss(reduction=reduction),
        lambda: fn.SGD(lr=0.01, momentum=0.5),
    )
    for seed in range(5):
        x, y = batch(seed)
        pair.step(x, LOSSES[loss](x, y))
    assert pair.replays


@pytest.mark.parametrize("loss", LOSSES, ids=lambda kind: kind.__name__)
def test_loss_in_fit(loss, snapshot):
    x, y = batch(rows=50)
    target, results = LOSSES[loss](x, y), []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer = small_net(), fn.Adam()
        options = {"batch_size": 8, "epochs": 3, "seed": 2, "plan": plan}
        history = fn.fit(model, (x, target), loss=loss(), optimizer=optimizer, **options)
        results.append((history.as_dict(), snapshot(model, optimizer)))
    assert results[0] == results[1]


def test_a_loss_checks_its_arguments_in_every_step(twins):
    class Binary(Absolute):
        def targets(self, target, outputs, dtype):
            if not np.isin(target, (0, 1)).all():
                raise ValueError("targets must be 0 or 1")
            return super().targets(target, outputs, dtype)

    pair = twins(loss=Binary)
    for seed in range(3):
        x, y = batch(seed)
        pair.step(x, rows(x, y))
    assert str(pair.fail(x, rows(x, y) / np.float32(2))) == "targets must be 0 or 1"


class Plain(fn.Optimizer):
    """p -= lr g, in NumPy."""

    def update(self, value, grad, state, lr):
        value -= value.dtype.type(lr) * grad


class Momentum(fn.Optimizer):
    def update(self, value, grad, state, lr):
        velocity = state.array("velocity", value)
        velocity[...] = velocity / 2 + grad
        value -= value.dtype.type(lr / state.steps) * velocity


class HalfRate(fn.SGD):
    """A subclass of a recordable optimizer that overrides update."""

    def update(self, value, grad, state, lr):
        super().update(value, grad, state, lr / 2)


class SameAdam(fn.Adam):
    """A subclass that changes nothing."""


class Decaying(fn.SGD):
    """A subclass that overrides step: a schedule."""

    def step(self, params):
        super().step(params)
        self.lr *= 0.5


class Clipping(fn.SGD):
    """A subclass that overrides step: it clips the gradients before."""

    def step(self, params):
        for param in params:
            if param.has_grad:
                np.clip(param.grad_buffer(), -0.01, 0.01, out=param.grad_buffer())
        super().step(params)


class Shrinking(fn.Adam):
    """A subclass that overrides step: it shrinks the weights behind."""

    def step(self, params):
        super().step(params)
        for param in params:
            param.value = 0.9 * param.value


class EverySecond(fn.SGD):
    """A subclass that overrides step: only every second one does anything."""

    calls = 0

    def step(self, params):
        self.calls += 1
        if self.calls % 2:
            super().step(params)


class WarmUp(fn.SGD):
    """Its learning rate is a property of its own."""

    calls = 0

    @property
    def lr(self):
        return self._lr * min(1, self.calls / 4)

    @lr.setter
    def lr(self, lr):
        self._lr = lr

    def update(self, value, grad, state, lr):
        self.calls += 1
        super().update(value, grad, state, lr)


OPTIMIZERS = (Plain, Momentum, HalfRate, SameAdam, Decaying, Clipping, Shrinking, EverySecond, WarmUp)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda kind: kind.__name__)


@every_optimizer
def test_optimizer(optimizer, twins):
    pair = twins(lambda: small_net(fn.ReLU(), fn.Dropout(0.2)), optimizer=lambda: optimizer(lr=0.1))
    pair.run(6)
    assert pair.replays
    assert pair.planned.optimizer.lr == pair.both[1].optimizer.lr


@every_optimizer
def test_optimizer_beside_a_python_layer(optimizer, twins):
    pair = twins(lambda: small_net(Scale(), fn.ReLU(), Scale()), optimizer=lambda: optimizer(lr=0.1))
    pair.run(6)


@every_optimizer
def test_optimizer_of_a_model_that_is_all_python(optimizer, twins):
    pair = twins(lambda: Scale(CLASSES), optimizer=lambda: optimizer(lr=0.1))
    for seed in range(6):
        x, y = batch(seed)
        pair.step(np.ascontiguousarray(x[:, :CLASSES]), y)


@every_optimizer
def test_optimizer_in_fit(optimizer, snapshot):
    x, y = batch(rows=50)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, rule = small_net(), optimizer(lr=0.1)
        options = {"batch_size": 8, "epochs": 3, "seed": 2, "plan": plan}
        history = fn.fit(model, (x, y), optimizer=rule, **options)
        results.append((history.as_dict(), snapshot(model, rule)))
    assert results[0] == results[1]


@every_optimizer
def test_optimizer_with_a_rate_that_changes(optimizer, twins):
    pair = twins(optimizer=lambda: optimizer(lr=0.1))
    for rate in (0.1, 0.1, 0.3, 0.1, 0, 0.2):
        pair.do(lambda trainer, rate=rate: setattr(trainer.optimizer, "lr", rate))
        pair.step()


def test_layers_loss_and_optimizer_all_in_python(twins):
    pair = twins(lambda: small_net(Scale(), fn.ReLU()), lambda: Absolute("sum"), lambda: Momentum(0.01))
    for seed in range(5):
        x, y = batch(seed)
        pair.step(x, rows(x, y))
        pair.step(x[:7], rows(x, y)[:7])


FORGET = {
    "clear": lambda state: state.clear(),
    "pop": lambda state: state.pop("v"),
    "pop any": lambda state: state.popitem(),
    "delete": lambda state: state.__delitem__("m"),
    "replace": lambda state: state.__setitem__("m", np.ones_like(state["m"])),
    "update": lambda state: state.update(m=np.ones_like(state["m"])),
    "overwrite": lambda state: state["m"].fill(1),
    "count again": lambda state: state.counter.fill(0),
}


@pytest.mark.parametrize("forget", FORGET)
def test_moments_forgotten_between_steps(forget, twins):
    pair = twins(optimizer=fn.Adam)
    pair.run()
    pair.do(lambda trainer: [FORGET[forget](trainer.optimizer.state(p)) for p in trainer.model.parameters()])
    pair.run()


class OwnSGD(fn.Optimizer):
    """An optimizer of one's own that calls nothing but kernels."""

    recordable = True

    def update(self, value, grad, state, lr):
        ops.sgd(grad, state.set_hyper(lr, 0, 0, 0), None, value)


class OwnSGDWithHyper(OwnSGD):
    """The same, and it says what its kernel reads."""

    recordable = True

    def hyper(self, lr):
        return lr, 0, 0, 0


@pytest.mark.parametrize("optimizer", [OwnSGD, OwnSGDWithHyper])
def test_a_recordable_optimizer_of_ones_own(optimizer, twins):
    pair = twins(optimizer=lambda: optimizer(0.1))
    for rate in (0.1, 0.1, 0.3, 0, 0.1):
        pair.do(lambda trainer, rate=rate: setattr(trainer.optimizer, "lr", rate))
        pair.step()


def test_a_recordable_class_of_ones_own(twins):
    """Whoever calls nothing but kernels may say so."""

    class Twice(fn.Layer):
        recordable = True

        def __init__(self):
            self.inner = fn.Sequential(fn.Linear(16, 16), fn.ReLU(), fn.Linear(16, 16))

        def forward(self, x, *, train=False):
            return self.inner.forward(x, train=train)

    pair = twins(lambda: small_net(Twice(), fn.ReLU()))
    pair.run(4)
    assert not pair.planned._plans.last.has_callbacks
