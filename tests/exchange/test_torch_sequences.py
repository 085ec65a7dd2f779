"""Modules of sequences and of indices become models with the same outputs; others are refused by name."""

import numpy as np
import pytest

import fastnn as fn

from .torch_cases import assert_same, batch

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class Text(nn.Module):
    """Convolutions over words (Kim 2014), in the layouts that PyTorch wants."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(20, 6, padding_idx=0), nn.LayerNorm(6)
        self.conv1, self.conv2 = nn.Conv1d(6, 8, 3, padding=1), nn.Conv1d(8, 8, 1)
        self.bn, self.dense, self.head = nn.BatchNorm1d(8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, tokens):
        x = self.norm(self.table(tokens)).transpose(1, 2)
        x = functional.relu(self.bn(self.conv1(x)))
        x = functional.max_pool1d(x + self.conv2(x), 2)
        return self.head(self.dense(x.permute(0, 2, 1)).mean(dim=1))


class Patches(nn.Module):
    """The first layers of a vision transformer (Dosovitskiy et al. 2021): pixels become a sequence."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.dense = nn.Conv2d(2, 6, 2, 2), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.dense(self.norm(self.conv(x).flatten(2).transpose(1, 2)))


class Words(nn.Module):
    """An embedding by its function, flattened."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(9, 4)), nn.Linear(20, 3)

    def forward(self, tokens):
        return self.head(functional.embedding(tokens, self.table).flatten(1))


class Function(nn.Module):
    """Any forward method with a convolution."""

    def __init__(self, function):
        super().__init__()
        self.function, self.conv = function, nn.Conv1d(1, 3, 2)

    def forward(self, x):
        return self.function(self.conv, x)


# name: (module, shape, whether sequences are (N, L, C) in the input, and in the output)
SEQUENCES = {
    "convolutions": (
        lambda: nn.Sequential(
            *(nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2, 1)),
            *(nn.GroupNorm(2, 4), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)),
        ),
        *((3, 3, 20), False, False),
    ),
    "flattened": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 2)),
        *((3, 3, 8), False, False),
    ),
    "same, one side, whole norm": (
        lambda: nn.Sequential(
            *(nn.ZeroPad1d((2, 0)), nn.Conv1d(3, 4, 3, padding_mode="zeros"), nn.LayerNorm((4, 7))),
            nn.Conv1d(4, 2, 4, padding="same", dilation=2),
        ),
        *((2, 3, 7), False, False),
    ),
    "features become a sequence": (
        lambda: nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Unflatten(1, (3, 4)), nn.Conv1d(3, 2, 2)),
        *((3, 5), False, False),
    ),
    "one channel added": (
        lambda: Function(lambda conv, x: conv(x.unsqueeze(1)).mean(2, keepdim=True)),
        *((2, 7), False, False),
    ),
    "adaptive pool, functions": (
        lambda: Function(
            lambda conv, x: functional.avg_pool1d(functional.adaptive_avg_pool1d(conv(x), 4), 2).mean(-1)
        ),
        *((2, 1, 9), False, False),
    ),
    "rows": (
        lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2)),
        *((2, 4, 3), True, True),
    ),
    "patches": (Patches, (2, 2, 4, 6), False, True),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_have_the_layout_of_the_module(name):
    torch.manual_seed(0)
    make, shape, stays, returns_rows = SEQUENCES[name]
    assert_same(make(), batch(*shape), stays=stays, returns_rows=returns_rows)


@pytest.mark.parametrize("make", [Text, Words])
def test_embeddings_take_indices(make):
    torch.manual_seed(0)
    module, tokens = make().eval(), torch.randint(9, (4, 5 if make is Words else 8))
    model = fn.from_torch(module, tokens[:1])
    assert isinstance(model[0], fn.Embedding)
    wanted = module(tokens).detach().numpy()
    for dtype in (np.int64, np.uint8, np.float32):
        np.testing.assert_allclose(model.predict(tokens.numpy().astype(dtype)), wanted, rtol=1e-5, atol=1e-5)
    if make is Text:
        assert model[0].padding_idx == 0
        history = fn.fit(model, (tokens.numpy(), np.arange(4) % 2), epochs=2, seed=0, progress=False)
        assert np.isfinite(history["loss"]).all()


SEQUENCES_REFUSED = [
    (lambda: nn.Sequential(nn.Conv1d(3, 2, 2), nn.Linear(4, 2)), r"takes features \(N, F\)"),
    (lambda: nn.Sequential(nn.Conv1d(3, 2, 2), nn.LayerNorm(4)), r"normalises the last axes \(4,\)"),
    (lambda: nn.Sequential(nn.LayerNorm(5), nn.Conv1d(3, 2, 2)), r"normalises the last axes \(5,\)"),
    (lambda: nn.Sequential(nn.MaxPool1d(2, dilation=2)), r"dilation=\(2, 2\)"),
    (lambda: nn.Sequential(nn.MaxPool1d(2, ceil_mode=True)), "leaves the image of 5 pixels"),
    (lambda: nn.Sequential(nn.AdaptiveAvgPool1d(2)), "divides 5 pixels into 2 windows"),
    (lambda: nn.Sequential(nn.ConvTranspose1d(3, 2, 2)), "is a ConvTranspose1d"),
    (lambda: nn.Sequential(nn.Conv1d(3, 2, 2, padding=1, padding_mode="circular")), "padding_mode"),
    (lambda: nn.Sequential(nn.Conv1d(3, 2, 2), nn.Flatten()), "leave out the last Flatten"),
    (lambda: nn.Sequential(nn.Softmax(1)), r"takes features \(N, F\)"),
    (lambda: Function(lambda conv, x: functional.pad(x, (1, 1, 1, 1))), "takes sequences|has the padding"),
    (lambda: Function(lambda conv, x: x.mean((1, 2))), "is the mean over the axes"),
]
INDICES_REFUSED = [
    (lambda: nn.Embedding(9, 4, max_norm=1.0), "max_norm=1.0"),
    (lambda: nn.Embedding(9, 4, scale_grad_by_freq=True), "scale_grad_by_freq=True"),
    (lambda: nn.EmbeddingBag(9, 4), "is a EmbeddingBag"),
    (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Conv1d(5, 2, 1)), "with the channels last|reshapes"),
]


@pytest.mark.parametrize(("make", "message"), SEQUENCES_REFUSED)
def test_refused_sequences_are_named(make, message):
    with pytest.raises(fn.ConversionError, match=message):
        fn.from_torch(make(), batch(2, 3, 5))


@pytest.mark.parametrize(("make", "message"), INDICES_REFUSED)
def test_refused_embeddings_are_named(make, message):
    with pytest.raises(fn.ConversionError, match=message):
        fn.from_torch(make(), torch.zeros(1, 5, dtype=torch.int64))
