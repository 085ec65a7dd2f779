"""The fully connected layer."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.init import Constant


@pytest.fixture
def layer():
    """A float64 layer with 4 inputs and 3 outputs."""
    return fn.Linear(4, 3, dtype=np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_output_is_x_w_plus_b(dtype, bias):
    layer = fn.Linear(3, 2, bias=bias, dtype=dtype)
    layer.weight.value = [[1, 2], [3, 4], [5, 6]]
    if bias:
        layer.bias.value = [100, 200]
    y, _ = layer.forward(np.array([[1, 0, -1], [2, 3, 0.5]], dtype))
    np.testing.assert_array_equal(y, np.array([[-4, -4], [13.5, 19]]) + ([100, 200] if bias else 0))
    assert y.dtype == dtype


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "fan_in", "fan_out"), [(1, 1, 1), (5, 4, 3), (3, 9, 17)])
def test_gradients_equal_finite_differences(check_gradients, normal, rows, fan_in, fan_out, bias):
    check_gradients(fn.Linear(fan_in, fan_out, bias=bias, dtype=np.float64), normal(rows, fan_in))


def test_gradcheck_passes(normal):
    assert fn.gradcheck(fn.Sequential(fn.Linear(4, 3)), (normal(7, 4), np.arange(7) % 3)) < 1e-7


def test_gradients_overwrite_the_gradients_of_the_last_batch(layer, normal):
    _, backward = layer.forward(normal(5, 4))
    dy = normal(5, 3)
    backward(dy)
    once = [param.grad for param in layer.parameters()]
    backward(dy)
    for param, grad in zip(layer.parameters(), once, strict=True):
        np.testing.assert_array_equal(param.grad, grad)


def test_backward_does_not_modify_its_arguments(layer, normal):
    x, dy = normal(5, 4), normal(5, 3)
    copies = x.copy(), dy.copy()
    layer.forward(x)[1](dy)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(dy, copies[1])


def test_without_need_dx_no_dx_is_computed(layer, normal, kernel_calls):
    _, backward = layer.forward(normal(5, 4))
    kernel_calls.clear()
    assert backward(normal(5, 3), need_dx=False) is None
    assert sorted(kernel_calls) == ["dense_db", "dense_dw"]
    assert layer.weight.grad is not None


@pytest.mark.parametrize("freeze", [{"trainable": False}, {"lr_scale": 0}], ids=str)
@pytest.mark.parametrize(("name", "kernel"), [("weight", "dense_dw"), ("bias", "dense_db")])
def test_frozen_parameter_gets_no_gradient(layer, normal, kernel_calls, name, kernel, freeze):
    for attribute, value in freeze.items():
        setattr(getattr(layer, name), attribute, value)
    layer.forward(normal(5, 4))[1](normal(5, 3))
    assert kernel not in kernel_calls
    assert {key for key, param in layer.named_parameters() if param.grad is None} == {name}


def test_shapes():
    layer = fn.Linear(12, 5)
    assert layer.input_shape == (12,)
    assert layer.output_shape((12,)) == (5,)


@pytest.mark.parametrize("shape", [(11,), (), (12, 1, 2)], ids=str)
def test_wrong_shape_is_rejected(shape):
    with pytest.raises(ValueError, match=r"Linear\(12, 5\) expects samples of shape \(12,\), got \(.*\)$"):
        fn.Linear(12, 5).output_shape(shape)


def test_error_for_images_of_the_right_size_suggests_flatten():
    with pytest.raises(ValueError, match=r"got \(3, 4\): put fn.Flatten\(\) in front"):
        fn.Linear(12, 5).output_shape((3, 4))


@pytest.mark.parametrize("size", [0, -1, 2.5, "3", True, None])
@pytest.mark.parametrize("name", ["in_features", "out_features"])
def test_invalid_size_is_rejected(name, size):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, not {size!r}"):
        fn.Linear(**{"in_features": 2, "out_features": 2, name: size})


def test_initial_weights_and_bias_fill_pytorchs_bounds():
    layer = fn.Linear(100, 400)
    for param in layer.parameters():
        assert 0.09 < np.abs(param.value).max() <= 0.1


def test_initialisers_by_name_and_by_object():
    layer = fn.Linear(4, 3, weight_init=Constant(2.5), bias_init="ones")
    assert (layer.weight.value == 2.5).all()
    assert (layer.bias.value == 1).all()


def test_dtype():
    assert fn.Linear(4, 3).dtype == np.float32
    assert {param.dtype for param in fn.Linear(4, 3, dtype="float64").parameters()} == {np.dtype("f8")}
    with pytest.raises(ValueError, match="float32 or float64, not in float16"):
        fn.Linear(4, 3, dtype=np.float16)


def test_names_and_repr():
    with_bias, without = fn.Linear(4, 3), fn.Linear(4, 3, bias=False)
    assert [name for name, _ in with_bias.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in without.named_parameters()] == ["weight"]
    assert without.bias is None
    assert [repr(with_bias), repr(without)] == ["Linear(4, 3)", "Linear(4, 3, bias=False)"]
