"""Loading PyTorch weights: loaded models return the same outputs; files that do not fit are rejected."""

import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastnn as fn

torch = pytest.importorskip("torch")
nn = torch.nn


def saved(module, path):
    save_file({name: tensor.numpy() for name, tensor in module.state_dict().items()}, path)
    return path


def outputs(module, x):
    """Outputs of a PyTorch model for images (N, H, W, C)."""
    module.eval()
    with torch.no_grad():
        return module(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))).numpy()


class Net(nn.Module):
    """A network in torchvision's style: named parts, whose alphabetical order is not that of the layers."""

    def __init__(self, groups, bias):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(4, 12, 3, padding=1, bias=bias),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 6, (2, 3), groups=groups),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(6 * 3 * 2, 5), nn.BatchNorm1d(5, affine=False), nn.Tanh(), nn.Linear(5, 3)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def twin(groups=1, bias=True, classes=3):
    return fn.Sequential(
        fn.Sequential(
            fn.Conv2d(4, 12, 3, padding=1, bias=bias),
            fn.BatchNorm2d(12),
            fn.ReLU(),
            fn.MaxPool2d(2),
            fn.Conv2d(12, 6, (2, 3), groups=groups),
            fn.ReLU(),
        ),
        fn.Flatten(),
        fn.Linear(36, 5),
        fn.BatchNorm1d(5, affine=False),
        fn.Tanh(),
        fn.Linear(5, classes),
    )


def trained(module, x):
    """Set running statistics other than 0 and 1."""
    module.train()
    for _ in range(3):
        module(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
    return module


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_loaded_network_returns_the_same_outputs(tmp_path, groups, bias):
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((7, 8, 8, 4)).astype(np.float32)
    module, model = trained(Net(groups, bias), x), twin(groups, bias)
    fn.load_torch(model, saved(module, tmp_path / "net.safetensors"))
    np.testing.assert_allclose(model.predict(x), outputs(module, x), 1e-4, 1e-5)


def test_more_than_ten_numbered_layers_keep_their_order(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    model = fn.Sequential(*(fn.Linear(4, 4) for _ in range(12)))
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    fn.load_torch(model, saved(module, tmp_path / "deep.safetensors"))
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(x), module(torch.from_numpy(x)).numpy(), 1e-5, 1e-6)


def test_other_names_are_tried_in_every_order(tmp_path):
    """Layer `a` comes after `b` in this network, which only the shapes show."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.b, self.a = nn.Linear(4, 6), nn.Linear(6, 2)

    torch.manual_seed(0)
    module, model = Odd(), fn.Sequential(fn.Linear(4, 6), fn.Linear(6, 2))
    fn.load_torch(model, saved(module, tmp_path / "odd.safetensors"))
    np.testing.assert_array_equal(model[0].weight.value, module.b.weight.detach().numpy().T)


class Plain(nn.Module):
    """A network with a name for each layer, which the file sorts as bn1, bn2, ..., conv1, ..."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv3, self.bn3 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc1, self.fc2 = nn.Linear(8 * 5 * 4, 6), nn.Linear(6, 3)

    def forward(self, x):
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = torch.relu(norm(conv(x)))
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


def test_individually_named_layers_are_matched_in_their_order(tmp_path):
    x = np.random.default_rng(0).standard_normal((3, 5, 4, 4)).astype(np.float32)
    torch.manual_seed(0)
    module = trained(Plain(), x)
    convolutions = [
        layer
        for channels in (4, 8, 8)
        for layer in (fn.Conv2d(channels, 8, 3, padding=1), fn.BatchNorm2d(8), fn.ReLU())
    ]
    dense = [fn.Flatten(), fn.Linear(160, 6), fn.Tanh(), fn.Linear(6, 3)]
    model = fn.Sequential(*convolutions, *dense)
    fn.load_torch(model, saved(module, tmp_path / "plain.safetensors"))
    np.testing.assert_allclose(model.predict(x), outputs(module, x), 1e-4, 1e-5)


class TextNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(20, 6), nn.Conv1d(6, 8, 3, groups=2)
        self.norm, self.out = nn.GroupNorm(4, 8), nn.Linear(8 * 7, 3)

    def forward(self, x):
        x = self.embedding(x).transpose(1, 2)
        return self.out(self.norm(self.conv(x)).flatten(1))


def test_text_network_returns_the_same_outputs(tmp_path):
    torch.manual_seed(0)
    module, tokens = TextNet(), np.random.default_rng(0).integers(0, 20, (5, 9))
    nn.init.normal_(module.norm.weight)
    model = fn.Sequential(
        *(fn.Embedding(20, 6), fn.Conv1d(6, 8, 3, groups=2), fn.GroupNorm(4, 8)),
        *(fn.Flatten(), fn.Linear(8 * 7, 3)),
    )
    fn.load_torch(model, saved(module, tmp_path / "text.safetensors"))
    expected = module(torch.from_numpy(tokens)).detach().numpy()
    np.testing.assert_allclose(model.predict(tokens), expected, 1e-4, 1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_returns_the_same_outputs(tmp_path, groups):
    torch.manual_seed(0)
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": groups}
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 6, 3, **options))
    model = fn.Sequential(fn.Conv2d(2, 4, 3), fn.ConvTranspose2d(4, 6, 3, **options))
    fn.load_torch(model, saved(module, tmp_path / "net.safetensors"))
    x = np.random.default_rng(0).standard_normal((3, 8, 7, 2)).astype(np.float32)
    expected = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    np.testing.assert_allclose(model.predict(x), expected.transpose(0, 2, 3, 1), 1e-4, 1e-5)


