"""Layers in Python among recorded ones: called in order in every step, with the same result."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import ops

from .twins import CLASSES, FEATURES, batch, small_net


class Square(fn.Layer):
    """y = x^2, in NumPy."""

    def forward(self, x, *, train=False):
        return x * x, lambda dy, *, need_dx=True: 2 * x * dy if need_dx else None


class Scale(fn.Layer):
    """y = a x, with a parameter of its own for each feature."""

    def __init__(self, features=16):
        self.a = fn.Param(np.linspace(0.5, 1.5, features, dtype=np.float32))

    def forward(self, x, *, train=False):
        def backward(dy, *, need_dx=True):
            if not self.a.frozen:
                self.a.grad_buffer()[...] = (dy * x).sum(axis=0)
            return dy * self.a.value if need_dx else None

        return x * self.a.value, backward


class Noise(fn.Layer):
    """y = x + noise, drawn by a counter of its own."""

    def __init__(self):
        self.state = np.array([1, 0], np.uint64)

    def random_states(self):
        yield self.state

    def forward(self, x, *, train=False):
        if train:
            bits = np.empty(1, np.uint64)
            ops.random_next(self.state, bits)
            x = x + np.random.default_rng(bits).normal(size=x.shape).astype(x.dtype)
        return x, lambda dy, *, need_dx=True: dy


class Passing(fn.Layer):
    """y = x: the very arrays that it is given."""

    def forward(self, x, *, train=False):
        return x, lambda dy, *, need_dx=True: dy if need_dx else None


class Residual(fn.Layer):
    """y = x + inner(x), the inner layer being a recordable one."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x, *, train=False):
        y, back = self.inner.forward(x, train=train)
        return x + y, lambda dy, *, need_dx=True: dy + back(dy)


class MyReLU(fn.ReLU):
    """A subclass of a recordable class that is something else."""

    def forward(self, x, *, train=False):
        y, back = super().forward(x, train=train)
        return 2 * y, lambda dy, *, need_dx=True: back(2 * dy, need_dx=need_dx)


class SameReLU(fn.ReLU):
    """A subclass that changes nothing."""


class Loud(fn.Linear):
    """A Linear layer whose output is doubled."""

    def forward(self, x, *, train=False):
        y, back = super().forward(x, train=train)
        return y + y, lambda dy, *, need_dx=True: back(dy + dy, need_dx=need_dx)


class Reversed(fn.Sequential):
    """Features the other way round before the layers."""

    def forward(self, x, *, train=False):
        y, back = super().forward(np.ascontiguousarray(x[:, ::-1]), train=train)

        def backward(dy, *, need_dx=True):
            dx = back(dy, need_dx=need_dx)
            return np.ascontiguousarray(dx[:, ::-1]) if need_dx else None

        return y, backward


class Pair(fn.Sequential):
    """A Sequential with a constructor of its own."""

    def __init__(self):
        super().__init__(fn.Linear(16, 16), fn.Tanh())


class HalfDropout(fn.Dropout):
    def forward(self, x, *, train=False):
        return super().forward(x / 2, train=train)


class Average(fn.Layer):
    """y = (x + the x before it) / 2: it remembers the array that it was given."""

    def __init__(self):
        self.before = None

    def forward(self, x, *, train=False):
        before, self.before = self.before, x
        same = before is not None and before.shape == x.shape
        y = (x + before) / np.float32(2) if same else x.copy()
        return y, lambda dy, *, need_dx=True: dy / np.float32(2) if same else dy


class SlowGradient(fn.Layer):
    """y = x, but on the way back dx = (dy + the dy before it) / 2."""

    before = None

    def forward(self, x, *, train=False):
        def backward(dy, *, need_dx=True):
            before, self.before = self.before, dy
            same = before is not None and before.shape == dy.shape
            return (dy + before) / np.float32(2) if same else dy

        return x, backward


class Counting(fn.Layer):
    """y = x * the number of calls: it changes an attribute of its own in every step."""

    def __init__(self):
        self.calls = 0

    def forward(self, x, *, train=False):
        if train:
            self.calls += 1
        factor = np.float32(1 / self.calls)
        return x * factor, lambda dy, *, need_dx=True: dy * factor


