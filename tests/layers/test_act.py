"""The activation layers."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.layers import ACTIVATIONS

ELEMENTWISE = [fn.ReLU, fn.Sigmoid, fn.Tanh, fn.Identity]
EVERY = [*ELEMENTWISE, fn.Softmax]

X = [-2.0, -0.5, 0.0, 0.5, 2.0]
# From the definitions with Python's decimal at 30 digits, e.g. float(1 / (1 + (-Decimal(x)).exp())).
VALUES = {
    fn.ReLU: [0, 0, 0, 0.5, 2],
    fn.Sigmoid: [0.11920292202211756, 0.37754066879814546, 0.5, 0.6224593312018546, 0.8807970779778824],
    fn.Tanh: [-0.9640275800758169, -0.46211715726000974, 0, 0.46211715726000974, 0.9640275800758169],
    fn.Softmax: [
        0.012554708844463726,
        0.056266301409509716,
        0.09276744795748328,
        0.15294766467606982,
        0.6854638771124735,
    ],
    fn.Identity: X,
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("kind", EVERY)
def test_values(kind, dtype, tolerance):
    y, _ = kind().forward(np.array([X], dtype))
    np.testing.assert_allclose(y, [VALUES[kind]], rtol=tolerance)
    assert y.dtype == dtype


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)], ids=str)
@pytest.mark.parametrize("kind", EVERY)
def test_gradient_is_that_of_finite_differences(check_gradients, normal, kind, shape):
    check_gradients(kind(), normal(*shape))


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_gradient_of_images(check_gradients, normal, kind):
    check_gradients(kind(), normal(2, 3, 4))


@pytest.mark.parametrize("kind", EVERY)
def test_gradcheck_passes_with_a_layer_below(kind, normal):
    model = fn.Sequential(fn.Linear(4, 5), kind(), fn.Linear(5, 3))
    assert fn.gradcheck(model, (normal(6, 4), normal(6, 3)), loss="squared_error") < 1e-7


def test_gradient_of_relu_at_zero_is_zero():
    _, backward = fn.ReLU().forward(np.zeros((1, 3)))
    assert not backward(np.ones((1, 3))).any()


@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [(fn.Sigmoid, [0, 1, 0.5]), (fn.Tanh, [-1, 1, 0]), (fn.Softmax, [0, 1, 0])],
)
def test_large_inputs_saturate_without_overflow(kind, expected, size):
    layer = kind()
    y, backward = layer.forward(np.array([[-size, size, 0]]))
    np.testing.assert_allclose(y, [expected], atol=1e-40)
    assert np.isfinite(backward(np.ones((1, 3)))).all()


def test_softmax_rows_sum_to_one_and_ignore_a_shift(normal):
    x = normal(7, 5)
    y, _ = fn.Softmax().forward(x)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(fn.Softmax().forward(x + 1000)[0], y, rtol=1e-10)


@pytest.mark.parametrize("kind", EVERY)
def test_nan_goes_through(kind):
    y, _ = kind().forward(np.array([[np.nan], [1.0]]))
    assert np.isnan(y).tolist() == [[True], [False]]


@pytest.mark.parametrize("kind", EVERY)
def test_without_need_dx_no_kernel_runs(kind, normal, kernel_calls):
    x = normal(3, 4)
    _, backward = kind().forward(x)
    kernel_calls.clear()
    assert backward(x, need_dx=False) is None
    assert kernel_calls == []


@pytest.mark.parametrize("kind", EVERY)
def test_arguments_are_left_alone(kind, normal):
    x, dy = normal(3, 4), normal(3, 4)
    copies = x.copy(), dy.copy()
    kind().forward(x)[1](dy)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(dy, copies[1])


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elementwise_layers_keep_any_shape(kind):
    assert kind().output_shape((3, 4, 5)) == (3, 4, 5)


def test_softmax_wants_one_row_of_classes():
    assert fn.Softmax().output_shape((4,)) == (4,)
    with pytest.raises(ValueError, match=r"Softmax\(\) wants samples of shape \(classes,\), got \(4, 5\)"):
        fn.Softmax().output_shape((4, 5))


@pytest.mark.parametrize("kind", EVERY)
def test_names(kind):
    assert ACTIVATIONS[kind.__name__.lower()] is kind
    assert repr(kind()) == f"{kind.__name__}()"
    assert kind().parameters() == []
