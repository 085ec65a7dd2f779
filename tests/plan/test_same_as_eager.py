"""A replayed step has the bits of an eager one: loss, weights, optimizer state and random counters.

Fused steps run on every instruction set, since each has its own fused kernels. Unfused ones, and losses,
which are never fused, run on the best one alone: there the plan calls the very functions that the layers
call, from the same table, and what records and replays the calls is the same for all instruction sets.
"""

from functools import cache

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, cpu, empty, ops

from ..kernels.columns import LEVELS, both_types, every_isa
from .convolutional import CONVOLUTIONAL
from .twins import CLASSES, FEATURES, AsImages, batch, small_net

fused_or_not = pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
fused_on_every_isa = pytest.mark.parametrize(
    ("fuse", "isa"),
    [*((True, isa) for isa in LEVELS), (False, LEVELS[0])],
    ids=[*(f"fused-{isa}" for isa in LEVELS), f"unfused-{LEVELS[0]}"],
)


@pytest.fixture(autouse=True)
def chosen_isa(request):
    """Selects the instruction set of the test's parameter `isa`."""
    if "isa" in request.fixturenames:
        core.select_isa(request.getfixturevalue("isa"))


@cache
def cubic():
    """A layer of one's own, y = x^3 - x; compiled once for all tests, which takes some time."""
    return fn.elementwise(lambda x: x * x * x - x, lambda x, dy: dy * (3 * x * x - 1))


class TanhAfterReLU(fn.layers.Layer):
    """Reads its input twice: for a ReLU that nobody needs, and then for y = tanh(x)."""

    recordable = True

    def forward(self, x, *, train=False):
        unused, y = empty(x.shape, x.dtype), empty(x.shape, x.dtype)
        ops.relu_forward(x, unused)
        ops.tanh_forward(x, y)

        def backward(dy, *, need_dx=True):
            dx = empty(x.shape, x.dtype)
            ops.tanh_dx(y, dy, dx)
            return dx

        return y, backward


class SigmoidInPlace(fn.layers.Layer):
    """y = sigmoid(x), whose way back writes over y."""

    recordable = True

    def forward(self, x, *, train=False):
        y = empty(x.shape, x.dtype)
        ops.sigmoid_forward(x, y)

        def backward(dy, *, need_dx=True):
            ops.sigmoid_dx(y, dy, y)
            return y

        return y, backward


