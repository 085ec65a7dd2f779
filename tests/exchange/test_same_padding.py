"""`padding="same"` with strides in PyTorch, whose layers add the same number of pixels on two sides."""

from itertools import product

import numpy as np
import pytest

import fastnn as fn

from .cases import samples

torch = pytest.importorskip("torch")
nn = torch.nn

SIZES = [(7, 8), (8, 8), (9, 6), (5, 11)]  # even and uneven padding, of one side and of both


def convolution(window, stride):
    return fn.Conv2d(2, 3, window, stride=stride, padding="same")


def enlarging(window, stride):
    return fn.ConvTranspose2d(2, 3, window, stride=stride, padding="same")


def of_images(kind, **options):
    return lambda window, stride: kind(window, stride, padding="same", **options)


LAYERS = {
    "Conv2d": convolution,
    "ConvTranspose2d": enlarging,
    "MaxPool2d": of_images(fn.MaxPool2d),
    "AvgPool2d": of_images(fn.AvgPool2d),
    "AvgPool2d with its padding": of_images(fn.AvgPool2d, count_include_pad=True),
}


def assert_same(layer, shape):
    """Outputs and the gradient of the samples agree, in float64; a maximum of padding would show."""
    model = fn.Sequential(layer).to(np.float64)
    x = samples(shape, dtype=np.float64) - 3  # below 0
    module = fn.to_torch(model, input_shape=shape).train()
    y, backward = model.forward(x, train=True)
    batch = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    outputs = module(batch)
    np.testing.assert_allclose(np.moveaxis(outputs.detach().numpy(), 1, -1), y, rtol=1e-10, atol=1e-10)
    weights = samples(y.shape[1:], dtype=np.float64)
    (outputs * torch.from_numpy(np.moveaxis(weights, -1, 1).copy())).sum().backward()
    dx = backward(weights)
    np.testing.assert_allclose(np.moveaxis(batch.grad.numpy(), 1, -1), dx, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("window", "stride"), [(2, 2), (3, 2), (4, 3), ((2, 5), (3, 2)), (1, 2), (3, 1), (2, 1), ((4, 2), (1, 2))]
)
def test_images_of_any_size_agree(name, window, stride):
    for sides in SIZES:
        assert_same(LAYERS[name](window, stride), (*sides, 2))


@pytest.mark.parametrize("length", [7, 8, 9])
def test_sequences_agree(length):
    for window, stride in product((2, 3, 4), (1, 2, 3)):
        assert_same(fn.Conv1d(2, 3, window, stride=stride, padding="same"), (length, 2))
        assert_same(fn.MaxPool1d(window, stride, padding="same"), (length, 2))
        for counted in (True, False):
            pool = fn.AvgPool1d(window, stride, padding="same", count_include_pad=counted)
            assert_same(pool, (length, 2))


@pytest.mark.parametrize(
    ("layer", "sides", "modules"),
    [
        (fn.Conv2d(1, 2, 3, stride=2, padding="same"), (7, 9), [nn.Conv2d]),
        (fn.Conv2d(1, 2, 3, stride=2, padding="same"), (7, 8), [nn.ZeroPad2d, nn.Conv2d]),
        (fn.MaxPool2d(2, padding="same"), (7, 8), [nn.MaxPool2d]),
        (fn.MaxPool2d(2, 1, padding="same"), (7, 8), [nn.MaxPool2d, nn.ZeroPad2d]),
        (fn.AvgPool2d(2, padding="same"), (7, 8), [nn.AvgPool2d]),
        (fn.AvgPool2d(2, padding="same", count_include_pad=True), (7, 8), [nn.ZeroPad2d, nn.AvgPool2d]),
    ],
    ids=repr,
)
def test_padding_has_a_module_only_if_it_is_uneven(layer, sides, modules):
    assert [type(module) for module in fn.to_torch(fn.Sequential(layer), input_shape=(*sides, 1))] == modules


def test_nets_keep_the_sizes_of_their_images():
    """The padding of each layer follows from the shape that the layers before it give."""
    model = fn.Sequential(
        *(fn.Conv2d(1, 4, 3, stride=2, padding="same"), fn.ReLU(), fn.MaxPool2d(3, 2, padding="same")),
        fn.Residual(fn.Conv2d(4, 6, 2, stride=2, padding="same"), fn.Conv2d(4, 6, 1, stride=2)),
        *(fn.Flatten(), fn.Linear(6 * 2 * 2, 3)),
    )
    x = samples((13, 14, 1))
    module = fn.to_torch(model, input_shape=(13, 14, 1))
    with torch.no_grad():
        outputs = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(outputs, model.predict(x), rtol=1e-5, atol=1e-5)
    assert model[0].padding == "same"
