"""The convolutional layer: geometry, gradients, argument checks, and comparison with PyTorch."""

import numpy as np
import pytest

import fastnn as fn

GEOMETRIES = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": (2, 1), "padding": (0, 1)},
    "dilated": {"dilation": 2, "padding": 2},
    "same": {"padding": "same"},
    "unlike sides": {"padding": ((0, 1), (2, 0))},
    "grouped": {"groups": 2},
    "without bias": {"bias": False},
}


@pytest.mark.parametrize("options", GEOMETRIES.values(), ids=GEOMETRIES)
def test_gradients_equal_finite_differences(options, normal, check_gradients):
    layer = fn.Conv2d(4, 6, (3, 2), dtype=np.float64, **options)
    check_gradients(layer, normal(2, 6, 5, 4))


@pytest.mark.parametrize("options", GEOMETRIES.values(), ids=GEOMETRIES)
def test_output_has_the_announced_shape(options, normal):
    layer = fn.Conv2d(4, 6, (3, 2), **options)
    y, _ = layer.forward(normal(2, 7, 8, 4).astype(np.float32))
    assert y.shape[1:] == layer.output_shape((7, 8, 4))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, (3, 4)])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_keeps_the_size(size, dilation):
    assert fn.Conv2d(1, 2, size, padding="same", dilation=dilation).output_shape((9, 7, 1)) == (9, 7, 2)


def test_images_without_a_channel_axis_are_accepted(normal):
    layer = fn.Conv2d(1, 3, 3, dtype=np.float64)
    x = normal(2, 5, 6)
    (y, backward), (with_channel, _) = layer.forward(x), layer.forward(x[..., None])
    np.testing.assert_array_equal(y, with_channel)
    assert backward(np.ones_like(y)).shape == x.shape


def small_cnn():
    return fn.Sequential(fn.Conv2d(1, 3, 3, stride=2), fn.ReLU(), fn.Flatten(), fn.Linear(3 * 3 * 3, 4))


def images_of_digits(normal, dtype):
    """(N, 7, 8) without a channel, and labels."""
    x = normal(20, 7, 8)
    pixels = (64 * x + 128).clip(0, 255) if dtype == np.uint8 else x
    return pixels.astype(dtype), np.arange(20) % 4


