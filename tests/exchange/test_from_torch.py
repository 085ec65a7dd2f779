"""Modules of PyTorch as people write them become models with the same outputs; others are refused by name."""

import numpy as np
import pytest

import fastnn as fn

from .torch_cases import assert_same, batch

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class LeNet(nn.Module):
    """LeCun et al. 1998, as PyTorch's tutorials write it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), (2, 2))
        x = functional.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = x.view(-1, self.features_of(x))
        x = functional.dropout(functional.relu(self.fc1(x)), 0.25, training=self.training)
        return self.fc3(self.fc2(x).sigmoid())

    def features_of(self, x):
        count = 1
        for size in x.size()[1:]:
            count *= size
        return count


class Block(nn.Module):
    """A block of ResNet (He et al. 2016), with activations and the sum in place."""

    def __init__(self, channels, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class ConvNeXtBlock(nn.Module):
    """A block of ConvNeXt (Liu et al. 2022), whose norm and dense layers see the channels last."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 7, padding=3, groups=6), nn.LayerNorm(6, eps=1e-6)
        self.up, self.down = nn.Linear(6, 24), nn.Linear(24, 6)

    def forward(self, x):
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return x + self.down(functional.gelu(self.up(y))).permute(0, 3, 1, 2)


class Means(nn.Module):
    def __init__(self, keepdim):
        super().__init__()
        self.conv, self.head, self.keepdim = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1), keepdim

    def forward(self, x):
        y = self.conv(x).mean((-2, -1), keepdim=self.keepdim)
        return self.head(y).squeeze(-1).squeeze(-1) if self.keepdim else y


class OwnLinear(nn.Linear):
    """A subclass that only adds attributes."""


class Functions(nn.Module):
    """Weights that the forward method passes to functions."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))
        self.dense = nn.Parameter(torch.randn(2, 64))

    def forward(self, x):
        y = functional.conv2d(functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)
        return functional.linear(functional.leaky_relu(y, 0.1).flatten(1), self.dense)


def resnet():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        *(Block(8, 8, 1), Block(8, 16, 2), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(16, 10)),
    )


ACCEPTED = {
    "LeNet-5": (LeNet, (3, 1, 28, 28)),
    "ResNet": (resnet, (3, 3, 8, 8)),
    "other idioms": (lambda: Idioms(), (3, 6, 6)),
    "ConvNeXt block": (ConvNeXtBlock, (2, 6, 8, 8)),
    "mean": (lambda: Means(keepdim=False), (3, 3, 4, 4)),
    "mean, axes kept": (lambda: Means(keepdim=True), (3, 3, 4, 4)),
    "one layer": (lambda: nn.Linear(3, 2), (4, 3)),
    "subclass": (lambda: nn.Sequential(OwnLinear(3, 2)), (4, 3)),
    "functions with weights": (Functions, (2, 3, 4, 4)),
    "unflatten": (
        lambda: nn.Sequential(nn.Linear(5, 48), nn.ELU(), nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 2, 3)),
        (3, 5),
    ),
    "images of one channel": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (3, 1, 4, 4)),
    "images without channels": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (3, 4, 4)),
    "norm of flattened images": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.LayerNorm(27), nn.BatchNorm1d(27), nn.SiLU()),
            *(nn.Dropout(0.5), nn.Linear(27, 4), nn.Softmax(dim=-1)),
        ),
        (5, 2, 4, 4),
    ),
    "norm of images": (lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.LayerNorm([3, 4, 5])), (2, 1, 5, 6)),
    "ceil_mode that changes nothing": (lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), (2, 1, 6, 4)),
    "adaptive pool": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d((2, 3))), (2, 3, 4, 9)),
    "adaptive pool of its size": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.ReLU()), (2, 3, 4, 4)),
    "zero padding": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(3, 2, 2, padding=1)),
        (2, 3, 5, 5),
    ),
    "sum of a value with itself": (lambda: Sum(lambda x: x + x), (2, 3)),
    "sum of two layers": (lambda: Sum(lambda x: torch.add(x, torch.relu(x))), (2, 3)),
}


class Idioms(nn.Module):
    """Other ways to write the same calls; a dropout module that is used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense, self.drop = nn.Conv2d(1, 3, 3), nn.Linear(12, 4), nn.Dropout()

    def forward(self, x):
        assert x.shape[1:] == (6, 6)
        x = functional.max_pool2d(functional.relu_(self.conv(x.unsqueeze(1))), kernel_size=2, stride=2)
        x = self.drop(torch.flatten(x, start_dim=1))
        return self.drop(self.dense(x).tanh()) if x.dim() == 2 else x