NETS = {
    "linear": lambda: fn.Linear(FEATURES, CLASSES),
    "no bias": lambda: fn.Linear(FEATURES, CLASSES, bias=False),
    "linear twice": lambda: small_net(fn.Identity()),
    "one without bias": lambda: fn.Sequential(
        fn.Linear(FEATURES, 17, bias=False), fn.ReLU(), fn.Linear(17, CLASSES)
    ),
    **{
        layer.__name__.lower(): lambda layer=layer: small_net(layer())
        for layer in (fn.ReLU, fn.Sigmoid, fn.Tanh, fn.Softmax, fn.Identity, fn.Flatten, fn.Dropout)
    },
    "elementwise": lambda: small_net(cubic()),
    "elementwise among activations": lambda: small_net(fn.ReLU(), cubic(), fn.Tanh(), cubic()),
    "activation first": lambda: fn.Sequential(fn.Tanh(), fn.Linear(FEATURES, CLASSES)),
    "activation last": lambda: fn.Sequential(fn.Linear(FEATURES, CLASSES), fn.Tanh()),
    "activations of their own kernels": lambda: small_net(fn.LeakyReLU(), fn.ELU(), fn.GELU(), fn.SiLU()),
    "activation twice": lambda: small_net(fn.Sigmoid(), fn.ReLU(), fn.Tanh()),
    "output of a linear layer read twice": lambda: small_net(TanhAfterReLU()),
    "gradient in the place of an output": lambda: small_net(SigmoidInPlace()),
    "a single output": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 61), fn.Tanh(), fn.Linear(61, 1), fn.Tanh(), fn.Linear(1, CLASSES)),
    ),
    "sums in two halves": lambda: small_net(fn.ReLU(), fn.Linear(16, 300), fn.Sigmoid(), fn.Linear(300, 16)),
    "few outputs of many features": lambda: small_net(
        *(fn.Linear(16, 300), fn.ReLU(), fn.Linear(300, 5), fn.Tanh(), fn.Linear(5, 16))
    ),
    "dropout first": lambda: fn.Sequential(fn.Dropout(0.3), small_net()),
    "dropout before": lambda: small_net(fn.Dropout(0.3), fn.ReLU()),
    "dropout behind": lambda: small_net(fn.ReLU(), fn.Dropout(0.3)),
    "dropout twice": lambda: small_net(fn.Dropout(0.3), fn.Tanh(), fn.Dropout(0.6)),
    "dropout of nothing": lambda: small_net(fn.ReLU(), fn.Dropout(0)),
    "views between": lambda: small_net(fn.Identity(), fn.ReLU(), fn.Flatten(), fn.Identity()),
    "convolutions": lambda: fn.Sequential(
        fn.Linear(FEATURES, 16),
        AsImages(),
        fn.Conv2d(2, 6, (1, 3), padding=(0, 1)),
        fn.ReLU(),
        fn.Conv2d(6, 4, (3, 3), stride=2, padding=1, groups=2),
        fn.Tanh(),
        fn.Flatten(),
        fn.Linear(16, CLASSES),
    ),
    "convolutions of all kinds": lambda: fn.Sequential(  # depthwise, by Winograd, of large filters
        *(fn.Linear(FEATURES, 6 * 7 * 16), fn.Reshape(6, 7, 16), fn.Sigmoid()),
        *(fn.Conv2d(16, 16, 3, padding=1, groups=16), fn.Tanh()),
        *(fn.Conv2d(16, 16, 3, stride=(1, 2), padding=1, groups=16, bias=False), fn.Sigmoid()),
        *(fn.Conv2d(16, 33, 3, padding=1), fn.ReLU(), fn.Conv2d(33, 17, 3, padding=1), fn.Tanh()),
        *(fn.Conv2d(17, 10, (1, 4)), fn.Sigmoid(), fn.Flatten(), fn.Linear(60, CLASSES)),
    ),
    "pools": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 48), AsImages(), fn.MaxPool2d((1, 3), (1, 2), (0, 1)), fn.Sigmoid()),
        *(fn.AvgPool2d((1, 2)), fn.Conv2d(2, 5, (1, 3)), fn.GlobalAvgPool2d(), fn.Linear(5, CLASSES)),
    ),
    **CONVOLUTIONAL,
    "pool last": lambda: fn.Sequential(
        *(
            fn.Linear(FEATURES, 4),
            AsImages(),
            fn.Conv2d(2, CLASSES, (1, 1)),
            fn.MaxPool2d((1, 2)),
            fn.Flatten(),
        )
    ),
    "batch norm": lambda: small_net(fn.BatchNorm1d(16), fn.ReLU(), fn.Dropout(0.2), fn.BatchNorm1d(16)),
    "batch norm first": lambda: fn.Sequential(fn.BatchNorm1d(FEATURES), small_net()),
    "batch norm last": lambda: fn.Sequential(small_net(), fn.BatchNorm1d(CLASSES, affine=False)),
    "one batch norm twice": lambda: (lambda norm: small_net(norm, fn.Tanh(), norm))(
        fn.BatchNorm1d(16, affine=False)
    ),
    "batch norm of images": lambda: small_net(
        AsImages(), fn.Conv2d(2, 6, (1, 3)), fn.BatchNorm2d(6), fn.ReLU(), fn.Flatten(), fn.Linear(36, 16)
    ),
    "layer norm": lambda: small_net(
        fn.LayerNorm(16), fn.Tanh(), AsImages(), fn.LayerNorm((8, 2)), fn.Flatten()
    ),
    # The sum reads what the branch, which would be fused with it otherwise, reads, too.
    "residual": lambda: small_net(
        fn.Residual(fn.Sequential(fn.ReLU(), fn.Linear(16, 16), fn.Tanh())), fn.Residual(fn.Sigmoid())
    ),
    "residual with a shortcut": lambda: small_net(
        fn.Residual(fn.Sequential(fn.Linear(16, 9), fn.ReLU(), fn.Linear(9, 16)), fn.Linear(16, 16)),
        fn.ReLU(),
    ),
    "residual first": lambda: fn.Sequential(
        fn.Residual(fn.Linear(FEATURES, FEATURES)), fn.Residual(fn.Dropout(0.3)), fn.Linear(FEATURES, CLASSES)
    ),
    "residual last": lambda: fn.Residual(fn.Linear(FEATURES, CLASSES), fn.Linear(FEATURES, CLASSES)),
    "residual of nothing": lambda: small_net(fn.Residual(fn.Identity()), fn.Residual(fn.Reshape(16))),
    "residual with batch norm": lambda: small_net(
        fn.Residual(fn.Sequential(fn.Linear(16, 16), fn.BatchNorm1d(16), fn.ReLU()), fn.BatchNorm1d(16)),
        fn.ReLU(),
    ),
    "residual of convolutions": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 16), fn.Reshape(2, 4, 2), fn.Residual(fn.Conv2d(2, 2, 3, padding=1))),
        fn.Residual(
            fn.Sequential(fn.Conv2d(2, 5, 3, stride=2, padding=1), fn.ReLU()), fn.Conv2d(2, 5, 1, stride=2)
        ),
        *(fn.Flatten(), fn.Linear(10, CLASSES)),
    ),
    "nested": lambda: fn.Sequential(
        fn.Sequential(),
        fn.Sequential(fn.Linear(FEATURES, 19), fn.ReLU()),
        fn.Sequential(fn.Dropout(0.2), fn.Sequential(fn.Linear(19, 16), fn.Tanh()), fn.Sequential()),
        fn.Linear(16, CLASSES),
    ),
    "deep": lambda: fn.Sequential(
        *(fn.Linear(FEATURES, 64), fn.ReLU(), fn.Linear(64, 33), fn.Sigmoid(), fn.Linear(33, 130)),
        *(fn.Tanh(), fn.Linear(130, 1), fn.ReLU(), fn.Linear(1, CLASSES)),
    ),
}

