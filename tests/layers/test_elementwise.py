"""The layer made of two user-defined scalar functions."""

import math
import pickle
import sys

import numpy as np
import pytest

import fastnn as fn


def swish(x):
    return x / (1 + math.exp(-x))


def swish_gradient(x, dy):
    s = 1 / (1 + math.exp(-x))
    return dy * (s + x * s * (1 - s))


def model(dtype=np.float32):
    fn.manual_seed(0)
    layers = fn.Linear(6, 8), fn.elementwise(swish, swish_gradient), fn.Linear(8, 3)
    return fn.Sequential(*layers).to(dtype)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, 6), np.float32), rng.integers(3, size=5)


@pytest.mark.parametrize("backend", ["aot", "jit", "ref"])
def test_values(backend):
    x = np.linspace(-5, 5, 33, dtype=np.float32).reshape(3, 11)
    with fn.backend(backend):
        y, backward = fn.elementwise(swish, swish_gradient).forward(x)
        dx = backward(np.ones_like(x))
    np.testing.assert_allclose(y, x / (1 + np.exp(-x)), rtol=1e-6)
    s = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(dx, s + x * s * (1 - s), rtol=1e-5, atol=1e-7)


def test_gradient_passes_gradcheck(batch):
    assert fn.gradcheck(model(np.float64), batch)


def test_plan_equals_eager(batch):
    weights = []
    for plan in (True, False):
        net = model()
        trainer = fn.Trainer(net, optimizer=fn.SGD(0.1), seed=0, plan=plan)
        losses = [trainer.step(*batch) for _ in range(5)]
        weights.append((losses, [p.value.tobytes() for p in net.parameters()]))
    assert weights[0] == weights[1]


def test_runs_inside_the_plan(batch):
    with fn.backend("aot"):
        trainer = fn.Trainer(model(), seed=0)
        kernels = [row.kernel for row in trainer.profile(*batch, steps=3).rows]
    assert {"elementwise_forward", "elementwise_dx"} <= set(kernels)
    assert "callback" not in kernels


def test_survives_pickling(batch):
    net = model()
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.predict(batch[0]), net.predict(batch[0]))


@pytest.mark.parametrize(
    ("forward", "backward", "message"),
    [
        (lambda: 1.0, swish_gradient, "forward must take a number"),
        (swish, lambda x: x, "backward must take 2 numbers"),
        (3, swish_gradient, "forward must be a function of 1 numbers, not 3"),
    ],
)
def test_functions_of_another_number_of_arguments_are_rejected(forward, backward, message):
    with pytest.raises(TypeError, match=message):
        fn.elementwise(forward, backward)


def test_error_explains_what_numba_cannot_compile(batch):
    layer = fn.elementwise(lambda x: str(x).join(x), swish_gradient)
    with fn.backend("aot"), pytest.raises(TypeError, match="forward cannot be compiled by Numba"):
        layer.forward(batch[0])


def test_error_explains_missing_numba(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with fn.backend("aot"), pytest.raises(ImportError, match="pip install numba"):
        fn.elementwise(swish, swish_gradient).forward(batch[0])
