"""The transposed convolution: gradients, PyTorch's numbers, geometry, argument checks."""

import numpy as np
import pytest

import fastnn as fn

GEOMETRIES = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": (2, 3)},
    "all at once": {"stride": 2, "padding": (1, 2), "output_padding": (1, 0), "dilation": (1, 2)},
    "output padding below the dilation": {"dilation": 3, "output_padding": 2},
    "more padding than the filter": {"padding": 3},
    "grouped": {"groups": 2, "stride": 2},
    "without bias": {"bias": False},
}
every_geometry = pytest.mark.parametrize("options", GEOMETRIES.values(), ids=GEOMETRIES)


@every_geometry
def test_gradients_equal_finite_differences(options, normal, check_gradients):
    layer = fn.ConvTranspose2d(4, 6, (3, 2), dtype=np.float64, **options)
    check_gradients(layer, normal(2, 6, 8, 4))


@every_geometry
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_values_and_gradients_equal_pytorch(options, dtype, normal):
    torch = pytest.importorskip("torch")
    ours = fn.ConvTranspose2d(4, 6, (3, 2), dtype=dtype, **options)
    theirs = torch.nn.ConvTranspose2d(4, 6, (3, 2), dtype=getattr(torch, np.dtype(dtype).name), **options)
    theirs.weight.data = torch.from_numpy(ours.weight.value.transpose(3, 2, 0, 1).copy())
    if ours.bias is not None:
        theirs.bias.data = torch.from_numpy(ours.bias.value.copy())
    x = normal(2, 7, 8, 4).astype(dtype)
    y, backward = ours.forward(x)
    assert y.shape[1:] == ours.output_shape((7, 8, 4))
    tx = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    ty = theirs(tx)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), tolerance, tolerance)
    dy = normal(*y.shape).astype(dtype)
    ty.backward(torch.from_numpy(dy.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(backward(dy), tx.grad.numpy().transpose(0, 2, 3, 1), tolerance, tolerance)
    gradient = theirs.weight.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(ours.weight.grad, gradient, tolerance, tolerance)
    if ours.bias is not None:
        np.testing.assert_allclose(ours.bias.grad, theirs.bias.grad.numpy(), tolerance, tolerance)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_multiplies_the_size_by_the_stride(size, stride, normal):
    """It is the adjoint of the convolution with that padding: <conv(a), b> = <a, transposed(b)>."""
    options = {"stride": stride, "padding": "same", "dtype": np.float64, "bias": False}
    layer, conv = fn.ConvTranspose2d(2, 3, size, **options), fn.Conv2d(3, 2, size, **options)
    conv.weight = layer.weight
    a, b = normal(2, 5 * stride, 4 * stride, 3), normal(2, 5, 4, 2)
    assert layer.output_shape((5, 4, 2)) == a.shape[1:]
    assert np.vdot(conv.predict(a), b) == pytest.approx(np.vdot(a, layer.predict(b)), rel=1e-12)


def test_whole_numbers_are_exact():
    rng = np.random.default_rng(0)
    layer = fn.ConvTranspose2d(3, 5, 3, stride=2)
    layer.weight = rng.integers(-9, 10, layer.weight.shape)
    layer.bias = rng.integers(-9, 10, layer.bias.shape)
    x = rng.integers(-9, 10, (2, 4, 5, 3)).astype(np.float32)
    expected = np.zeros((2, 9, 11, 5)) + layer.bias.value
    for h in range(4):
        for w in range(5):
            patch = np.tensordot(x[:, h, w], layer.weight.value, (1, 3))
            expected[:, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3] += patch
    np.testing.assert_array_equal(layer.predict(x), expected)


def test_initial_weights_have_pytorchs_distribution():
    """U(-a, a) with a = 1 / sqrt(R S out_channels / groups), for weights and bias."""
    layer = fn.ConvTranspose2d(60, 40, 5, groups=2)
    a = 1 / np.sqrt(5 * 5 * 20)
    for values in (layer.weight.value, layer.bias.value):
        assert 0.9 * a < np.abs(values).max() <= a
    assert abs(float(layer.weight.value.std()) - a / np.sqrt(3)) < 0.02 * a


def test_flop_counts_every_product():
    layer = fn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    assert layer.flop((5, 6, 4)) == 2 * 5 * 6 * 9 * 4 * 6 // 2 + 11 * 13 * 6


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fn.ConvTranspose2d(4, 6, 0), ValueError, "filter_size must be at least 1"),
        (lambda: fn.ConvTranspose2d(4, 6, 3, groups=4), ValueError, "4 does not divide 4 and 6"),
        (
            lambda: fn.ConvTranspose2d(4, 6, 3, output_padding=1),
            ValueError,
            "less than the stride or the dil",
        ),
        (lambda: fn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=-1), ValueError, "at least 0"),
        (
            lambda: fn.ConvTranspose2d(4, 6, 3, stride=2, padding="same", output_padding=1),
            ValueError,
            "leave out output_padding",
        ),
        (lambda: fn.ConvTranspose2d(4, 6, 3, padding="full"), ValueError, '"same" or "valid"'),
        (
            lambda: fn.ConvTranspose2d(4, 6, 1, padding=2).output_shape((3, 9, 4)),
            ValueError,
            "no pixels.*-1 x 5",
        ),
        (lambda: fn.ConvTranspose2d(4, 6, 3).output_shape((7, 7)), ValueError, "expects images"),
        (lambda: fn.ConvTranspose2d(4, 6, 3).output_shape((4, 7, 7)), ValueError, "move the channels last"),
    ],
)
def test_invalid_arguments_and_shapes_are_rejected(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_repr():
    layer = fn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False)
    assert repr(layer) == (
        "ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False)"
    )