LOSSES = {
    "mean": lambda: fn.CrossEntropy(),
    "sum": lambda: fn.CrossEntropy(reduction="sum"),
    "weights": lambda: fn.CrossEntropy(weight=[1, 5, 0.5]),
    "weights, sum": lambda: fn.CrossEntropy(weight=[1, 5, 0.5], reduction="sum"),
    "smoothing": lambda: fn.CrossEntropy(label_smoothing=0.1),
    "weights, smoothing": lambda: fn.CrossEntropy(weight=[0, 1, 2], label_smoothing=0.3),
    "squared": lambda: fn.SquaredError(),
    "squared, sum": lambda: fn.SquaredError("sum"),
}
LOSSES_WITH_TARGETS = [
    (loss, target)
    for loss in LOSSES
    for target in ("labels", "one-hot", "soft")
    if not (loss.startswith("squared") and target == "labels")
]


def targets(name, y, dtype):
    """The labels `y` as the targets of that name."""
    if name == "labels":
        return y
    rows = np.eye(CLASSES, dtype=dtype)[y]
    return rows if name == "one-hot" else (0.6 * rows + 0.4 / CLASSES).astype(dtype)


OPTIMIZERS = {
    "sgd": lambda: fn.SGD(lr=0.1),
    "decay": lambda: fn.SGD(lr=0.1, weight_decay=0.01),
    "momentum": lambda: fn.SGD(lr=0.1, momentum=0.9),
    "momentum, decay": lambda: fn.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: fn.SGD(lr=0.1, momentum=0.9, nesterov=True),
    "nesterov, decay": lambda: fn.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: fn.Adam(lr=0.01),
    "adam, decay": lambda: fn.Adam(lr=0.01, betas=(0.5, 0.75), weight_decay=0.01),
}


@fused_on_every_isa
@both_types
@pytest.mark.parametrize("net", NETS)
def test_layers_have_the_bits_of_eager_steps(net, dtype, fuse, isa, twins):
    pair = twins(lambda: NETS[net]().to(dtype), optimizer=fn.Adam, fuse=fuse)
    for seed in range(4):
        pair.step(*batch(seed, dtype=dtype))
        assert pair.replays


@both_types
@pytest.mark.parametrize(("loss", "target"), LOSSES_WITH_TARGETS)
def test_losses_have_the_bits_of_eager_steps(loss, target, dtype, twins):
    pair = twins(lambda: small_net().to(dtype), LOSSES[loss], lambda: fn.SGD(lr=0.01))
    for seed in range(4):
        x, y = batch(seed, dtype=dtype)
        pair.step(x, targets(target, y, dtype))
        assert pair.replays


@fused_on_every_isa
@both_types
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_have_the_bits_of_eager_steps(optimizer, dtype, fuse, isa, twins):
    pair = twins(
        lambda: small_net(fn.ReLU(), fn.Linear(16, 16, bias=False)).to(dtype),
        optimizer=OPTIMIZERS[optimizer],
        fuse=fuse,
    )
    for seed in range(5):
        pair.step(*batch(seed, dtype=dtype))


# Rows, features and outputs of a product that is worth seven threads.
SIZES = [(1, 1503, 1001), (2, 1001, 503), (33, 301, 203), (512, 101, 67), (513, 67, 101), (600, 101, 67)]
# Small layers, whose weight gradient is summed in chunks: of the update, also of few outputs, or of dw.
SIZES += [(127, 127, 101), (128, 127, 101), (255, 101, 65), (200, 127, 15), (300, 65, 67), (2100, 31, 33)]
# Weights that one tile of rows holds, in blocks of columns that are narrower for that.
SIZES += [
    (rows, features, hidden) for rows in (128, 250) for features in (8, 10, 13) for hidden in (16, 32, 64)
]