def test_search_for_an_order_of_equal_layers_is_limited(tmp_path):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            for number in range(24):
                setattr(self, f"layer{number}", nn.Linear(3, 3))
            self.last = nn.Linear(3, 2)

    path = saved(Wide(), tmp_path / "wide.safetensors")
    model = fn.Sequential(*(fn.Linear(3, 3) for _ in range(24)), fn.Linear(3, 1))
    with pytest.raises(fn.CheckpointError, match=r"last\.weight|layer"):
        fn.load_torch(model, path)


def test_loaded_alexnet_returns_the_same_outputs(tmp_path):
    """torchvision's layers and names, defined here because torchvision may not be installed."""
    torch.manual_seed(0)

    class AlexNet(nn.Module):
        def __init__(self):
            super().__init__()
            pool = {"kernel_size": 3, "stride": 2}
            self.features = nn.Sequential(
                *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(**pool)),
                *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(**pool)),
                *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(**pool)),
            )
            self.classifier = nn.Sequential(
                *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU()),
                *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
                nn.Linear(4096, 20),
            )

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    module, model = AlexNet(), fn.nets.alexnet(20)
    fn.load_torch(model, saved(module, tmp_path / "alexnet.safetensors"))
    x = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype(np.float32)
    wanted = outputs(module, x)
    np.testing.assert_allclose(model.predict(x), wanted, 1e-3, 1e-4 * np.abs(wanted).max())
    assert fn.features(model, x, upto=13).shape == (2, 9216)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.4.bias"), "'features.4' has weight, but Conv2d"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("classifier.3")], "no weights for Linear"),
        (
            lambda t: t.update({"extra.weight": np.zeros(3, np.float32)}),
            "'extra' has weight, but Conv2d",
        ),
        (
            lambda t: t.update({"classifier.0.weight": np.zeros((5, 35), np.float32)}),
            "does not fit the weight",
        ),
        (lambda t: t.update({"features.0.weight": np.zeros((12, 4, 9), np.float32)}), r"\(12, 4, 9\)"),
        (lambda t: t.update({"features.0.bias": np.zeros(12, np.int64)}), "int64"),
    ],
)
def test_file_that_does_not_fit_raises_and_changes_nothing(tmp_path, change, message):
    tensors = {name: tensor.numpy() for name, tensor in Net(1, True).state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "bad.safetensors")
    model = twin()
    before = [held.value for held in (*model.parameters(), *model.buffers())]
    with pytest.raises(fn.CheckpointError, match=message):
        fn.load_torch(model, tmp_path / "bad.safetensors")
    after = [held.value for held in (*model.parameters(), *model.buffers())]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_other_archives_and_pickles_are_not_taken_for_files_of_torch(tmp_path):
    path = tmp_path / "weights"
    np.savez(path.with_suffix(".npz"), weight=np.zeros(3))
    for content in (path.with_suffix(".npz").read_bytes(), pickle.dumps({"weight": np.zeros(3)}, protocol=2)):
        path.write_bytes(content)
        with pytest.raises(fn.CheckpointError, match="not a readable safetensors file"):
            fn.load_torch(twin(), path)


