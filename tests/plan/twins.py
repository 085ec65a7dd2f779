"""Two trainers that start out equal: one replays plans, the other one runs eagerly."""

import numpy as np

import fastnn as fn

FEATURES, CLASSES = 6, 3


def small_net(*middle):
    """A classifier for `batch()`, with these layers between its two linear ones."""
    return fn.Sequential(fn.Linear(FEATURES, 16), *(middle or (fn.Tanh(),)), fn.Linear(16, CLASSES))


def batch(seed=0, rows=33, dtype=np.float32):
    """Features and labels, others for each seed."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, FEATURES)).astype(dtype)
    return x, generator.integers(0, CLASSES, rows)


class AsImages(fn.Layer):
    """The features as images of two channels."""

    recordable = True

    def output_shape(self, shape):
        return 1, shape[0] // 2, 2

    def forward(self, x, *, train=False):
        return x.reshape(len(x), *self.output_shape(x.shape[1:])), lambda dy, *, need_dx=True: dy.reshape(
            x.shape
        )


class Twins:
    """Whatever is done to both of them, they must stay equal to the last bit.

    `model`, `loss` and `optimizer` are functions that make one; each is called twice from the same seed.
    """

    def __init__(
        self,
        snapshot,
        model=small_net,
        loss=fn.CrossEntropy,
        optimizer=lambda: fn.SGD(lr=0.1, momentum=0.9),
        **options,
    ):
        self.snapshot = snapshot
        self.steps = 0
        self.both = []
        for plan in (True, False):
            fn.manual_seed(0)
            parts = {"model": model(), "loss": loss(), "optimizer": optimizer()}
            self.both.append(fn.Trainer(**parts, seed=3, plan=plan, **options))

    @property
    def planned(self):
        return self.both[0]

    @property
    def replays(self):
        """Whether the planned one has a recorded step for the batch of its last step."""
        return self.planned._plans.last is not None

    @property
    def calls(self):
        """The names of the calls of the recorded step."""
        return [name for name, *_ in self.planned._plans.last.plan.calls()]

    def do(self, change):
        """`change(trainer)` for both."""
        for trainer in self.both:
            change(trainer)

    def step(self, x=None, y=None):
        """The same step for both, on another batch each time unless one is given; they stay equal."""
        if x is None:
            x, y = batch(seed=self.steps)
        self.steps += 1
        losses = [trainer.step(x, y) for trainer in self.both]
        assert losses[0].hex() == losses[1].hex(), f"the losses of step {self.steps}"
        self.check()

    def check(self):
        planned, eager = (self.snapshot(trainer.model, trainer.optimizer) for trainer in self.both)
        assert planned == eager, f"after step {self.steps}"
        assert self.both[0].updates == self.both[1].updates

    def run(self, steps=3):
        for _ in range(steps):
            self.step()

    def fail(self, x, y):
        """A step that both refuse, with the same words, and that changes nothing; returns the error."""
        before = self.snapshot(self.planned.model, self.planned.optimizer)
        errors = []
        for trainer in self.both:
            try:
                trainer.step(x, y)
            except Exception as error:
                errors.append(error)
            else:
                raise AssertionError(f"the step was taken with plan={trainer.plan}")
        assert [type(error) for error in errors] == [type(errors[0])] * 2
        assert str(errors[0]) == str(errors[1])
        self.check()
        assert self.snapshot(self.planned.model, self.planned.optimizer) == before
        return errors[0]