@dataclass
class Compared(fn.Layer):
    """A layer that is compared by its value, so it has no hash."""

    factor: float = 0.5

    def forward(self, x, *, train=False):
        factor = x.dtype.type(self.factor)
        return x * factor, lambda dy, *, need_dx=True: dy * factor


MIDDLE = {
    **{kind.__name__: kind for kind in (Square, Scale, Noise, Passing, MyReLU, SameReLU, Pair, HalfDropout)},
    **{kind.__name__: kind for kind in (Counting, Compared)},
    "Residual": lambda: Residual(fn.Sequential(fn.Linear(16, 16), fn.ReLU(), fn.Dropout(0.2))),
    "Residual of Residual": lambda: Residual(fn.Sequential(Residual(fn.Linear(16, 16)), fn.Tanh())),
    "Residual of Scale": lambda: Residual(Scale()),
    "Loud": lambda: Loud(16, 16),
    "Reversed": lambda: Reversed(fn.Linear(16, 16), fn.Sigmoid()),
    "two of them": lambda: fn.Sequential(Scale(), fn.ReLU(), Square(), fn.Linear(16, 16), Passing()),
    "between dropouts": lambda: fn.Sequential(fn.Dropout(0.3), Noise(), fn.Dropout(0.3)),
}


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("optimizer", [lambda: fn.SGD(lr=0.05), fn.Adam], ids=["sgd", "adam"])
@pytest.mark.parametrize("layer", MIDDLE)
def test_in_the_middle(layer, optimizer, fuse, twins):
    pair = twins(lambda: small_net(MIDDLE[layer]()), optimizer=optimizer, fuse=fuse)
    pair.run(4)
    assert pair.replays
    pair.step(*batch(9, rows=5))
    pair.run(2)


ENDS = {
    "first": lambda: fn.Sequential(Scale(FEATURES), small_net()),
    "last": lambda: fn.Sequential(small_net(), Scale(CLASSES)),
    "alone": lambda: Scale(CLASSES),
    "around all": lambda: Residual(Scale(CLASSES)),
    "subclass around all": lambda: Reversed(fn.Linear(FEATURES, CLASSES)),
    "subclass of Linear": lambda: Loud(FEATURES, CLASSES),
    "nothing to train": lambda: fn.Sequential(small_net(), Square()).set_lr_scale(0),
}


@pytest.mark.parametrize("where", ENDS)
def test_at_the_ends(where, twins):
    pair = twins(ENDS[where])
    width = CLASSES if where in ("alone", "around all") else FEATURES
    for seed in range(4):
        x, y = batch(seed)
        pair.step(np.ascontiguousarray(x[:, :width]), y)


@pytest.mark.parametrize("layer", MIDDLE)
def test_in_fit(layer, snapshot):
    x, y = batch(rows=50)
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model, optimizer = small_net(MIDDLE[layer]()), fn.Adam()
        options = {"batch_size": 8, "epochs": 3, "seed": 2, "plan": plan}
        history = fn.fit(model, (x, y), optimizer=optimizer, validation=(x, y), **options)
        results.append((history.as_dict(), snapshot(model, optimizer)))
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", [Average, SlowGradient])
def test_a_layer_that_remembers_the_array_it_was_given(kind, twins):
    twins(lambda: small_net(kind())).run(5)
    twins(lambda: small_net(fn.ReLU(), kind(), fn.Dropout(0.2)), optimizer=fn.Adam, fuse=False).run(5)


def test_a_model_without_a_hash():
    model = Compared()
    x, y = batch()
    trainer = fn.Trainer(fn.Sequential(model, small_net()))
    assert trainer.step(x, y) > trainer.step(x, y)
    for _ in range(3):
        np.testing.assert_array_equal(model.predict(x), x / 2)
    assert fn.Trainer(model, loss="squared_error").step(x, x) > 0


def test_frozen_and_thawed(twins):
    pair = twins(lambda: small_net(Scale(), fn.ReLU(), Residual(fn.Linear(16, 16))))
    pair.run(2)
    for scale in (0, 1, 0.5):
        pair.do(lambda trainer, scale=scale: trainer.model[1].set_lr_scale(scale))
        pair.run(2)
        pair.do(lambda trainer, scale=scale: trainer.model[0].set_lr_scale(scale))
        pair.run(2)


