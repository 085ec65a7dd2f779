"""Parameters: read-only values, assignment, freezing."""

import numpy as np
import pytest

import fastnn as fn


@pytest.fixture
def param():
    """A float32 parameter (2, 3) that holds 0..5."""
    return fn.Param(np.arange(6, dtype=np.float32).reshape(2, 3), name="w")


def test_value_is_a_copy_that_later_training_does_not_change(param):
    before = param.value
    param.value = before + 1
    np.testing.assert_array_equal(before, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(param.value, before + 1)


def test_writing_into_the_value_raises(param):
    with pytest.raises(ValueError, match="read-only"):
        param.value[0, 0] = 7
    with pytest.raises(ValueError, match="read-only"):
        param.value += 1
    assert param.value[0, 0] == 0


def test_writing_into_the_gradient_raises(param):
    param.grad_buffer()[...] = 1
    with pytest.raises(ValueError, match="read-only"):
        param.grad[0, 0] = 7


@pytest.mark.parametrize("source", ["constructor", "setter"])
def test_initial_array_is_copied(param, source):
    array = np.ones((2, 3), np.float32)
    if source == "constructor":
        param = fn.Param(array)
    else:
        param.value = array
    array[...] = 9
    assert (param.value == 1).all()


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2, 3], [4, 5, 6]],
        np.arange(1, 7, dtype=np.int8).reshape(2, 3),
        np.arange(1.0, 7.0).reshape(2, 3),
        np.asfortranarray(np.arange(1.0, 7.0).reshape(2, 3)),
        np.arange(1, 7, dtype=">f4").reshape(2, 3),
        np.arange(1, 7, dtype=np.float16).reshape(2, 3),
        np.arange(12.0).reshape(2, 6)[:, ::2] / 2 + 1,
    ],
    ids=["list", "int8", "float64", "fortran", "big-endian", "float16", "strided"],
)
def test_assignment_accepts_any_real_array_and_keeps_the_dtype(param, value):
    param.value = value
    np.testing.assert_array_equal(param.value, np.arange(1, 7).reshape(2, 3))
    assert param.value.dtype == np.float32
    assert param.value.flags.c_contiguous


@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 3, 1), (1, 3), ()], ids=str)
def test_wrong_shape_raises_instead_of_broadcasting(param, shape):
    with pytest.raises(ValueError, match=r"parameter 'w' must have shape \(2, 3\), got \("):
        param.value = np.ones(shape)
    assert param.value[1, 2] == 5


@pytest.mark.parametrize("dtype", ["complex64", "U3", "object"])
def test_values_that_are_not_real_raise(param, dtype):
    with pytest.raises(TypeError, match="parameter 'w' must hold real numbers"):
        param.value = np.ones((2, 3)).astype(dtype)
    assert param.value[1, 2] == 5


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.complex128])
def test_only_float32_and_float64_are_accepted(dtype):
    with pytest.raises(ValueError, match=f"float32 or float64, not in {np.dtype(dtype)}"):
        fn.Param(np.ones(3, dtype))


def test_shape_size_and_dtype(param):
    assert (param.shape, param.size, param.dtype) == ((2, 3), 6, np.float32)


def test_gradient_is_none_until_there_is_one(param):
    assert param.grad is None
    param.grad_buffer()[...] = 4
    assert (param.grad == 4).all()
    param.drop_grad()
    assert param.grad is None


@pytest.mark.parametrize("freeze", [{"trainable": False}, {"lr_scale": 0}], ids=str)
def test_frozen_parameter_shows_no_gradient(param, freeze):
    param.grad_buffer()[...] = 4
    for name, value in freeze.items():
        setattr(param, name, value)
    assert param.frozen
    assert param.grad is None


@pytest.mark.parametrize(
    ("trainable", "lr_scale", "frozen"),
    [(True, 1, False), (True, 0.1, False), (True, 0, True), (False, 1, True)],
)
def test_frozen(trainable, lr_scale, frozen):
    param = fn.Param(np.ones(2), trainable=trainable, lr_scale=lr_scale)
    assert param.frozen is frozen
    assert ("frozen" in repr(param)) is frozen


@pytest.mark.parametrize("scale", [-1, float("nan"), float("inf")])
def test_invalid_lr_scale_raises(param, scale):
    with pytest.raises(ValueError, match="lr_scale must be a finite number, at least 0"):
        param.lr_scale = scale
    assert param.lr_scale == 1


def test_conversion_keeps_the_values_and_drops_the_gradient(param):
    param.grad_buffer()[...] = 4
    param.to(np.float64)
    np.testing.assert_array_equal(param.value, np.arange(6.0).reshape(2, 3))
    assert param.value.dtype == np.float64
    assert param.grad is None
    assert param.grad_buffer().dtype == np.float64
    with pytest.raises(ValueError, match="float32 or float64, not in int32"):
        param.to(np.int32)


def test_repr(param):
    assert repr(param) == "Param('w', shape=(2, 3), float32)"