@pytest.mark.parametrize("plan", [True, False], ids=["planned", "eager"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_images_without_a_channel_axis_train_to_the_same_bits(normal, dtype, plan):
    """`fit`, `Trainer`, `evaluate` and `predict` give the same bits with and without the channel axis."""
    x, y = images_of_digits(normal, dtype)
    outcomes = []
    for images in (x, x[..., None]):
        fn.manual_seed(0)
        model = small_cnn()
        history = fn.fit(
            model, (images, y), validation=(images, y), batch_size=8, epochs=2, seed=0, plan=plan
        )
        trainer = fn.Trainer(model, optimizer=fn.SGD(lr=0.1), plan=plan)
        losses = [trainer.step(images[:8], y[:8]) for _ in range(3)]
        predictions = [model.predict(images).tobytes() for _ in range(4)]  # the later ones by a plan
        assert len(set(predictions)) == 1
        evaluated = fn.evaluate(model, (images, y))
        loss = fn.gradients(model, (images, y))
        gradients = [param.grad.tobytes() for param in model.parameters()]
        outcomes.append(
            (history["loss"], history["val_loss"], losses, predictions, evaluated, loss, gradients)
        )
        assert "(3, 3, 3)" in model.summary(images.shape[1:])
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("shape", [(20, 7, 8, 3), (20, 7), (20, 56), (20, 7, 8, 1, 1)], ids=str)
def test_images_of_another_shape_are_rejected_by_every_entry_point(normal, shape):
    model, (x, y) = small_cnn(), (normal(*shape).astype(np.float32), np.arange(20) % 4)
    words = (
        r"layer 0: Conv2d\(1, 3, 3, stride=2\) expects images \(height, width, 1 channel\), got samples of"
    )
    for use in (
        lambda: fn.fit(model, (x, y)),
        lambda: fn.Trainer(model).step(x, y),
        lambda: model.predict(x),
        lambda: fn.evaluate(model, (x, y)),
        lambda: fn.gradients(model, (x, y)),
    ):
        with pytest.raises(ValueError, match=words):
            use()


def test_missing_channel_axis_is_rejected_for_several_channels(normal):
    model = fn.Sequential(fn.Conv2d(3, 2, 3), fn.Flatten())
    with pytest.raises(ValueError, match=r"3 channels\), got samples of shape \(7, 8\)"):
        model.predict(normal(2, 7, 8).astype(np.float32))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("options", GEOMETRIES.values(), ids=GEOMETRIES)
def test_values_and_gradients_equal_pytorch(options, normal):
    torch = pytest.importorskip("torch")
    if options.get("padding") == ((0, 1), (2, 0)):
        pytest.skip("PyTorch pads both sides alike")
    ours = fn.Conv2d(4, 6, (3, 2), dtype=np.float64, **options)
    theirs = torch.nn.Conv2d(4, 6, (3, 2), dtype=torch.float64, **options)
    theirs.weight.data = torch.from_numpy(ours.weight.value.transpose(3, 2, 0, 1).copy())
    if ours.bias is not None:
        theirs.bias.data = torch.from_numpy(ours.bias.value.copy())
    x = normal(2, 7, 8, 4)
    y, backward = ours.forward(x)
    tx = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    ty = theirs(tx)
    np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), 1e-12, 1e-12)
    dy = normal(*y.shape)
    ty.backward(torch.from_numpy(dy.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(backward(dy), tx.grad.numpy().transpose(0, 2, 3, 1), 1e-12, 1e-12)
    gradient = theirs.weight.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(ours.weight.grad, gradient, 1e-12, 1e-12)


def test_initial_weights_have_pytorchs_distribution():
    """U(-a, a) with a = 1 / sqrt(fan_in), for weights and bias."""
    layer = fn.Conv2d(8, 200, 5, groups=2)
    a = 1 / np.sqrt(5 * 5 * 4)
    for values in (layer.weight.value, layer.bias.value):
        assert 0.9 * a < np.abs(values).max() <= a
    assert abs(float(layer.weight.value.std()) - a / np.sqrt(3)) < 0.02 * a


REFUSED = [
    ({"filter_size": 0}, ValueError, "filter_size must be at least 1"),
    ({"filter_size": (3, 3, 3)}, TypeError, "filter_size must be an integer or a pair"),
    ({"filter_size": True}, TypeError, "filter_size must be an integer or a pair"),
    ({"filter_size": "3"}, TypeError, "filter_size must be an integer or a pair"),
    ({"filter_size": 2.5}, TypeError, "filter_size must be an integer or a pair"),
    ({"stride": 0}, ValueError, "stride must be at least 1, not 0"),
    ({"stride": (1, -1)}, ValueError, "stride must be at least 1"),
    ({"dilation": 0}, ValueError, "dilation must be at least 1"),
    ({"padding": -1}, ValueError, "padding must be at least 0"),
    ({"padding": "full"}, ValueError, "same"),
    ({"groups": 3}, ValueError, "3 does not divide 4 and 6"),
    ({"groups": 0}, ValueError, "groups"),
    ({"in_channels": 0}, ValueError, "in_channels"),
]


@pytest.mark.parametrize(("options", "error", "words"), REFUSED)
def test_invalid_arguments_are_rejected(options, error, words):
    with pytest.raises(error, match=words):
        fn.Conv2d(**{"in_channels": 4, "out_channels": 6, "filter_size": 3, **options})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            (7, 7, 3),
            r"Conv2d\(4, 6, 3\) expects images \(height, width, 4 channels\), got .* \(7, 7, 3\)",
        ),
        ((7, 7), "got samples of shape"),
        ((196,), "got samples of shape"),
        ((2, 9, 4), "has a height of 3 pixels, but the image has 2, padding included"),
        ((9, 2, 4), "has a width of 3 pixels, but the image has 2"),
    ],
)
def test_images_that_do_not_fit_are_rejected(shape, words):
    layer = fn.Conv2d(4, 6, 3)
    with pytest.raises(ValueError, match=words):
        layer.output_shape(shape)
    with pytest.raises(ValueError, match=words):
        layer.predict(np.zeros((2, *shape), np.float32))


def test_output_shape_of_huge_images_allocates_no_memory():
    assert fn.Conv2d(3, 5, 3, padding=1).output_shape((2**31, 2**31, 3)) == (2**31, 2**31, 5)


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (lambda: fn.Conv2d(1, 16, 7), "Conv2d(1, 16, 7)"),
        (lambda: fn.Conv2d(3, 8, (3, 5), stride=2, padding=1), "Conv2d(3, 8, (3, 5), stride=2, padding=1)"),
        (lambda: fn.Conv2d(4, 8, 2, padding="same"), "Conv2d(4, 8, 2, padding='same')"),
        (lambda: fn.Conv2d(4, 8, 3, groups=4, bias=False), "Conv2d(4, 8, 3, groups=4, bias=False)"),
    ],
)
def test_repr_recreates_the_layer(layer, shown):
    assert repr(layer()) == shown
    again = eval(f"fn.{shown}", {"fn": fn})
    assert again.weight.shape == layer().weight.shape
    assert again.padding == layer().padding


def test_images_with_the_channels_first_say_how_to_move_them():
    model = fn.Sequential(fn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"got samples of shape \(3, 8, 8\): .* x.transpose\(0, 2, 3, 1\)"):
        model.predict(np.zeros((2, 3, 8, 8)))