class Sum(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.linear = function, nn.Linear(3, 3)

    def forward(self, x):
        return self.function(self.linear(x))


@pytest.mark.parametrize("name", ACCEPTED)
def test_model_returns_what_the_module_returns(name):
    torch.manual_seed(0)
    make, shape = ACCEPTED[name]
    assert_same(make(), batch(*shape), stays=name in ("images without channels", "other idioms"))


def test_architecture_is_kept():
    model = fn.from_torch(LeNet(), batch(1, 1, 28, 28))
    assert repr(model) == (
        "Sequential(Conv2d(1, 6, 5, padding=2), ReLU(), MaxPool2d(2), Conv2d(6, 16, 5), Tanh(), "
        "AvgPool2d(2), Flatten(), Linear(400, 120), ReLU(), Dropout(0.25), Linear(120, 84), Sigmoid(), "
        "Linear(84, 10))"
    )


def test_module_keeps_its_mode_weights_and_statistics():
    module = resnet().train()
    module[3].eval()
    modes = [each.training for each in module.modules()]
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fn.from_torch(module, batch(2, 3, 8, 8))
    with pytest.raises(fn.ConversionError):
        fn.from_torch(nn.Sequential(module, nn.LogSoftmax(1)), batch(2, 3, 8, 8))
    assert [each.training for each in module.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(dtype)
    model = fn.from_torch(module, batch(2, 3).to(dtype))
    assert model.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    np.testing.assert_array_equal(model[0].weight.value, module[0].weight.detach().double().numpy().T)


def test_bias_that_pytorch_does_not_have_is_frozen_at_zero():
    model = assert_same(nn.Sequential(nn.LayerNorm(4, bias=False), nn.Linear(4, 2)), batch(3, 4))
    assert [p.trainable for p in model[0].parameters()] == [True, False]


def test_dropout_of_one_mode():
    always, never = (
        Sum(lambda x, training=training: functional.dropout(x, 0.5, training=training))
        for training in (True, False)
    )
    with pytest.raises(fn.ConversionError, match="drops values at inference, too: pass training=self"):
        fn.from_torch(always, batch(2, 3))
    assert len(fn.from_torch(never, batch(2, 3))) == 1


class Calls(nn.Module):
    """A module with a few layers and any forward method."""

    def __init__(self, forward):
        super().__init__()
        self.function = forward
        self.linear, self.other, self.conv = nn.Linear(4, 4), nn.Linear(4, 4), nn.Conv2d(1, 1, 1)
        self.same = nn.Identity()

    def forward(self, x):
        return self.function(self, x)


def changed(x):
    return functional.relu(x, inplace=True)


def changed_view(self, x):
    """The view shares the memory of what is returned."""
    y = self.linear(x)
    y.view(-1, 4).relu_()
    return y


REFUSED = [
    # modules and options
    (lambda: nn.Sequential(nn.Linear(4, 4), nn.LogSoftmax(1)), "^1 is a LogSoftmax"),
    (lambda: nn.ModuleDict({"a": nn.Linear(4, 4)}), "is a ModuleDict"),
    (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.PReLU())),
        r"^0\.1 is a PReLU.*supported are Adaptive",
    ),
    (lambda: nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), "track_running_stats=False"),
    (lambda: nn.Sequential(nn.BatchNorm1d(4, momentum=None)), "momentum=None"),
    (lambda: nn.Sequential(nn.LeakyReLU(-1.0)), "negative_slope=-1"),
    (lambda: nn.Sequential(nn.ELU(-1.0)), "alpha=-1"),
    (lambda: nn.Sequential(nn.Softmax(0)), "dim=0"),
    (lambda: nn.Sequential(nn.LSTM(4, 3)), "LSTM"),
    (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))),
        "remove_parametrizations",
    ),
    (lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 3))), "forward hooks"),
    (lambda: nn.LazyLinear(3), "call the module on an example first"),
    (lambda: nn.Linear(4, 3, device="meta"), "on the device meta"),
    (
        lambda: nn.Linear(5, 3),
        r"^the module fails for example_input, of shape \(2, 4\)",
    ),
    # forward methods
    (lambda: Calls(lambda self, x: x if x.sum() > 0 else -x), "torch.fx cannot record.*if or loop"),
    (lambda: Calls(lambda self, x: self.linear(self.linear(x))), "shares a parameter with linear"),
    (
        lambda: Calls(lambda self, x: self.linear(x) * 2),
        "mul in the forward method of the module is not supp",
    ),
    (lambda: Calls(lambda self, x: self.linear(x) + 1), "adds .4,. and 1; supported are sums of two values"),
    (lambda: Calls(lambda self, x: torch.cat([x, x], 1)), "cat in the forward method"),
    (lambda: Calls(lambda self, x: torch.add(x, x, alpha=2)), "alpha=2"),
    (lambda: Calls(lambda self, x: self.linear(x).view(-1)), "mixes the samples"),
    (lambda: Calls(lambda self, x: self.linear(x).view(1, -1)), "mixes the samples"),
    (lambda: Calls(lambda self, x: (x, x)), "must return one tensor"),
    (lambda: Calls(lambda self, x: x.chunk(2, 1)[0]), "chunk in the forward method of the module is not"),
    (lambda: Calls(lambda self, x: self.linear(x) if self.training else x), "other calls in training mode"),
    (lambda: Calls(lambda self, x: functional.relu(x, inplace=True) + x), "overwrites its input"),
    (lambda: Calls(changed_view), "in place"),
    (
        lambda: Calls(lambda self, x: changed(functional.dropout(h := self.linear(x), training=False)) + h),
        "in place",
    ),
    (lambda: Calls(lambda self, x: changed(self.same(h := self.linear(x))) + h), "in place"),
    (lambda: Calls(lambda self, x: functional.gelu(x, approximate="fast")), "gelu .* fails"),
    (
        lambda: Calls(lambda self, x: self.other(y := self.linear(x)) + torch.tanh(y + x)),
        r"used in several places",
    ),
]
IMAGES = [
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")), "padding_mode='reflect'"),
    (lambda: nn.Sequential(nn.MaxPool2d(2, dilation=2)), r"dilation=\(2, 2\)"),
    (lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), "ceil_mode=True"),
    (lambda: nn.Sequential(nn.MaxPool2d(2, return_indices=True)), "returns a tuple"),
    (lambda: nn.Sequential(nn.AvgPool2d(3, divisor_override=2)), "divisor_override=2"),
    (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2)), "windows of different sizes"),
    (lambda: nn.Sequential(nn.AdaptiveMaxPool2d(1)), "is a AdaptiveMaxPool2d"),
    (lambda: nn.Sequential(nn.Softmax(1)), r"takes features \(N, F\)"),
    (lambda: nn.Sequential(nn.LayerNorm(5)), r"normalises the last axes \(5,\)"),
    (lambda: nn.Sequential(nn.Linear(5, 5)), r"takes features \(N, F\), not samples of shape \(2, 5, 5\)"),
    (lambda: nn.Sequential(nn.Flatten(1, 2)), "in the order channels, height, width"),
    (lambda: nn.Sequential(nn.Flatten()), "leave out the last Flatten"),
    (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ReLU()), "only before a convolution"),
    (lambda: nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(2, 2, 1)), "supported are zeros around images"),
    (lambda: Calls(lambda self, x: functional.pad(x, (1, 1, 1, 1), "reflect")), "mode='reflect'"),
    (lambda: Calls(lambda self, x: x.permute(0, 1, 3, 2)), r"is permute\(0, 1, 3, 2\)"),
    (lambda: Calls(lambda self, x: x.mean(1)), "mean over the axes 1"),
    (lambda: nn.Sequential(nn.Dropout2d(0.5)), "is a Dropout2d"),
    (lambda: nn.Sequential(nn.Conv1d(2, 3, 2)), "fails for example_input|takes sequences"),
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # spectral_norm is deprecated
@pytest.mark.parametrize(
    ("shape", "make", "message"),
    [
        *(((2, 4), *case) for case in REFUSED),
        *(((2, 2, 5, 5), *case) for case in IMAGES),
    ],
)
def test_refusals_name_the_module_and_what_is_supported(shape, make, message):
    with pytest.raises(fn.ConversionError, match=message) as error:
        fn.from_torch(make(), batch(*shape))
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(
    ("module", "example", "error", "message"),
    [
        ("net", np.zeros((1, 4)), TypeError, "takes a torch.nn.Module, not 'net'"),
        (nn.Linear, np.zeros((1, 4)), TypeError, "takes a torch.nn.Module"),
        (nn.Linear(4, 2), [[1.0] * 4], TypeError, "example_input must be a tensor or array"),
        (nn.Linear(4, 2), np.zeros(4), ValueError, r"must be a batch of samples, .* got shape \(4,\)"),
        (nn.Linear(4, 2), np.zeros((0, 4)), ValueError, "must be a batch of samples"),
    ],
)
def test_arguments_are_checked(module, example, error, message):
    with pytest.raises(error, match=message):
        fn.from_torch(module, example)


def test_wrong_conversion_is_noticed(monkeypatch):
    """The check uses samples of its own: for zeros, ReLU and tanh agree."""
    from fastnn.exchange import torch_calls

    monkeypatch.setitem(torch_calls.MODULES, nn.ReLU, torch_calls.MODULES[nn.Tanh])
    with pytest.raises(fn.ConversionError, match="does not return what the module returns"):
        fn.from_torch(nn.Sequential(nn.ReLU()), torch.zeros(1, 4))


def test_missing_pytorch_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: fn.from_torch(None, None), lambda: fn.to_torch(fn.ReLU())):
        with pytest.raises(ImportError, match="pip install torch"):
            call()
