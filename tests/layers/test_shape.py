"""Layers that only change the shape."""

import numpy as np
import pytest

import fastnn as fn


@pytest.mark.parametrize(("shape", "flat"), [((3, 4, 2), 24), ((5,), 5), ((1, 1), 1), ((), 1)], ids=str)
def test_flatten_output_shape(shape, flat):
    assert fn.Flatten().output_shape(shape) == (flat,)


def test_flatten_keeps_the_c_order_and_copies_nothing():
    x = np.arange(24.0).reshape(2, 3, 4)
    y, backward = fn.Flatten().forward(x)
    np.testing.assert_array_equal(y, np.arange(24).reshape(2, 12))
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(backward(10 * y), 10 * x)


def test_flatten_gradient_is_that_of_finite_differences(check_gradients, normal):
    check_gradients(fn.Flatten(), normal(2, 3, 4))


def test_flatten_without_need_dx_gives_none():
    x = np.ones((2, 3, 4))
    _, backward = fn.Flatten().forward(x)
    assert backward(x.reshape(2, 12), need_dx=False) is None


def test_flatten_joins_images_to_a_linear_layer(normal):
    model = fn.Sequential(fn.Flatten(), fn.Linear(12, 3))
    assert model.output_shape((3, 4)) == (3,)
    assert fn.gradcheck(model, (normal(5, 3, 4), np.arange(5) % 3)) < 1e-7
