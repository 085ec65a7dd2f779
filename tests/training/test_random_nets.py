"""Random convolutional nets against PyTorch: outputs, loss, gradients, running statistics, next step."""

import numpy as np
import pytest

import fastnn as fn

torch = pytest.importorskip("torch")
nn = torch.nn

CLASSES, ROWS = 3, 4


class ToRows(nn.Module):
    """Images (N, C, H, W) as rows, in the order of (N, H, W, C)."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Twin:
    """A net built layer by layer in both libraries, with the same weights, in float64."""

    def __init__(self, rng):
        self.rng = rng
        self.ours, self.theirs = [], []
        self.shape = (int(rng.integers(9, 15)), int(rng.integers(9, 15)), int(rng.integers(1, 5)))
        self.input_shape = self.shape
        for _ in range(int(rng.integers(1, 4))):
            self.add_stage()
        self.add_head()
        self.model = fn.Sequential(*self.ours).to(np.float64)
        self.twin = nn.Sequential(*self.theirs).double()
        self.copy_weights()

    def choose(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def add(self, ours, theirs):
        self.shape = ours.output_shape(self.shape)
        self.ours.append(ours)
        self.theirs.append(theirs)

    def add_stage(self):
        channels = self.shape[2]
        # At least 16 outputs, so that the next 3 x 3 filters use Winograd's algorithm.
        outputs = self.choose(3, 6, 16, 20) * (1 if channels > 6 else channels)
        groups = self.choose(1, 1, channels)
        outputs = -(-outputs // groups) * groups
        side, padding = self.choose(1, 2, 3, 3, 3), self.choose(0, 1, 2)
        if min(self.shape[:2]) + 2 * padding < side:
            return
        options = {"stride": self.choose(1, 1, 2), "padding": padding, "groups": groups}
        options["bias"] = bool(self.choose(True, False))
        self.add(fn.Conv2d(channels, outputs, side, **options), nn.Conv2d(channels, outputs, side, **options))
        if self.choose(True, True, False):
            self.add(fn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs))
        self.add_activation()
        window, stride = self.choose((2, 2), (3, 2), (2, 1))
        if min(self.shape[:2]) >= window:
            kind = self.choose("MaxPool2d", "MaxPool2d", "AvgPool2d")
            self.add(getattr(fn, kind)(window, stride), getattr(nn, kind)(window, stride))

    def add_activation(self):
        name = self.choose("ReLU", "ReLU", "Tanh", "Sigmoid")
        self.add(getattr(fn, name)(), getattr(nn, name)())

    def add_head(self):
        if self.choose(True, False):
            self.add(fn.GlobalAvgPool2d(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        else:
            self.add(fn.Flatten(), ToRows())
        (features,) = self.shape
        self.add(fn.Linear(features, 7), nn.Linear(features, 7))
        norm = self.choose("BatchNorm1d", "LayerNorm")
        self.add(getattr(fn, norm)(7), getattr(nn, norm)(7))
        self.add_activation()
        self.add(fn.Linear(7, CLASSES), nn.Linear(7, CLASSES))

    def pairs(self):
        """Each parameter with its counterpart in PyTorch."""
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            yield from zip(ours.parameters(), theirs.parameters(), strict=True)

    def copy_weights(self):
        for param, other in self.pairs():
            param.value = self.rng.normal(size=param.shape) * (0.3 if len(param.shape) > 1 else 1)
            other.data = torch.from_numpy(in_their_layout(param.value).copy())

    def batch(self):
        x = self.rng.normal(size=(ROWS, *self.input_shape))
        return x, self.rng.integers(0, CLASSES, ROWS)


def in_their_layout(array):
    """Filters (R, S, C, O) as (O, C, R, S), matrices (in, out) as (out, in)."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("seed", range(40))
def test_random_net_matches_pytorch(seed):
    net = Twin(np.random.default_rng(seed))
    trainer = fn.Trainer(net.model, loss="cross_entropy", optimizer=fn.SGD(lr=0.1))
    optimizer = torch.optim.SGD(net.twin.parameters(), lr=0.1)
    for _ in range(3):  # the second step is replayed
        x, y = net.batch()
        optimizer.zero_grad()
        tx = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
        loss = nn.functional.cross_entropy(net.twin(tx), torch.from_numpy(y))
        loss.backward()
        ours = fn.gradients(net.model, (x, y))
        close(ours, loss.item())
        for param, other in net.pairs():
            close(in_their_layout(param.grad), other.grad.numpy())
        optimizer.step()
        close(trainer.step(x, y), ours)
    for param, other in net.pairs():
        close(in_their_layout(param.value), other.detach().numpy())
    net.twin.eval()
    close(net.model.predict(x), net.twin(tx).detach().numpy())  # with running statistics


def test_random_nets_cover_all_layer_types():
    kinds = {type(layer) for seed in range(40) for layer in Twin(np.random.default_rng(seed)).ours}
    wanted = {fn.Conv2d, fn.BatchNorm2d, fn.BatchNorm1d, fn.LayerNorm, fn.MaxPool2d, fn.AvgPool2d}
    assert kinds >= wanted | {fn.GlobalAvgPool2d, fn.Flatten, fn.Linear, fn.ReLU, fn.Tanh, fn.Sigmoid}
