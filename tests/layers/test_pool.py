"""The pooling layers: geometry, gradients, argument checks, and comparison with PyTorch."""

import numpy as np
import pytest

import fastnn as fn

GEOMETRIES = {
    "plain": (2,),
    "rectangle": ((3, 2),),
    "overlapping": (3, 1),
    "padded": (3, 2, 1),
    "unlike sides": ((2, 3), (1, 2), (0, 1)),
    "pixels between": (2, (3, 4)),
}
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
both = pytest.mark.parametrize("kind", [fn.MaxPool2d, fn.AvgPool2d])
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@both
@every_geometry
def test_gradients_equal_finite_differences(kind, geometry, normal, check_gradients):
    check_gradients(kind(*geometry), normal(2, 6, 7, 3))


def test_gradients_of_global_average_equal_finite_differences(normal, check_gradients):
    check_gradients(fn.GlobalAvgPool2d(), normal(3, 4, 5, 3))


def nchw(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def as_nhwc(tensor):
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


@both
@both_types
@every_geometry
@pytest.mark.parametrize("whole", [False, True], ids=["normal", "ties"])
def test_values_and_gradients_equal_pytorch(kind, geometry, whole, dtype, normal):
    torch = pytest.importorskip("torch")
    x = normal(2, 7, 8, 5).astype(dtype)
    x = x.round() if whole else x
    y, backward = kind(*geometry).forward(x)
    tx = torch.from_numpy(nchw(x)).requires_grad_()
    ty = getattr(torch.nn, kind.__name__)(*geometry)(tx)
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-14, "atol": 1e-14}
    np.testing.assert_allclose(y, as_nhwc(ty), **tolerance)
    dy = normal(*y.shape).astype(dtype)
    ty.backward(torch.from_numpy(nchw(dy)))
    np.testing.assert_allclose(backward(dy), as_nhwc(tx.grad), **tolerance)


def test_max_of_a_window_with_nan_is_nan_as_in_pytorch(normal):
    """With several NaNs in a window, the last one gets the gradient."""
    torch = pytest.importorskip("torch")
    x = normal(2, 7, 8, 5)
    for channel, (h, w) in enumerate(((0, 0), (3, 4), (6, 7), (2, 0), (3, 5))):
        x[:, h, w, channel % 4] = np.nan  # the last one in the channel of the first
    y, backward = fn.MaxPool2d(3, 2, 1).forward(x)
    tx = torch.from_numpy(nchw(x)).requires_grad_()
    ty = torch.nn.MaxPool2d(3, 2, 1)(tx)
    np.testing.assert_array_equal(y, as_nhwc(ty))
    dy = normal(*y.shape)
    ty.backward(torch.from_numpy(nchw(dy)))
    np.testing.assert_allclose(backward(dy), as_nhwc(tx.grad), 1e-14, 1e-14)


def test_global_average(normal):
    x = normal(3, 4, 5, 6)
    y, backward = fn.GlobalAvgPool2d().forward(x)
    np.testing.assert_allclose(y, x.mean(axis=(1, 2)), 1e-14)
    dy = normal(3, 6)
    np.testing.assert_allclose(backward(dy), np.broadcast_to(dy[:, None, None] / 20, x.shape), 1e-14)


@both
@every_geometry
def test_output_has_the_announced_shape(kind, geometry, normal):
    layer = kind(*geometry)
    assert layer.forward(normal(2, 7, 8, 4))[0].shape[1:] == layer.output_shape((7, 8, 4))


@both
def test_incomplete_windows_at_the_border_are_left_out(kind):
    assert kind(2).output_shape((5, 7, 3)) == (2, 3, 3)
    assert kind(3, 2).output_shape((28, 27, 1)) == (13, 13, 1)


@pytest.mark.parametrize("layer", [fn.MaxPool2d(2), fn.AvgPool2d(2), fn.GlobalAvgPool2d()])
def test_without_need_dx_no_kernel_runs(layer, normal, kernel_calls):
    y, backward = layer.forward(normal(2, 4, 4, 3))
    kernel_calls.clear()
    assert backward(np.ones_like(y), need_dx=False) is None
    assert kernel_calls == []


@both
@pytest.mark.parametrize(
    ("geometry", "error", "words"),
    [
        ((0,), ValueError, "window must be at least 1, not 0"),
        ((2.5,), TypeError, "window must be an integer or a pair"),
        (((2, 2, 2),), TypeError, "window must be an integer or a pair"),
        ((2, 0), ValueError, "stride must be at least 1, not 0"),
        ((2, (1, -1)), ValueError, "stride must be at least 1"),
        ((2, 2, -1), ValueError, "padding must be at least 0"),
        ((3, 1, 2), ValueError, "padding must be at most half of the window, 3, not 2"),
        (((4, 2), 1, (1, 2)), ValueError, r"half of the window, \(4, 2\), not \(1, 2\)"),
    ],
)
def test_invalid_arguments_are_rejected(kind, geometry, error, words):
    with pytest.raises(error, match=words):
        kind(*geometry)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (
            fn.MaxPool2d(3),
            (7, 7),
            r"MaxPool2d\(3\) expects images \(height, width, channels\), got .* \(7, 7\)",
        ),
        (fn.AvgPool2d(3), (49,), r"AvgPool2d\(3\) expects images"),
        (fn.GlobalAvgPool2d(), (49,), r"GlobalAvgPool2d\(\) expects images"),
        (fn.GlobalAvgPool2d(), (0, 5, 3), "at least one pixel"),
        (fn.MaxPool2d(3), (2, 9, 4), "has a height of 3 pixels, but the image has 2, padding included"),
        (fn.AvgPool2d((1, 5), 1, (0, 1)), (9, 2, 4), "has a width of 5 pixels, but the image has 4"),
    ],
)
def test_images_that_do_not_fit_are_rejected(layer, shape, words):
    with pytest.raises(ValueError, match=words):
        layer.output_shape(shape)
    with pytest.raises(ValueError, match=words):
        layer.predict(np.zeros((2, *shape), np.float32))


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (fn.MaxPool2d(2), "MaxPool2d(2)"),
        (fn.MaxPool2d(2, 2), "MaxPool2d(2)"),
        (fn.AvgPool2d((3, 2), stride=1, padding=1), "AvgPool2d((3, 2), stride=1, padding=1)"),
        (fn.MaxPool2d(3, (2, 1), (1, 0)), "MaxPool2d(3, stride=(2, 1), padding=(1, 0))"),
        (fn.GlobalAvgPool2d(), "GlobalAvgPool2d()"),
    ],
)
def test_repr_recreates_the_layer(layer, shown):
    assert repr(layer) == shown
    assert vars(eval(f"fn.{shown}", {"fn": fn})) == vars(layer)


def test_a_pool_that_is_not_finished_has_a_repr():
    assert repr(fn.MaxPool2d.__new__(fn.MaxPool2d)) == "MaxPool2d(...)"