def test_kept_gradients(twins):
    pair = twins(lambda: small_net(Scale(), Residual(fn.Linear(16, 16))), keep_gradients=True)
    for _ in range(4):
        pair.step()
        for a, b in zip(*(trainer.model.parameters() for trainer in pair.both), strict=True):
            assert a.grad.tobytes() == b.grad.tobytes()


def test_a_random_layer_draws_nothing_in_a_step_that_fails(twins, snapshot):
    def steep():
        model = small_net(Noise(), fn.Dropout(0.2))
        model[3].weight.value = 1e3 * model[3].weight.value
        return model

    pair = twins(steep)
    pair.run(2)
    x, y = batch()
    pair.fail(x * np.float32(1e37), y)
    pair.run(2)
    results = []
    x = np.concatenate([x] * 3)
    x[71] *= np.float32(1e37)
    for plan in (True, False):
        fn.manual_seed(0)
        model, history = steep(), fn.History()
        options = {"batch_size": 10, "shuffle": False, "seed": 2, "plan": plan, "history": history}
        with pytest.raises(fn.NonFiniteError, match="at update 8:"):
            fn.fit(model, (x, np.tile(y, 3)), **options)
        results.append((history.as_dict(), snapshot(model)))
    assert results[0] == results[1]


class Late(fn.Layer):
    """y = x in the first two calls; from then on Scale, whose parameter gets its first gradient there."""

    def __init__(self):
        self.scale, self.calls = Scale(), 0

    def forward(self, x, *, train=False):
        self.calls += 1
        if self.calls > 2:
            return self.scale.forward(x, train=train)
        return x, lambda dy, *, need_dx=True: dy


def test_a_parameter_whose_first_gradient_comes_late(twins):
    pair = twins(lambda: small_net(Late()))
    before = pair.planned.model[1].scale.a.value
    pair.run(5)
    assert (pair.planned.model[1].scale.a.value != before).all()


class Stack(fn.Layer):
    """Layers in a list, which can change without anybody noticing."""

    def __init__(self, *layers):
        self.list = list(layers)

    def named_parameters(self, prefix=""):
        for index, layer in enumerate(self.list):
            yield from layer.named_parameters(f"{prefix}{index}.")

    def forward(self, x, *, train=False):
        backs = []
        for layer in self.list:
            x, back = layer.forward(x, train=train)
            backs.append(back)

        def backward(dy, *, need_dx=True):
            for back in reversed(backs):
                dy = back(dy)
            return dy

        return x, backward


def test_a_layer_replaced_in_a_container_of_ones_own(twins):
    def replace(trainer, kind):
        fn.manual_seed(6)
        trainer.model[1].inner = kind()

    pair = twins(lambda: small_net(Residual(fn.Linear(16, 16))))
    for kind in (Scale, fn.ReLU, lambda: fn.Linear(16, 16)):
        pair.run(2)
        pair.do(partial(replace, kind=kind))
        pair.run(2)


def test_a_layer_made_before_replaces_one_in_a_list(twins):
    pair = twins(lambda: small_net(Stack(fn.Linear(16, 16), fn.ReLU())), optimizer=fn.Adam)
    spares = []
    for _ in pair.both:
        fn.manual_seed(6)
        spares.append(fn.Linear(16, 16))
    pair.run(2)
    for trainer, spare in zip(pair.both, spares, strict=True):
        trainer.model[1].list[0] = spare
    pair.run(3)


def test_forward_replaced_on_an_instance(twins):
    """As debuggers and hooks do it."""

    def hook(layer):
        forward = layer.forward

        def doubled(x, *, train=False):
            y, back = forward(x, train=train)
            return 2 * y, lambda dy, *, need_dx=True: back(2 * dy, need_dx=need_dx)

        layer.forward = doubled

    pair = twins(lambda: small_net(fn.Tanh(), fn.Linear(16, 16)))
    pair.run(2)
    pair.do(lambda trainer: hook(trainer.model[1]))
    pair.run(3)
