"""Weights from PyTorch behind Flatten, and norms of images: what has the channels first there, last here."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastnn as fn

torch = pytest.importorskip("torch")
nn = torch.nn


def load(model, module, path):
    """Load the weights of `module`, whose norms get values that differ, and return it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + (0.5 if "var" in name else -0.4))
    save_file({name: tensor.numpy() for name, tensor in module.state_dict().items()}, path)
    fn.load_torch(model, path)
    return module.eval()


def conv():
    return fn.Conv2d(2, 4, 2)


def linear():
    return fn.Linear(48, 3)


CONV, LINEAR = (nn.Conv2d, 2, 4, 2), (nn.Linear, 48, 3)

# name: (layers here, modules there with their arguments), for images (4, 5, 2)
CASES = {
    "BatchNorm1d": ([conv(), fn.Flatten(), fn.BatchNorm1d(48), linear()], [(nn.BatchNorm1d, 48)]),
    "LayerNorm": ([conv(), fn.Flatten(), fn.LayerNorm(48), linear()], [(nn.LayerNorm, 48)]),
    "both": (
        [conv(), fn.Flatten(), fn.BatchNorm1d(48), fn.Tanh(), fn.LayerNorm(48), fn.Dropout(0.5), linear()],
        [(nn.BatchNorm1d, 48), (nn.Tanh,), (nn.LayerNorm, 48), (nn.Dropout,)],
    ),
    "not affine": (
        [conv(), fn.Flatten(), fn.BatchNorm1d(48, affine=False), linear()],
        [(nn.BatchNorm1d, 48, 1e-5, 0.1, False)],
    ),
    "Reshape": ([conv(), fn.Reshape(48), linear()], []),
    "Reshape, norm": ([conv(), fn.Reshape(-1), fn.LayerNorm(48), linear()], [(nn.LayerNorm, 48)]),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_behind_flatten(name, tmp_path):
    layers, inner = CASES[name]
    modules = [kind(*arguments) for kind, *arguments in (CONV, (nn.Flatten,), *inner, LINEAR)]
    model = fn.Sequential(*layers)
    check(model, nn.Sequential(*modules), (4, 5, 2), tmp_path / "net")


def check(model, module, shape, path):
    module = load(model, module, path)
    x = np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))).numpy()
    got = np.moveaxis(model.predict(x), -1, 1)
    np.testing.assert_allclose(got, wanted, 1e-4, 1e-5)


def test_norm_of_images(tmp_path):
    model = fn.Sequential(fn.LayerNorm((4, 5, 2)), fn.Flatten(), fn.Linear(40, 3))
    module = nn.Sequential(nn.LayerNorm((2, 4, 5)), nn.Flatten(), nn.Linear(40, 3))
    check(model, module, (4, 5, 2), tmp_path / "net")


@pytest.mark.parametrize("kind", ["BatchNorm2d", "GroupNorm"])
def test_the_first_norm_tells_the_channels(kind, tmp_path):
    sizes = (2, 4) if kind == "GroupNorm" else (4,)
    model = fn.Sequential(getattr(fn, kind)(*sizes), fn.Flatten(), fn.Linear(24, 3))
    module = nn.Sequential(getattr(nn, kind)(*sizes), nn.Flatten(), nn.Linear(24, 3))
    check(model, module, (3, 2, 4), tmp_path / "net")


def test_norm_of_sequences(tmp_path):
    model = fn.Sequential(fn.Conv1d(3, 4, 2), fn.LayerNorm((5, 4)), fn.Flatten(), fn.Linear(20, 2))
    module = nn.Sequential(nn.Conv1d(3, 4, 2), nn.LayerNorm((4, 5)), nn.Flatten(), nn.Linear(20, 2))
    check(model, module, (6, 3), tmp_path / "net")


def test_norm_of_images_without_channels(tmp_path):
    model, module = fn.Sequential(fn.LayerNorm((3, 3))), nn.LayerNorm((3, 3))
    load(model, module, tmp_path / "net")
    np.testing.assert_array_equal(model[0].gamma.value, module.weight.detach().numpy())


def test_first_flatten_knows_the_images_of_the_training(tmp_path):
    model = fn.Sequential(fn.Flatten(), fn.LayerNorm(40), fn.Linear(40, 3))
    x = np.random.default_rng(0).standard_normal((12, 4, 5, 2)).astype(np.float32)
    fn.fit(model, (x, np.arange(12) % 3), epochs=1, seed=0, progress=False)
    module = nn.Sequential(nn.Flatten(), nn.LayerNorm(40), nn.Linear(40, 3))
    check(model, module, (4, 5, 2), tmp_path / "net")


def test_pooled_images_are_features_of_one_order(tmp_path):
    model = fn.Sequential(
        *(fn.Conv2d(2, 4, 2), fn.GlobalAvgPool2d(), fn.GroupNorm(2, 4), fn.Reshape(2, 2, 1)),
        *(fn.Conv2d(1, 2, 1), fn.Flatten(), fn.Linear(8, 3)),
    )
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.GroupNorm(2, 4), nn.Unflatten(1, (1, 2, 2))
    module = nn.Sequential(nn.Conv2d(2, 4, 2), *pool, nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    check(model, module, (4, 5, 2), tmp_path / "net")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([fn.Conv2d(2, 4, 2), fn.Flatten(), fn.GroupNorm(2, 48)], "GroupNorm.*the groups of a flattened"),
        ([fn.Linear(4, 12), fn.Reshape(2, 2, 3), fn.Conv2d(3, 1, 1)], "Reshape.*have another order"),
        ([fn.Conv2d(2, 4, 2), fn.Flatten(), fn.Reshape(8, 6, 1)], "Reshape.*have another order"),
    ],
)
def test_what_is_another_model_in_pytorch_is_refused(layers, words, tmp_path, unchanged):
    model, path = fn.Sequential(*layers), tmp_path / "net"
    save_file({"weight": np.ones((3, 4), "f")}, path)
    with unchanged(model), pytest.raises(TypeError, match=words):
        fn.load_torch(model, path)


def test_norm_that_does_not_fit_is_refused(tmp_path, unchanged):
    model = fn.Sequential(fn.Conv2d(1, 4, 1, bias=False), fn.Flatten(), fn.LayerNorm(8))
    filters = np.ones((4, 1, 1, 1), "f")
    for shape in ((7,), (2, 4), (1, 2, 4), ()):
        norm = {"1.weight": np.ones(shape, "f"), "1.bias": np.ones(8, "f")}
        save_file({"0.weight": filters, **norm}, tmp_path / "net")
        with unchanged(model), pytest.raises(fn.CheckpointError, match="does not fit the gamma"):
            fn.load_torch(model, tmp_path / "net")
