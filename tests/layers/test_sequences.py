"""Layers of sequences (N, L, C): convolution, pools and batch norm, compared with PyTorch's."""

import numpy as np
import pytest

import fastnn as fn

GEOMETRIES = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": 3, "padding": 2},
    "dilated": {"dilation": 2, "padding": 2},
    "same": {"padding": "same"},
    "grouped": {"groups": 2},
    "without bias": {"bias": False},
}
every_geometry = pytest.mark.parametrize("options", GEOMETRIES.values(), ids=GEOMETRIES)
POOLS = {"plain": (2,), "overlapping": (3, 1), "padded": (3, 2, 1)}
every_pool = pytest.mark.parametrize("geometry", POOLS.values(), ids=POOLS)
both_pools = pytest.mark.parametrize("kind", [fn.MaxPool1d, fn.AvgPool1d])
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def ncl(x):
    return np.ascontiguousarray(x.transpose(0, 2, 1))


def assert_as_torch(layer, module, x, dy, dtype):
    """Values and gradients of the input are those of a PyTorch module."""
    torch = pytest.importorskip("torch")
    y, backward = layer.forward(x, train=True)
    tx = torch.from_numpy(ncl(x)).requires_grad_()
    ty = module(tx)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, ncl(ty.detach().numpy()), tolerance, tolerance)
    ty.backward(torch.from_numpy(ncl(dy)))
    np.testing.assert_allclose(backward(dy), ncl(tx.grad.numpy()), tolerance, tolerance)


@every_geometry
def test_gradients_of_a_convolution_equal_finite_differences(options, normal, check_gradients):
    check_gradients(fn.Conv1d(4, 6, 3, dtype=np.float64, **options), normal(2, 7, 4))


@every_geometry
@both_types
def test_convolution_equals_pytorch(options, dtype, normal):
    torch = pytest.importorskip("torch")
    ours = fn.Conv1d(4, 6, 3, dtype=dtype, **options)
    theirs = torch.nn.Conv1d(4, 6, 3, dtype=getattr(torch, np.dtype(dtype).name), **options)
    theirs.weight.data = torch.from_numpy(ours.weight.value.transpose(2, 1, 0).copy())
    if ours.bias is not None:
        theirs.bias.data = torch.from_numpy(ours.bias.value.copy())
    x = normal(3, 11, 4).astype(dtype)
    assert_as_torch(ours, theirs, x, normal(3, *ours.output_shape((11, 4))).astype(dtype), dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    gradient = theirs.weight.grad.numpy().transpose(2, 1, 0)
    np.testing.assert_allclose(ours.weight.grad, gradient, tolerance, tolerance)
    if ours.bias is not None:
        np.testing.assert_allclose(ours.bias.grad, theirs.bias.grad.numpy(), tolerance, tolerance)


def test_convolution_of_whole_numbers_equals_a_loop_exactly():
    rng = np.random.default_rng(0)
    layer = fn.Conv1d(5, 17, 4, stride=2, padding=(3, 1), dilation=2)
    layer.weight = rng.integers(-9, 10, layer.weight.shape)
    layer.bias = rng.integers(-9, 10, layer.bias.shape)
    x = rng.integers(-9, 10, (3, 20, 5)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (3, 1), (0, 0)))
    y = layer.predict(x)
    for p in range(y.shape[1]):
        patch = padded[:, 2 * p : 2 * p + 7 : 2]
        expected = np.tensordot(patch, layer.weight.value, ((1, 2), (0, 1))) + layer.bias.value
        np.testing.assert_array_equal(y[:, p], expected)


def test_causal_padding_sees_no_later_elements(normal):
    layer = fn.Conv1d(2, 3, 4, padding=(3, 0))
    x = normal(1, 9, 2).astype(np.float32)
    y = layer.predict(x)
    x[:, 5:] += 1
    np.testing.assert_array_equal(layer.predict(x)[:, :5], y[:, :5])


@both_pools
@every_pool
def test_gradients_of_pools_equal_finite_differences(kind, geometry, normal, check_gradients):
    check_gradients(kind(*geometry), normal(2, 7, 3))


@both_pools
@every_pool
@both_types
def test_pools_equal_pytorch(kind, geometry, dtype, normal):
    torch = pytest.importorskip("torch")
    layer = kind(*geometry)
    x = normal(2, 9, 5).astype(dtype)
    dy = normal(2, *layer.output_shape((9, 5))).astype(dtype)
    assert_as_torch(layer, getattr(torch.nn, kind.__name__)(*geometry), x, dy, dtype)


