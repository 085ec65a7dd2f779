"""Dropout: the mask, its rate, its random state, and when it is applied."""

import numpy as np
import pytest

import fastnn as fn

KEPT = 2.0  # a kept 1 at rate 1/2


@pytest.fixture
def ones():
    """A batch large enough for statistics: 100,000 elements."""
    return np.ones((100, 1000))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_mean(ones, rate, dtype):
    y, _ = fn.Dropout(rate).forward(ones.astype(dtype), train=True)
    sigma = np.sqrt(rate * (1 - rate) / ones.size)
    assert y.dtype == dtype
    assert abs(np.mean(y == 0) - rate) < 5 * sigma
    assert abs(y.mean() - 1) < 5 * sigma / (1 - rate)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)


def test_elements_are_dropped_independently(ones):
    fallen = fn.Dropout(0.5).forward(ones, train=True)[0] == 0
    rows = np.mean(fallen[1:] == fallen[:-1])
    columns = np.mean(fallen[:, 1:] == fallen[:, :-1])
    assert abs(rows - 0.5) < 0.01
    assert abs(columns - 0.5) < 0.01


def test_same_key_and_count_give_the_same_mask(ones):
    a, b = fn.Dropout(0.5), fn.Dropout(0.5)
    b.state[:] = a.state
    np.testing.assert_array_equal(a.forward(ones, train=True)[0], b.forward(ones, train=True)[0])


def test_two_draws_differ(ones):
    layer = fn.Dropout(0.5)
    first, second = (layer.forward(ones, train=True)[0] for _ in range(2))
    assert abs(np.mean(first == second) - 0.5) < 0.01


def test_two_layers_differ(ones):
    first, second = (fn.Dropout(0.5).forward(ones, train=True)[0] for _ in range(2))
    assert abs(np.mean(first == second) - 0.5) < 0.01


def test_each_draw_advances_the_count_by_one(ones):
    layer = fn.Dropout(0.5)
    key = layer.state[0]
    for count in (1, 2, 3):
        layer.forward(ones, train=True)
        assert layer.state.tolist() == [key, count]


def test_backward_uses_the_mask_of_its_forward(ones):
    layer = fn.Dropout(0.5)
    passes = [layer.forward(ones, train=True) for _ in range(2)]
    for y, backward in passes:  # the first backward pass runs after the second forward pass
        np.testing.assert_array_equal(backward(ones), y)


def test_gradient_equals_finite_differences(check_gradients, normal):
    check_gradients(fn.Dropout(0.4), normal(5, 7), train=True)


def test_gradcheck_passes(normal):
    model = fn.Sequential(fn.Linear(4, 8), fn.Dropout(0.5), fn.Linear(8, 3))
    assert fn.gradcheck(model, (normal(6, 4), np.arange(6) % 3)) < 1e-7


@pytest.mark.parametrize(("rate", "train"), [(0.5, False), (1, False), (0, True)])
def test_identity_in_evaluation_and_at_rate_0(normal, rate, train):
    layer, x = fn.Dropout(rate), normal(3, 4)
    before = layer.state.copy()
    y, backward = layer.forward(x, train=train)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(backward(x), x)
    assert backward(x, need_dx=False) is None
    np.testing.assert_array_equal(layer.state, before)


def test_rate_1_drops_every_element(normal):
    y, backward = fn.Dropout(1).forward(normal(3, 4), train=True)
    assert not y.any()
    assert not backward(normal(3, 4)).any()


def test_without_need_dx_no_kernel_runs(ones, kernel_calls):
    _, backward = fn.Dropout(0.5).forward(ones, train=True)
    kernel_calls.clear()
    assert backward(ones, need_dx=False) is None
    assert kernel_calls == []


def test_input_is_not_modified(ones):
    fn.Dropout(0.5).forward(ones, train=True)[1](ones)
    assert (ones == 1).all()


def test_any_shape_is_accepted():
    assert fn.Dropout().output_shape((3, 4, 5)) == (3, 4, 5)
    y, _ = fn.Dropout(0.5).forward(np.ones((2, 3, 5)), train=True)
    assert set(y.ravel()) == {0, KEPT}
    assert y.shape == (2, 3, 5)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf")])
def test_invalid_rate_is_rejected(rate):
    with pytest.raises(ValueError, match=r"rate must be a finite number, in \[0, 1\], not"):
        fn.Dropout(rate)


def test_key_comes_from_the_default_generator():
    fn.manual_seed(3)
    first = fn.Dropout().state.tolist()
    fn.manual_seed(3)
    assert fn.Dropout().state.tolist() == first
    assert fn.Dropout().state.tolist() != first


def test_repr():
    assert repr(fn.Dropout(0.25)) == "Dropout(0.25)"
