"""Layers that only change the shape."""

import numpy as np
import pytest

import fastnn as fn


@pytest.mark.parametrize(("shape", "flat"), [((3, 4, 2), 24), ((5,), 5), ((1, 1), 1), ((), 1)], ids=str)
def test_flatten_output_shape(shape, flat):
    assert fn.Flatten().output_shape(shape) == (flat,)


def test_flatten_keeps_c_order_without_a_copy():
    x = np.arange(24.0).reshape(2, 3, 4)
    y, backward = fn.Flatten().forward(x)
    np.testing.assert_array_equal(y, np.arange(24).reshape(2, 12))
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(backward(10 * y), 10 * x)


def test_flatten_gradient_equals_finite_differences(check_gradients, normal):
    check_gradients(fn.Flatten(), normal(2, 3, 4))


def test_flatten_without_need_dx_returns_none():
    x = np.ones((2, 3, 4))
    _, backward = fn.Flatten().forward(x)
    assert backward(x.reshape(2, 12), need_dx=False) is None


def test_flatten_connects_images_to_a_linear_layer(normal):
    model = fn.Sequential(fn.Flatten(), fn.Linear(12, 3))
    assert model.output_shape((3, 4)) == (3,)
    assert fn.gradcheck(model, (normal(5, 3, 4), np.arange(5) % 3)) < 1e-7


# --- Reshape ---


@pytest.mark.parametrize(
    ("made", "shape", "wanted"),
    [
        ((2, 3), (6,), (2, 3)),
        (((2, 3),), (6,), (2, 3)),
        (([3, -1],), (6,), (3, 2)),
        ((6,), (2, 3), (6,)),
        ((3, -1), (2, 6), (3, 4)),
        ((-1, 2, 1), (4,), (2, 2, 1)),
        ((-1,), (), (1,)),
        ((1, 1), (), (1, 1)),
        ((-1, 3), (0,), (0, 3)),
    ],
    ids=str,
)
def test_reshape_output_shape(made, shape, wanted):
    assert fn.Reshape(*made).output_shape(shape) == wanted


def test_reshape_keeps_c_order_without_a_copy():
    x = np.arange(24.0).reshape(2, 3, 4)
    y, backward = fn.Reshape(2, -1, 3).forward(x)
    np.testing.assert_array_equal(y, np.arange(24).reshape(2, 2, 2, 3))
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(backward(10 * y), 10 * x)
    assert backward(y, need_dx=False) is None


def test_reshape_turns_rows_into_images(normal):
    model = fn.Sequential(
        fn.Linear(5, 12), fn.Reshape(3, 4, 1), fn.Conv2d(1, 2, 2), fn.Reshape(-1), fn.Linear(12, 3)
    )
    assert model.output_shape((5,)) == (3,)
    assert fn.gradcheck(model, (normal(5, 5), np.arange(5) % 3)) < 1e-7


@pytest.mark.parametrize("made", [(2, 3), (7, 7, -1)], ids=str)
def test_reshape_repr_recreates_the_layer(made):
    layer = fn.Reshape(*made)
    assert repr(layer) == f"Reshape{made}"
    assert eval(f"fn.{layer!r}", {"fn": fn}).shape == made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ((), "expects the shape of a sample"),
        ((-1, 2, -1), r"only one size may be -1, not 2 of \(-1, 2, -1\)"),
        ((0, 2), "a size must be an integer of at least 1, not 0"),
        ((-2,), "not -2"),
        ((2.0, 3), r"not 2\.0"),
        (((2, 3), 4), r"not \(2, 3\)"),
        (((),), "expects the shape of a sample"),
        ((True,), "not True"),
    ],
)
def test_invalid_shapes_are_rejected(made, words):
    with pytest.raises(ValueError, match=words):
        fn.Reshape(*made)


@pytest.mark.parametrize(
    ("made", "shape", "words"),
    [
        ((2, 3), (2, 4), r"Reshape\(2, 3\) expects samples of 6 elements, got 8: shape \(2, 4\)"),
        ((2, 3), (12,), "of 6 elements, got 12"),
        (
            (4, -1),
            (2, 5),
            r"Reshape\(4, -1\) expects samples of a multiple of 4 elements, got 10: shape \(2, 5\)",
        ),
    ],
)
def test_samples_of_another_size_are_rejected(made, shape, words):
    with pytest.raises(ValueError, match=words):
        fn.Reshape(*made).predict(np.zeros((3, *shape), np.float32))
