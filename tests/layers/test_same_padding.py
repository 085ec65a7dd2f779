"""padding="same" with strides: ceil(size / stride) outputs, with the odd pixel at the end, as in Keras."""

import numpy as np
import pytest

import fastnn as fn


def same(size, extent, stride):
    """The padding (before, after) of TensorFlow's documentation, https://tensorflow.org/api_docs/python/tf/nn."""
    total = max(extent - stride if size % stride == 0 else extent - size % stride, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("size", [1, 5, 6, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("filter_size", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_convolution_pads_as_keras_does(size, stride, filter_size, dilation, normal):
    sides = {"stride": (stride, 1), "dilation": (dilation, 1)}
    ours = fn.Conv2d(2, 3, (filter_size, 1), padding="same", **sides)
    x = normal(2, size, 4, 2).astype(np.float32)
    extent = dilation * (filter_size - 1) + 1
    explicit = fn.Conv2d(2, 3, (filter_size, 1), padding=(same(size, extent, stride), (0, 0)), **sides)
    explicit.weight, explicit.bias = ours.weight, ours.bias
    assert ours.output_shape((size, 4, 2)) == (-(-size // stride), 4, 3)
    np.testing.assert_array_equal(ours.predict(x), explicit.predict(x))
    as_sequence = fn.Conv1d(2, 3, filter_size, padding="same", stride=stride, dilation=dilation)
    as_sequence.weight, as_sequence.bias = ours.weight.value[:, 0], ours.bias
    np.testing.assert_array_equal(as_sequence.predict(x[:, :, 0]), ours.predict(x)[:, :, 0])


@pytest.mark.parametrize("size", [1, 5, 6, 7])
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3), (4, 3)])
def test_pools_leave_the_padding_out_as_keras_does(size, window, stride, normal):
    x = normal(2, size, 3)
    padded = np.pad(x, ((0, 0), same(size, window, stride), (0, 0)), constant_values=np.nan)
    starts = range(0, stride * -(-size // stride), stride)
    windows = [padded[:, start : start + window] for start in starts]
    for one, two, reduce in (
        (fn.MaxPool1d, fn.MaxPool2d, np.nanmax),
        (fn.AvgPool1d, fn.AvgPool2d, np.nanmean),
    ):
        expected = np.stack([reduce(each, axis=1) for each in windows], axis=1)
        y, _ = one(window, stride, "same").forward(x)
        np.testing.assert_allclose(y, expected, 1e-14)
        images, _ = two((1, window), (1, stride), "same").forward(x[:, None])
        np.testing.assert_array_equal(images[:, 0], y)


@pytest.mark.parametrize("kind", [fn.MaxPool2d, fn.AvgPool2d])
def test_gradients_of_pools_equal_finite_differences(kind, normal, check_gradients):
    check_gradients(kind(3, 2, "same"), normal(2, 6, 7, 3))


def test_gradients_of_convolutions_equal_finite_differences(normal, check_gradients):
    layer = fn.Conv2d(2, 3, 3, stride=2, padding="same", dtype=np.float64)
    check_gradients(layer, normal(2, 6, 7, 2))
    assert repr(layer) == "Conv2d(2, 3, 3, stride=2, padding='same', dtype='float64')"


@pytest.mark.parametrize("filter_size", [2, 3, 4])
def test_same_padding_follows_sizes_that_are_assigned_later(filter_size, normal):
    x = normal(2, 9, 8, 3)
    layer, expected = (fn.Conv2d(3, 2, filter_size, stride=s, padding="same") for s in (1, 2))
    assert layer.padding == "same"
    layer.weight, layer.bias = expected.weight.value, expected.bias.value
    layer.stride = 2
    np.testing.assert_array_equal(layer.predict(x), expected.predict(x))
    layer.dilation = 2
    assert layer.output_shape((9, 8, 3)) == (5, 4, 2)
    layer.stride = 1
    assert layer.output_shape((9, 8, 3)) == (9, 8, 2)
    sequences = fn.Conv1d(3, 2, filter_size, padding="same")
    sequences.stride = 2
    assert sequences.output_shape((9, 3)) == (5, 2)


def test_average_that_leaves_the_padding_out_equals_pytorch(normal):
    torch = pytest.importorskip("torch")
    x, dy = normal(2, 7, 8, 3), normal(2, 4, 4, 3)
    y, backward = fn.AvgPool2d(3, 2, 1, count_include_pad=False).forward(x)
    tx = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    ty = torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False)(tx)
    np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), 1e-14, 1e-14)
    ty.backward(torch.from_numpy(dy.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(backward(dy), tx.grad.numpy().transpose(0, 2, 3, 1), 1e-14, 1e-14)


def test_valid_means_no_padding():
    assert fn.MaxPool2d(2, padding="valid").padding == (0, 0)
    assert fn.AvgPool1d(2, padding="valid").padding == 0
