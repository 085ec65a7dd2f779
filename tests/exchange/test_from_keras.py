"""Keras models become models with the same outputs and gradients; others are refused by name."""

import os

import numpy as np
import pytest

import fastnn as fn

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras", exc_type=ImportError)
layers = keras.layers

# Keras converts tensors of PyTorch by an __array__ method without the argument `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def sequential(shape, *made):
    return keras.Sequential([keras.Input(shape), *made])


def residual_net():
    x = start = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    y = layers.Activation("relu")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="tanh")(y)
    x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(3, activation="softmax")(x))


def nested():
    inner = sequential((4,), layers.Dense(5, activation="gelu"), layers.LayerNormalization())
    start = keras.Input((4,))
    return keras.Model(start, layers.Dense(2)(inner(start)))


ACCEPTED = {
    "Dense": lambda: sequential((4,), layers.Dense(3, activation="relu"), layers.Dense(2, use_bias=False)),
    "Dense of images": lambda: sequential((4, 5, 3), layers.Dense(2, activation="sigmoid")),
    "Conv2D": lambda: sequential((7, 6, 2), layers.Conv2D(4, (3, 2), activation="elu")),
    "Conv2D, same, strides": lambda: sequential((7, 6, 2), layers.Conv2D(4, 3, strides=2, padding="same")),
    "Conv2D, dilation": lambda: sequential((7, 7, 2), layers.Conv2D(4, 3, dilation_rate=2)),
    "Conv2D, groups": lambda: sequential((5, 5, 4), layers.Conv2D(6, 3, groups=2)),
    "DepthwiseConv2D": lambda: sequential((6, 6, 3), layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "Dense of sequences": lambda: sequential((4, 3), layers.Dense(2, activation="tanh")),
    "Conv1D": lambda: sequential((9, 4), layers.Conv1D(6, 3, strides=2, padding="same", groups=2)),
    "Conv1D, causal": lambda: sequential(
        (7, 2), layers.Conv1D(3, 3, dilation_rate=2, padding="causal", use_bias=False)
    ),
    "DepthwiseConv1D": lambda: sequential((6, 3), layers.DepthwiseConv1D(2, depth_multiplier=2)),
    "sequences": lambda: sequential(
        *((12, 3), layers.ZeroPadding1D((2, 1)), layers.Conv1D(4, 3), layers.BatchNormalization()),
        *(layers.GroupNormalization(2), layers.LayerNormalization(), layers.MaxPooling1D(3, strides=2)),
        *(layers.AveragePooling1D(2, padding="same"), layers.GlobalAveragePooling1D(), layers.Dense(2)),
    ),
    "global pool of sequences": lambda: sequential((4, 3), layers.GlobalAveragePooling1D(keepdims=True)),
    "pools, same": lambda: sequential(
        (5, 5, 2), layers.AveragePooling2D(2, padding="same"), layers.MaxPooling2D(2, padding="same")
    ),
    "GroupNormalization": lambda: sequential((4, 4, 6), layers.GroupNormalization(-1, center=False)),
    "Embedding": lambda: keras.Sequential(
        [
            *(keras.Input((5,), dtype="int32"), layers.Embedding(9, 4), layers.Conv1D(3, 2)),
            *(layers.Flatten(), layers.Dense(2)),
        ]
    ),
    "ZeroPadding2D": lambda: sequential(
        (5, 5, 2), layers.ZeroPadding2D(((1, 0), (2, 1))), layers.Conv2D(3, 3, strides=2)
    ),
    "pools": lambda: sequential(
        (9, 8, 2), layers.MaxPooling2D(3, strides=2), layers.AveragePooling2D((2, 1)), layers.Flatten()
    ),
    "pool, same": lambda: sequential((8, 8, 2), layers.MaxPooling2D(2, padding="same")),
    "global pool": lambda: sequential((4, 5, 3), layers.GlobalAveragePooling2D(keepdims=True)),
    "BatchNormalization": lambda: sequential((4,), layers.BatchNormalization(momentum=0.8, epsilon=1e-4)),
    "no scale": lambda: sequential((4, 4, 2), layers.BatchNormalization(scale=False)),
    "no center": lambda: sequential((4,), layers.LayerNormalization(center=False)),
    "LayerNormalization": lambda: sequential((4, 4, 2), layers.LayerNormalization(axis=(1, 2, 3))),
    "Flatten, Reshape": lambda: sequential(
        (4, 4, 2), layers.Reshape((2, 8, 2)), layers.Flatten(), layers.Dropout(0.5), layers.Dense(3)
    ),
    "activations": lambda: sequential(
        *((4,), layers.Dense(4, activation="silu"), layers.ReLU(), layers.LeakyReLU(negative_slope=0.1)),
        *(layers.ReLU(negative_slope=0.2), layers.ELU(), layers.Activation("leaky_relu"), layers.Softmax()),
    ),
    "residual": residual_net,
    "nested": nested,
}


def varied(model):
    """No weight or running statistic is 0 or 1."""
    generator = np.random.default_rng(1)
    model.set_weights([0.3 + 0.3 * generator.random(each.shape) for each in model.get_weights()])
    return model


@pytest.mark.parametrize("name", ACCEPTED)
def test_model_returns_what_the_keras_model_returns(name):
    model = varied(ACCEPTED[name]())
    shape = (5, *model.inputs[0].shape[1:])
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if name == "Embedding":
        x = np.random.default_rng(0).integers(9, size=shape)
    wanted = keras.ops.convert_to_numpy(model(x, training=False))
    got = fn.from_keras(model).predict(x)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 1e-5 * max(1, np.abs(wanted).max())


def test_frozen_layers_stay_frozen():
    model = sequential((4,), layers.Dense(3), layers.Dense(2))
    model.layers[0].trainable = False
    assert [p.trainable for p in fn.from_keras(model).parameters()] == [False, False, True, True]


def test_momentum_is_the_weight_of_the_new_batch():
    """Keras: running = momentum running + (1 - momentum) batch."""
    model = fn.from_keras(sequential((4,), layers.BatchNormalization(momentum=0.9, epsilon=0.01)))
    assert (model[0].momentum, model[0].epsilon) == (pytest.approx(0.1), 0.01)


def test_converted_model_trains_on(blobs):
    model = fn.from_keras(sequential((6,), layers.Dense(16, activation="relu"), layers.Dense(3)))
    assert fn.fit(model, blobs, epochs=20, seed=0)["accuracy"][-1] > 0.9


def shared():
    dense, start = layers.Dense(4), keras.Input((4,))
    return keras.Model(start, dense(dense(start)))


class Own(keras.Model):
    def call(self, x):
        return x


REFUSED = [
    (
        lambda: sequential((4,), layers.Dense(3, name="a"), layers.PReLU(name="b")),
        r"'b', a PReLU, .*supported are Act",
    ),
    (
        lambda: sequential((4,), layers.Dense(3, activation="selu", name="a")),
        r"'a', a Dense, has the activation selu",
    ),
    (lambda: sequential((4,), layers.Dense(3, activation=lambda x: x)), "has the activation"),
    (lambda: sequential((4,), layers.ReLU(max_value=6)), "max_value=6"),
    (
        lambda: sequential((5, 2), layers.ZeroPadding1D(1), layers.Conv1D(3, 2, padding="same")),
        "padding='same'",
    ),
    (lambda: sequential((5, 2), layers.ZeroPadding1D(1), layers.MaxPooling1D(2)), "only before a conv"),
    (lambda: sequential((5,), layers.Embedding(9, 4, mask_zero=True)), "mask_zero=True"),
    (lambda: sequential((5, 4), layers.GroupNormalization(5, axis=1)), "axis=1"),
    (lambda: sequential((5, 4), layers.Conv1DTranspose(2, 3)), "a Conv1DTranspose"),
    (lambda: sequential((3, 5, 5), layers.Conv2D(2, 3, data_format="channels_first")), "channels_first"),
    (lambda: sequential((5, 5, 3), layers.BatchNormalization(axis=1)), "axis=1"),
    (lambda: sequential((5, 5, 3), layers.LayerNormalization(axis=1)), r"the axes \[1\]"),
    (lambda: sequential((5, 5, 3), layers.ZeroPadding2D(1), layers.ReLU()), "only before a convolution"),
    (lambda: sequential((None, None, 3), layers.Conv2D(2, 3)), r"samples of shape \(None, None, 3\)"),
    (lambda: sequential((4, 3), layers.LSTM(2, name="a")), "'a', a LSTM"),
    (lambda: keras.Sequential([layers.Dense(3)]), "is not built"),
    (shared, "is called twice"),
    (Own, "neither Sequential nor functional|not built"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refusals_name_the_layer_and_what_is_supported(make, message):
    with pytest.raises(fn.ConversionError, match=message):
        fn.from_keras(make())


def test_several_inputs_are_refused():
    a, b = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(fn.ConversionError, match="2 inputs and 1 outputs; supported is one of each"):
        fn.from_keras(keras.Model([a, b], layers.Add()([a, b])))


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match=r"takes a keras\.Model"):
        fn.from_keras(torch.nn.Linear(3, 2))
