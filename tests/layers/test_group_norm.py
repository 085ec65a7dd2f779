"""Group normalisation: gradients, PyTorch's numbers, argument checks."""

import numpy as np
import pytest

import fastnn as fn

SHAPES = {"image": (5, 6, 12), "sequence": (7, 12), "features": (12,)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
every_count = pytest.mark.parametrize("groups", [1, 3, 12])


def random_norm(groups, normal, dtype=np.float64):
    layer = fn.GroupNorm(groups, 12, dtype=dtype)
    layer.gamma, layer.beta = normal(12), normal(12)
    return layer


@every_shape
@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_equal_finite_differences(groups, shape, normal, check_gradients):
    check_gradients(random_norm(groups, normal), normal(2, *shape))


@every_shape
@every_count
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 100])
def test_values_and_gradients_equal_pytorch(groups, shape, dtype, offset, normal):
    torch = pytest.importorskip("torch")
    ours = random_norm(groups, normal, dtype)
    theirs = torch.nn.GroupNorm(groups, 12, dtype=torch.float64)
    theirs.weight.data = torch.from_numpy(ours.gamma.value.astype(np.float64))
    theirs.bias.data = torch.from_numpy(ours.beta.value.astype(np.float64))
    x, dy = ((normal(3, *shape) + add).astype(dtype) for add in (offset, 0))
    if groups == 12 and len(shape) == 1:
        pytest.skip("PyTorch refuses a single value per group")
    y, backward = ours.forward(x)
    tx = torch.from_numpy(np.moveaxis(x, -1, 1).astype(np.float64)).requires_grad_()
    ty = theirs(tx)
    tolerance = (1e-5 if offset == 0 else 1e-4) if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(y, np.moveaxis(ty.detach().numpy(), 1, -1), tolerance, tolerance)
    ty.backward(torch.from_numpy(np.moveaxis(dy, -1, 1).astype(np.float64)))
    np.testing.assert_allclose(backward(dy), np.moveaxis(tx.grad.numpy(), 1, -1), tolerance, tolerance)
    np.testing.assert_allclose(ours.gamma.grad, theirs.weight.grad.numpy(), tolerance, tolerance)
    np.testing.assert_allclose(ours.beta.grad, theirs.bias.grad.numpy(), tolerance, tolerance)


def test_sample_does_not_depend_on_the_others(normal):
    layer = random_norm(3, normal, np.float32)
    x = normal(9, 40, 12).astype(np.float32)
    np.testing.assert_array_equal(layer.predict(x)[4:5], layer.predict(x[4:5]))


def test_without_affine_there_are_no_parameters(normal):
    layer = fn.GroupNorm(3, 12, affine=False)
    assert layer.parameters() == []
    y, backward = layer.forward(normal(2, 7, 12))
    np.testing.assert_allclose(y.reshape(2, 7, 3, 4).mean(axis=(1, 3)), 0, atol=1e-12)
    assert backward(normal(2, 7, 12)).shape == (2, 7, 12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fn.GroupNorm(5, 12), "groups must divide the channels: 5 does not divide 12"),
        (lambda: fn.GroupNorm(0, 12), "groups must be"),
        (lambda: fn.GroupNorm(3, 12, epsilon=-1), "epsilon must be"),
        (lambda: fn.GroupNorm(3, 12).output_shape((12, 7)), "12 channels last, got shape"),
    ],
)
def test_invalid_arguments_and_shapes_are_rejected(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_repr():
    assert repr(fn.GroupNorm(3, 12)) == "GroupNorm(3, 12)"
    assert (
        repr(fn.GroupNorm(3, 12, epsilon=0.1, affine=False)) == "GroupNorm(3, 12, epsilon=0.1, affine=False)"
    )