def test_damaged_or_missing_file_raises(tmp_path):
    (tmp_path / "noise").write_bytes(b"no weights")
    with pytest.raises(fn.CheckpointError, match="not a readable safetensors file"):
        fn.load_torch(twin(), tmp_path / "noise")
    with pytest.raises(FileNotFoundError):
        fn.load_torch(twin(), tmp_path / "missing")


# --- strange files ---


def linear(path, **names):
    """A file with the tensors of one linear layer (4, 3), some of them under other names."""
    tensors = {"weight": np.ones((3, 4), np.float32), "bias": np.zeros(3, np.float32)}
    save_file({names.get(name, name): tensor for name, tensor in tensors.items()}, path)
    return path


STRANGE_NAMES = ["", ".", "..", "0..weight", "weight.", ".weight", "0.weight", "é.ü", "²", "٣.weight", "\x00"]
STRANGE_NAMES += ["a\nb", "../../etc/passwd", "weight\x7f", "x" * 100_000, "²." + "9" * 5000]


@pytest.mark.parametrize("name", STRANGE_NAMES, ids=lambda name: ascii(name[:20]))
def test_strange_tensor_names_are_rejected(tmp_path, name, unchanged):
    model = fn.Sequential(fn.Linear(4, 3))
    path = linear(tmp_path / "a.safetensors", weight=name)
    with unchanged(model), pytest.raises(fn.CheckpointError, match="does not fit the model") as error:
        fn.load_torch(model, path)
    assert len(str(error.value)) < 1000
    with unchanged(model), pytest.raises(fn.CheckpointError, match="does not fit the model") as error:
        fn.load(model, path)
    assert len(str(error.value)) < 1000


def test_names_that_stand_for_the_same_tensor_are_rejected(tmp_path, unchanged):
    model, path = fn.Sequential(fn.Linear(4, 3)), tmp_path / "a.safetensors"
    arrays = {"weight": np.ones((3, 4), "f"), ".weight": np.zeros((3, 4), "f"), "bias": np.zeros(3, "f")}
    save_file(arrays, path)
    with unchanged(model), pytest.raises(fn.CheckpointError, match=r"a tensor has the name '\.weight'"):
        fn.load_torch(model, path)


def test_file_of_many_tensors_gives_a_short_error(tmp_path, unchanged):
    """5,000 modules that all fit the only layer: the search for an order ends at once."""
    model = fn.Sequential(fn.BatchNorm1d(1, affine=False))
    names = [f"m{n}.{name}" for n in range(5_000) for name in ("running_mean", "running_var")]
    arrays = {name: np.ones(1, "f") for name in names}
    save_file(arrays, tmp_path / "many.safetensors")
    for load in (fn.load, fn.load_torch):
        with unchanged(model), pytest.raises(fn.CheckpointError, match="does not fit the model") as error:
            load(model, tmp_path / "many.safetensors")
        assert len(str(error.value)) < 1000