@every_isa
@both_types
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_batch_sizes_and_threads(size, optimizer, dtype, isa, twins):
    rows, features, hidden = size
    pair = twins(
        lambda: fn.Sequential(fn.Linear(features, hidden), fn.ReLU(), fn.Linear(hidden, 11)).to(dtype),
        optimizer=OPTIMIZERS[optimizer],
    )
    for threads in (1, 2, 3, 7):
        fn.set_num_threads(threads)
        generator = np.random.default_rng(threads)
        x = generator.normal(size=(rows, features)).astype(dtype)
        pair.step(x, generator.integers(0, 11, rows))


@every_isa
@both_types
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov, decay", "adam"])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 40])
def test_small_batches_and_few_outputs(rows, optimizer, dtype, isa, twins):
    for outputs in range(2, 19):
        pair = twins(
            lambda outputs=outputs: fn.Sequential(
                fn.Linear(53, 515), fn.Tanh(), fn.Linear(515, outputs), fn.Tanh(), fn.Linear(outputs, outputs)
            ).to(dtype),
            optimizer=OPTIMIZERS[optimizer],
        )
        generator = np.random.default_rng(outputs)
        for threads in (1, 2, 3):
            fn.set_num_threads(threads)
            x = generator.normal(size=(rows, 53)).astype(dtype)
            pair.step(x, generator.integers(0, outputs, rows))


@both_types
def test_results_do_not_depend_on_the_number_of_threads(dtype, twins, snapshot):
    """A whole run on each number of threads, recording included."""
    results = set()
    for threads in (1, 2, 3, 7):
        fn.set_num_threads(threads)
        pair = twins(
            lambda: fn.Sequential(fn.Linear(301, 203), fn.Tanh(), fn.Linear(203, 11)).to(dtype),
            optimizer=fn.Adam,
        )
        for seed in range(3):
            generator = np.random.default_rng(seed)
            x = generator.normal(size=(33, 301)).astype(dtype)
            pair.step(x, generator.integers(0, 11, 33))
        results.add(str(snapshot(pair.planned.model, pair.planned.optimizer)))
    assert len(results) == 1


def test_a_recorded_step_runs_on_whatever_instruction_set_is_chosen(twins):
    pair = twins(optimizer=fn.Adam)
    for isa in (*cpu.supported(), *reversed(cpu.supported())):
        core.select_isa(isa)
        pair.step()


@both_types
@fused_or_not
@pytest.mark.parametrize("frozen", [(0,), (2,), (0, 2), (4,), (2, 4), (0, 4)], ids=str)
def test_frozen_layers(frozen, fuse, dtype, twins):
    def make():
        model = fn.Sequential(
            *(fn.Linear(FEATURES, 16), fn.ReLU(), fn.Linear(16, 17), fn.Tanh(), fn.Linear(17, CLASSES))
        )
        for index in frozen:
            model[index].set_lr_scale(0)
        return model.to(dtype)

    pair = twins(make, fuse=fuse)
    for seed in range(4):
        pair.step(*batch(seed, dtype=dtype))


@pytest.mark.parametrize("which", ["weight", "bias"])
def test_a_frozen_weight_beside_a_bias_that_learns_and_the_reverse(which, twins):
    def make():
        model = small_net()
        for layer in (model[0], model[2]):
            getattr(layer, which).trainable = False
        return model

    twins(make).run(4)


def test_each_parameter_has_its_own_rate(twins):
    def make():
        model = small_net()
        for scale, param in zip((0.1, 2, 0, 5), model.parameters(), strict=True):
            param.lr_scale = scale
        return model

    twins(make, optimizer=fn.Adam).run(4)


@fused_or_not
@both_types
def test_nonfinite_values_propagate_alike(dtype, fuse, twins):
    limits = np.finfo(dtype)
    special = [np.nan, np.inf, -np.inf, -0.0, limits.max, limits.tiny / 3]
    for layer in (fn.ReLU, fn.Sigmoid, fn.Tanh):
        pair = twins(lambda layer=layer: small_net(layer()).to(dtype), on_nonfinite="ignore", fuse=fuse)
        pair.step(*batch(dtype=dtype))
        for number in special:
            x, y = batch(dtype=dtype)
            x[5, 2] = number
            planned, eager = (trainer.step(x, y) for trainer in pair.both)
            np.testing.assert_array_equal(planned, eager)
        for a, b in zip(*(trainer.model.parameters() for trainer in pair.both), strict=True):
            np.testing.assert_array_equal(a.value, b.value)
