"""Benchmark a whole training step: forward, loss, backward, update."""

import math
from itertools import pairwise

import numpy as np
import pytest

import fastnn as fn
from bench.numpy_mlp import NumpyMLP
from bench.racing import assert_close, time_contestant

LR = 0.01
ACTIVATIONS = {"relu": fn.ReLU, "sigmoid": fn.Sigmoid}


def make_model(widths, activation):
    """A model with the same starting weights at every call."""
    fn.manual_seed(0)
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layers += [fn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return fn.Sequential(*layers[:-1])


def make_trainer(widths, activation):
    return fn.Trainer(make_model(widths, activation), optimizer=fn.SGD(lr=LR))


def values(model):
    return [param.value for param in model.parameters()]


# The nets of reports S4 and S2. "numpy" is a hand-written step; the others are `Trainer.step` on the backend
# of that name.
@pytest.mark.parametrize("contestant", ["numpy", "ref", "jit", "aot"])
@pytest.mark.parametrize(
    ("widths", "activation", "rows"),
    [((784, 128, 64, 32, 10), "relu", 32), ((784, 300, 10), "sigmoid", 50)],
    ids=["784-128-64-32-10", "784-300-10"],
)
def test_step(benchmark, widths, activation, rows, contestant):
    rng = np.random.default_rng(0)
    x, labels = rng.random((rows, widths[0]), np.float32), rng.integers(widths[-1], size=rows)

    reference = make_trainer(widths, activation)
    before = values(reference.model)
    with fn.backend("ref"):
        reference.step(x, labels)
    expected = values(reference.model)

    if contestant == "numpy":
        weights = [value.copy() for value in before]
        mlp = NumpyMLP(weights[::2], weights[1::2], activation)
        run_on, step, after = "ref", lambda: mlp.step(x, labels, LR), lambda: weights
    else:
        trainer = make_trainer(widths, activation)
        run_on, step, after = contestant, lambda: trainer.step(x, labels), lambda: values(trainer.model)

    def check():
        for old, new, want in zip(before, after(), expected, strict=True):
            # Compare the updates rather than the weights, which are much larger.
            assert_close(new - old, want - old, 1e-3)

    products = [math.prod(fans) for fans in pairwise(widths)]
    with fn.backend(run_on):
        time_contestant(
            benchmark,
            step,
            check,
            race="training_step",
            shape=f"{'-'.join(map(str, widths))} b{rows}",
            contestant=contestant,
            dtype=x.dtype,
            # Three matrix products per layer, except for the gradient of the input of the first layer.
            flop=2 * rows * (3 * sum(products) - products[0]),
            # The batch is read, the weights are read and written.
            nbytes=x.nbytes + labels.nbytes + 2 * sum(value.nbytes for value in before),
        )