def test_huge_numbers_in_names_are_compared_by_value(tmp_path):
    numbers = ["2", "10", "0" * 5000 + "11", "9" * 5000]
    arrays = {}
    for value, number in enumerate(numbers):
        arrays |= {f"{number}.weight": np.full((2, 2), value, "f"), f"{number}.bias": np.zeros(2, "f")}
    save_file(arrays, tmp_path / "a.safetensors")
    model = fn.Sequential(*(fn.Linear(2, 2) for _ in numbers))
    fn.load_torch(model, tmp_path / "a.safetensors")
    assert [layer.weight.value[0, 0] for layer in model] == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_, np.int64, np.complex64])
def test_tensors_that_are_not_floating_point_are_rejected(tmp_path, dtype, unchanged):
    model = fn.Sequential(fn.Linear(4, 3))
    save_file({"weight": np.ones((3, 4), dtype), "bias": np.zeros(3, "f")}, tmp_path / "a")
    with unchanged(model), pytest.raises(fn.CheckpointError, match=np.dtype(dtype).name):
        fn.load_torch(model, tmp_path / "a")


@pytest.mark.parametrize("shape", [(), (12,), (4, 3, 1), (1, 3, 4), (0, 4), (3, 0)])
def test_tensors_of_other_shapes_are_rejected(tmp_path, shape, unchanged):
    model = fn.Sequential(fn.Linear(4, 3))
    save_file({"weight": np.ones(shape, "f"), "bias": np.zeros(3, "f")}, tmp_path / "a")
    with unchanged(model), pytest.raises(fn.CheckpointError, match="does not fit the weight"):
        fn.load_torch(model, tmp_path / "a")


def test_half_precision_is_converted(tmp_path, unchanged):
    from safetensors.torch import save_file as save_torch

    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    for dtype in (torch.bfloat16, torch.float16):
        state = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in module.state_dict().items()
        }
        save_torch(state, tmp_path / "a.safetensors")
        torch.save(state, tmp_path / "a.pth")
        for name in ("a.safetensors", "a.pth"):
            model = fn.Sequential(fn.Linear(4, 3), fn.BatchNorm1d(3))
            fn.load_torch(model, tmp_path / name)
            np.testing.assert_array_equal(model[0].weight.value, state["0.weight"].float().numpy().T)


def test_load_names_bfloat16(tmp_path, unchanged):
    from safetensors.torch import save_file as save_torch

    save_torch({"weight": torch.ones(3, 4).bfloat16(), "bias": torch.zeros(3)}, tmp_path / "a")
    model = fn.Sequential(fn.Linear(4, 3))
    with unchanged(model), pytest.raises(fn.CheckpointError, match=r"dtype BF16; .* tensor\.float\(\)"):
        fn.load(model, tmp_path / "a")


@pytest.mark.parametrize("name", ["net.pt", "net.pth", 'it\'s a "net".bin', "net"])
@pytest.mark.parametrize("zipped", [True, False])
def test_error_for_a_file_of_torch_save_converts_it(tmp_path, monkeypatch, name, zipped, unchanged):
    """`load` always refuses such a file, `load_torch` where PyTorch is not installed."""
    monkeypatch.chdir(tmp_path)
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    model = fn.Sequential(fn.Linear(4, 3), fn.Linear(3, 3))
    module[1].bias = module[0].bias  # shared tensors, which safetensors refuses unless they are copied
    torch.save(module.state_dict(), name, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr("fastnn.nets.torch_files.find_spec", lambda name: None)
    for load in (fn.load, fn.load_torch):
        with unchanged(model), pytest.raises(fn.CheckpointError, match=r"file of torch\.save") as error:
            load(model, name)
    code = [line.strip() for line in str(error.value).splitlines() if line.startswith("    ")]
    assert len(code) == 2
    exec("\n".join(code), {})
    (converted,) = tmp_path.glob("*.safetensors")
    fn.load_torch(model, converted)
    np.testing.assert_array_equal(model[0].weight.value, module[0].weight.detach().numpy().T)
