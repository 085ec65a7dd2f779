"""Imported models: what was exported, and models of other libraries."""

import copy
import warnings

import numpy as np
import pytest

import fastnn as fn

from .cases import layers, nets, randomized, samples
from .node_tests import count, node_cases, shipped_cases

onnx = pytest.importorskip("onnx")

CASES = {**layers(), **nets()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("opset", [17, 20, 21])
@pytest.mark.parametrize("name", CASES)
def test_exported_models_come_back(name, opset, path):
    model, shape = CASES[name]
    model, x = randomized(model), samples(model, shape)
    for layout in ("nchw", "nhwc"):
        fn.export_onnx(model, path, opset=opset, input_shape=shape, layout=layout)
        twin = fn.import_onnx(path)
        found, expected = twin.predict(x), model.predict(x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mnist_cnn", "residual", "mlp", "decoder"])
def test_round_trip_keeps_the_layers(name, path):
    model, shape = CASES[name]
    fn.export_onnx(model, path, input_shape=shape)
    kept = [layer for layer in model if not isinstance(layer, fn.Dropout)]
    assert repr(fn.import_onnx(path)) == repr(fn.Sequential(*copy.deepcopy(kept)))


def test_imported_models_train(path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8, 8, 1)).astype("f4"), np.arange(40) % 10
    model, _ = CASES["mnist_cnn"]
    fn.export_onnx(model, path, input_shape=(8, 8, 1))
    twin = fn.import_onnx(path)
    history = fn.fit(twin, (x, y), epochs=15, optimizer=fn.Adam(lr=0.01), seed=0, progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


# --- PyTorch ---


def torch_nets():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.first = nn.Sequential(
                *(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
                *(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)),
            )
            same = stride == 1 and inputs == outputs
            self.second = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

        def forward(self, x):
            return torch.relu(self.first(x) + self.second(x))

    class Function(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    pool = nn.AvgPool2d(2)
    view = Function(lambda x: x.view(x.size(0), -1))
    return {
        "lenet": (
            nn.Sequential(
                *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), pool, nn.Conv2d(6, 16, 5), nn.Tanh(), pool, view),
                *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 10), nn.Softmax(1)),
            ),
            (1, 28, 28),
        ),
        "resnet": (
            nn.Sequential(
                *(nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
                *(Block(4, 4, 1), Block(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
            ),
            (3, 33, 33),
        ),
        "activations": (
            nn.Sequential(
                *(nn.Linear(7, 7), nn.SiLU(), nn.Linear(7, 6), nn.GELU(), nn.Linear(6, 6), nn.GELU("tanh")),
                *(
                    nn.LayerNorm(6),
                    nn.BatchNorm1d(6),
                    nn.ELU(0.4),
                    nn.LeakyReLU(0.3),
                    nn.Dropout(),
                    nn.Sigmoid(),
                ),
            ),
            (7,),
        ),
        "scaled": (
            nn.Sequential(
                *(Function(lambda x: x / 255), nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(2, 4, 3, groups=2)),
                Function(lambda x: x.mean((2, 3))),
            ),
            (2, 9, 9),
        ),
        "decoder": (
            nn.Sequential(
                *(nn.Linear(5, 36), nn.ReLU(), Function(lambda x: x.reshape(x.shape[0], 4, 3, 3))),
                nn.Conv2d(4, 2, 3, padding=1),
            ),
            (5,),
        ),
        "sequences": (
            nn.Sequential(
                *(nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2)),
                *(nn.LayerNorm((4, 5)), nn.Conv1d(4, 6, 2, groups=2), nn.AdaptiveAvgPool1d(1)),
                *(nn.Flatten(), nn.Linear(6, 2)),
            ),
            (3, 10),
        ),
        "patches": (
            nn.Sequential(
                *(nn.Conv2d(2, 6, 2, 2), Function(lambda x: x.flatten(2).transpose(1, 2)), nn.LayerNorm(6)),
                *(nn.Linear(6, 4), Function(lambda x: x.mean(1))),
            ),
            (2, 4, 6),
        ),
        "norms": (
            nn.Sequential(
                *(nn.Conv2d(2, 4, 3), nn.LayerNorm([4, 5, 5]), nn.ReLU(), nn.Flatten(), nn.LayerNorm(100)),
                *(nn.BatchNorm1d(100), nn.Linear(100, 2)),
            ),
            (2, 7, 7),
        ),
    }


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    "name", ["lenet", "resnet", "activations", "scaled", "decoder", "norms", "sequences", "patches"]
)
def test_models_of_pytorch_agree(name, dynamic, path):
    torch = pytest.importorskip("torch")
    net, shape = torch_nets()[name]
    net.eval()
    rng = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        if tensor.ndim == 1:  # norms, biases and running statistics
            tensor.copy_(torch.rand(tensor.shape, generator=rng) + 0.2)
    axes = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}} if dynamic else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.rand(2, *shape), path, dynamo=False, opset_version=18, **axes)
    model = fn.import_onnx(path)
    x = torch.rand(3, *shape, generator=rng)
    found = model.predict(np.ascontiguousarray(np.moveaxis(x.numpy(), 1, -1)) if x.ndim > 2 else x)
    expected = net(x).detach().numpy()
    np.testing.assert_allclose(
        found, np.moveaxis(expected, 1, -1) if found.ndim > 2 else expected, rtol=1e-5, atol=1e-5
    )


