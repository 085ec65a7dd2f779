"""Fixtures of the layer tests."""

import numpy as np
import pytest


@pytest.fixture
def normal():
    """A function shape -> float64 array of standard normal values, different in each call."""
    generator = np.random.default_rng(0)
    return lambda *shape: generator.normal(size=shape)


@pytest.fixture
def check_gradients(finite_differences, normal):
    """Compare a layer's dx and parameter gradients with finite differences, in float64."""

    def check(layer, x, *, train=False):
        states = [(state, state.copy()) for state in layer.states()]
        direction = normal(*layer.forward(x)[0].shape)

        def forward():
            for state, start in states:
                state[:] = start
            return layer.forward(x, train=train)

        def projection():
            return float((forward()[0] * direction).sum())

        def projection_at(param, value):
            param.value = value
            return projection()

        dx = forward()[1](direction)
        np.testing.assert_allclose(dx, finite_differences(projection, x), rtol=1e-6, atol=1e-9)
        for name, param in layer.named_parameters():
            found, value = param.grad, param.value.copy()
            expected = finite_differences(lambda p=param, v=value: projection_at(p, v), value)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9, err_msg=name)
            param.value = value

    return check
