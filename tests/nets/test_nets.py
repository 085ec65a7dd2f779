"""Ready-made networks: published shapes and parameter counts, and training."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.data import resize


@pytest.mark.parametrize(
    ("form", "parameters"),
    [("one_tower", 61_100_840), ("original", 62_378_344), ("two_groups", 60_965_224)],
)
def test_alexnet_has_the_published_number_of_parameters(form, parameters):
    model = fn.nets.alexnet(form=form)
    assert sum(param.size for param in model.parameters()) == parameters
    shape, seen = (227, 227, 3), []
    for layer in model:
        shape = layer.output_shape(shape)
        if isinstance(layer, (fn.Conv2d, fn.MaxPool2d, fn.Flatten)):
            seen.append(shape[:2] if len(shape) == 3 else shape)
    first = (56, 56) if form == "one_tower" else (55, 55)
    assert seen == [first, (27, 27), (27, 27), (13, 13), (13, 13), (13, 13), (13, 13), (6, 6), (9216,)]
    assert shape == (1000,)
    table = model.summary((227, 227, 3))
    assert "total" in table
    assert model.flop((227, 227, 3)) > 1.4e9


def test_alexnet_accepts_224_pixels_and_rejects_invalid_options():
    assert fn.nets.alexnet(10).output_shape((224, 224, 3)) == (10,)
    with pytest.raises(ValueError, match="form"):
        fn.nets.alexnet(form="two_towers")
    with pytest.raises(ValueError, match="classes"):
        fn.nets.alexnet(0)


def test_alexnet_overfits_a_few_images():
    rng = np.random.default_rng(0)
    x = resize(rng.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8), (227, 227))
    fn.manual_seed(0)
    model = fn.nets.alexnet(2, dropout=0.0)
    trainer = fn.Trainer(model, optimizer=fn.Adam(1e-4), seed=0)
    losses = [trainer.step(x, np.arange(4) % 2) for _ in range(8)]
    assert losses[-1] < 0.5 * losses[0]


def test_mnist_cnn_has_the_published_size_and_rejects_small_images():
    model = fn.nets.mnist_cnn()
    assert sum(param.size for param in model.parameters()) == 278_890
    assert model.output_shape((28, 28)) == (10,)
    assert fn.nets.mnist_cnn((8, 9), 3).output_shape((8, 9)) == (3,)
    assert fn.nets.mnist_cnn((8, 9), 5, channels=3).output_shape((8, 9, 3)) == (5,)
    with pytest.raises(ValueError, match="8 x 8"):
        fn.nets.mnist_cnn((7, 28))