def test_embeddings_of_pytorch_agree(path):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.conv, self.dense = nn.Embedding(9, 4), nn.Conv1d(4, 6, 2), nn.Linear(6, 3)

        def forward(self, tokens):
            return self.dense(torch.relu(self.conv(self.table(tokens).transpose(1, 2))).transpose(1, 2))

    net, tokens = Text(), torch.randint(9, (3, 7), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, tokens, path, dynamo=False, opset_version=18)
    model = fn.import_onnx(path)
    assert repr(model) == "Sequential(Embedding(9, 4), Conv1d(4, 6, 2), ReLU(), Conv1d(6, 3, 1))"
    found = model.predict(tokens.numpy())
    np.testing.assert_allclose(found, net(tokens).detach().numpy(), rtol=1e-5, atol=1e-5)


# --- scikit-learn and Keras ---


@pytest.mark.parametrize("labels", ["integers", "text"])
@pytest.mark.parametrize("zipmap", [True, False])
def test_classifiers_of_scikit_learn_agree(zipmap, labels, path):
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier

    (x, y), _ = fn.data.digits()
    x = x[:200].reshape(200, -1).astype("f4") / 16
    y = y[:200] if labels == "integers" else np.array(list("abcdefghij"))[y[:200]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = MLPClassifier((20,), activation="tanh", max_iter=20, random_state=0).fit(x, y)
        converted = skl2onnx.to_onnx(other, x[:1], options={id(other): {"zipmap": zipmap}})
    path.write_bytes(converted.SerializeToString())
    model = fn.import_onnx(path)
    np.testing.assert_allclose(model.predict(x), other.predict_proba(x), atol=1e-5)
    if zipmap:  # which names the classes
        assert model.predict_classes(x).tolist() == other.predict(x).tolist()


def test_regressors_of_scikit_learn_agree(path):
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPRegressor

    x = np.random.default_rng(1).normal(size=(50, 4)).astype("f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = MLPRegressor(hidden_layer_sizes=(6, 5), max_iter=20, random_state=0).fit(x, x.sum(axis=1))
        path.write_bytes(skl2onnx.to_onnx(other, x[:1]).SerializeToString())
    found = fn.import_onnx(path).predict(x)[:, 0]
    np.testing.assert_allclose(found, other.predict(x), rtol=1e-5, atol=1e-5)


def test_models_of_keras_agree(path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    kinds = keras.layers
    net = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            kinds.Rescaling(1 / 255),
            kinds.Conv2D(4, 3, padding="same", strides=2),
            kinds.BatchNormalization(),
            kinds.Activation("silu"),
            kinds.AveragePooling2D(2),
            kinds.Flatten(),
            kinds.Dense(5, activation="elu"),
            kinds.Dropout(0.3),
            kinds.Dense(3, activation="softmax"),
        ]
    )
    x = np.random.default_rng(1).normal(size=(5, 12, 12, 3)).astype("f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = net.predict(x, verbose=0)
        net.export(path, format="onnx", verbose=False)
    np.testing.assert_allclose(fn.import_onnx(path, layout="nhwc").predict(x), expected, atol=1e-5)


def test_sequences_of_keras_agree(path, monkeypatch):
    """Keras casts the indices, which are floats in its file."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    kinds = keras.layers
    net = keras.Sequential(
        [
            *(keras.Input((8,)), kinds.Embedding(9, 4), kinds.Conv1D(6, 3, padding="same")),
            *(kinds.BatchNormalization(), kinds.MaxPooling1D(2), kinds.Dense(5, activation="relu")),
            *(kinds.GlobalAveragePooling1D(), kinds.Dense(3)),
        ]
    )
    x = np.random.default_rng(0).integers(9, size=(5, 8)).astype("f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = net.predict(x, verbose=0)
        net.export(path, format="onnx", verbose=False)
    np.testing.assert_allclose(fn.import_onnx(path).predict(x), expected, atol=1e-5)


# --- the tests of the package onnx ---


@pytest.mark.parametrize(("cases", "least"), [(node_cases, 109), (shipped_cases, 55)])
def test_no_node_test_of_onnx_is_wrong(cases, least):
    """A refusal names the reason; `python -m tests.onnx.node_tests --all` lists them."""
    results = list(count(cases()))
    assert [result for result in results if result[1] == "wrong"] == []
    assert all(reason for _, outcome, reason in results if outcome == "refused")
    assert sum(outcome == "equal" for _, outcome, _ in results) >= least