def test_mean_without_padding_equals_pytorch(normal):
    torch = pytest.importorskip("torch")
    x = normal(2, 9, 5)
    module = torch.nn.AvgPool1d(3, 2, 1, count_include_pad=False)
    assert_as_torch(fn.AvgPool1d(3, 2, 1, count_include_pad=False), module, x, normal(2, 5, 5), np.float64)


def test_global_average(normal, check_gradients):
    x = normal(3, 7, 4)
    np.testing.assert_allclose(fn.GlobalAvgPool1d().forward(x)[0], x.mean(axis=1), 1e-14)
    check_gradients(fn.GlobalAvgPool1d(), x)


def test_batch_norm_of_sequences_equals_pytorch(normal):
    torch = pytest.importorskip("torch")
    ours, theirs = fn.BatchNorm1d(4, dtype=np.float64), torch.nn.BatchNorm1d(4, dtype=torch.float64)
    assert_as_torch(ours, theirs, normal(3, 7, 4), normal(3, 7, 4), np.float64)
    np.testing.assert_allclose(ours.running_mean.value, theirs.running_mean.numpy(), 1e-12)
    np.testing.assert_allclose(ours.running_var.value, theirs.running_var.numpy(), 1e-12)
    assert ours.smallest_batch((7, 4)) == 1
    assert ours.smallest_batch((1, 4)) == 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fn.Conv1d(4, 6, (3, 3)), TypeError, "filter_size must be an integer, not"),
        (lambda: fn.Conv1d(4, 6, 0), ValueError, "filter_size must be at least 1"),
        (lambda: fn.Conv1d(4, 6, 3, stride=1.5), TypeError, "stride must be an integer"),
        (lambda: fn.Conv1d(4, 6, 3, padding="full"), ValueError, '"same" or "valid"'),
        (lambda: fn.Conv1d(4, 6, 3, padding=-1), ValueError, "padding must be at least 0"),
        (lambda: fn.Conv1d(4, 6, 3, groups=3), ValueError, "groups must divide"),
        (lambda: fn.MaxPool1d((2, 2)), TypeError, "window must be an integer"),
        (lambda: fn.MaxPool1d(3, 1, 2), ValueError, "at most half of the window, 3, not 2"),
        (lambda: fn.AvgPool1d(3, 1, "full"), ValueError, '"same" or "valid"'),
        (lambda: fn.Conv1d(4, 6, 3).output_shape((8, 8, 4)), ValueError, r"sequences \(length, 4 channels\)"),
        (lambda: fn.Conv1d(4, 6, 3).output_shape((4, 9)), ValueError, r"x.transpose\(0, 2, 1\)"),
        (lambda: fn.Conv1d(4, 6, 3).output_shape((2, 4)), ValueError, "window of Conv1d"),
        (lambda: fn.MaxPool1d(2).output_shape((8,)), ValueError, r"sequences \(length, channels\)"),
        (lambda: fn.GlobalAvgPool1d().output_shape((0, 3)), ValueError, "at least one element"),
        (lambda: fn.BatchNorm1d(4).output_shape((7, 5)), ValueError, r"\(4 features\)"),
    ],
)
def test_invalid_arguments_and_shapes_are_rejected(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (fn.Conv1d(4, 6, 3), "Conv1d(4, 6, 3)"),
        (fn.Conv1d(4, 6, 3, stride=2, padding="same"), "Conv1d(4, 6, 3, stride=2, padding='same')"),
        (fn.Conv1d(4, 6, 2, padding=(1, 0), bias=False), "Conv1d(4, 6, 2, padding=(1, 0), bias=False)"),
        (fn.MaxPool1d(3, 2, 1), "MaxPool1d(3, stride=2, padding=1)"),
        (fn.AvgPool1d(3, padding="same"), "AvgPool1d(3, padding='same')"),
        (
            fn.AvgPool1d(3, 2, 1, count_include_pad=False),
            "AvgPool1d(3, stride=2, padding=1, count_include_pad=False)",
        ),
        (fn.GlobalAvgPool1d(), "GlobalAvgPool1d()"),
    ],
)
def test_repr(layer, text):
    assert repr(layer) == text


def test_a_model_that_begins_with_batch_norm_of_sequences_has_a_summary():
    model = fn.Sequential(fn.BatchNorm1d(4), fn.Conv1d(4, 6, 3), fn.GlobalAvgPool1d(), fn.Linear(6, 2))
    assert "Conv1d(4, 6, 3)" in str(model.summary())
    x = np.random.default_rng(0).random((16, 7, 4), np.float32)
    fn.fit(model, (x, np.arange(16) % 2), epochs=1, progress=False)
    assert "(5, 6)" in model._repr_html_()
