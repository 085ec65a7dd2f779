"""`Layer.flop`, and the table of `summary` with shapes, FLOP and parameters."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.layers._summary import _si


class Halved(fn.Layer):
    """A user-defined layer without a FLOP count."""

    def forward(self, x, *, train=False):
        return x / 2, lambda dy, *, need_dx=True: dy / 2


# (layer, shape of a sample, FLOP)
FLOP = [
    (lambda: fn.Linear(784, 128), (784,), 2 * 784 * 128 + 128),
    (lambda: fn.Linear(784, 128, bias=False), (784,), 2 * 784 * 128),
    # The first convolution of AlexNet, with the sizes of its paper.
    (lambda: fn.Conv2d(3, 96, 11, stride=4), (227, 227, 3), 2 * 55 * 55 * 96 * 363 + 55 * 55 * 96),
    (lambda: fn.Conv2d(3, 96, 11, stride=4, bias=False), (227, 227, 3), 2 * 55 * 55 * 96 * 363),
    (lambda: fn.Conv2d(4, 6, (3, 2), groups=2), (7, 5, 4), 5 * 4 * (2 * 6 * 3 * 2 * 2 + 6)),
    (lambda: fn.Conv2d(1, 6, 5, padding=2), (28, 28), 28 * 28 * (2 * 25 * 6 + 6)),
    (lambda: fn.ReLU(), (4, 5, 6), 120),
    (lambda: fn.Sigmoid(), (7,), 7),
    (lambda: fn.Tanh(), (), 1),
    (lambda: fn.Softmax(), (10,), 50),
    (lambda: fn.elementwise(lambda x: x, lambda x, dy: dy), (4, 5), 20),
    (lambda: fn.MaxPool2d(3, stride=2), (7, 9, 4), 3 * 4 * 4 * 9),
    (lambda: fn.AvgPool2d((2, 1), padding=(1, 0)), (4, 4, 2), 3 * 4 * 2 * 2),
    (lambda: fn.GlobalAvgPool2d(), (4, 5, 6), 120),
    (lambda: fn.BatchNorm1d(8), (8,), 24),
    (lambda: fn.BatchNorm2d(3), (4, 5, 3), 180),
    (lambda: fn.LayerNorm(6), (4, 6), 7 * 24),
    (lambda: fn.Identity(), (4, 5), 0),
    (lambda: fn.Dropout(0.5), (4, 5), 0),
    (lambda: fn.Flatten(), (4, 5), 0),
    (lambda: Halved(), (4, 5), 0),
    (lambda: fn.Reshape(5, -1), (4, 5), 0),
    (lambda: fn.Residual(fn.ReLU()), (4, 5), 40),
    (lambda: fn.Sequential(), (4, 5), 0),
    (lambda: fn.Sequential(fn.Flatten(), fn.Linear(20, 3), fn.ReLU()), (4, 5), 2 * 60 + 3 + 3),
    (lambda: fn.Sequential(fn.Conv2d(1, 2, 3), fn.Sequential(fn.ReLU())), (4, 4), 4 * (2 * 18 + 2) + 8),
]


@pytest.mark.parametrize(("make", "shape", "flop"), FLOP, ids=[repr(make()) for make, _, _ in FLOP])
def test_flop(make, shape, flop):
    counted = make().flop(shape)
    assert counted == flop
    assert type(counted) is int


def test_flop_of_a_huge_image_does_not_overflow():
    side = 2**31
    assert fn.Conv2d(3, 5, 3, padding=1).flop((side, side, 3)) == side**2 * (2 * 27 * 5 + 5)


@pytest.mark.parametrize("layer", [fn.Linear(4, 3), fn.Conv2d(2, 3, 3), fn.Softmax()], ids=repr)
def test_flop_of_a_shape_that_does_not_fit_raises(layer):
    with pytest.raises(ValueError, match="expects"):
        layer.flop((5, 5))
    with pytest.raises(ValueError, match=r"layer 1: .* expects"):
        fn.Sequential(fn.ReLU(), layer).flop((5, 5))


def rows_of(text):
    """The cells of header, layers and total. Columns are separated by two spaces."""
    lines = (line for line in text.splitlines() if set(line) != {"-"})
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_summary_of_the_first_layer_of_alexnet():
    rows = rows_of(fn.Sequential(fn.Conv2d(3, 96, 11, stride=4), fn.ReLU()).summary((227, 227, 3)))
    assert rows == [
        ["layer", "output of a sample", "bytes", "FLOP", "trainable", "fixed", "bytes"],
        # 2 * 55 * 55 * 96 * 363 + 55 * 55 * 96 = 211,120,800; 96 * 363 + 96 = 34,944
        ["0", "Conv2d(3, 96, 11, stride=4)", "(55, 55, 96)", "1.2 M", "211 M", "34,944", "0", "140 k"],
        ["1", "ReLU()", "(55, 55, 96)", "1.2 M", "290 k", "0", "0", "0"],
        ["total", "2.3 M", "211 M", "34,944", "0", "140 k"],
    ]


def test_summary_counts_trainable_and_fixed():
    model = fn.Sequential(fn.Linear(4, 5), fn.Tanh(), fn.Linear(5, 6)).to(np.float64)
    model[2].bias.trainable = False
    assert rows_of(model.summary())[1:] == [
        ["0", "Linear(4, 5, dtype='float64')", "(5,)", "40", "45", "25", "0", "200"],
        ["1", "Tanh()", "(5,)", "40", "5", "0", "0", "0"],
        ["2", "Linear(5, 6, dtype='float64')", "(6,)", "48", "66", "30", "6", "288"],
        ["total", "128", "116", "55", "6", "488"],
    ]


def test_summary_needs_a_shape_only_before_the_first_linear_layer():
    model = fn.Sequential(fn.Flatten(), fn.Linear(12, 3))
    assert rows_of(model.summary())[1:] == [
        ["0", "Flatten()", "?", "?", "?", "0", "0", "0"],
        ["1", "Linear(12, 3)", "(3,)", "12", "75", "39", "0", "156"],
        ["total", "?", "?", "39", "0", "156"],
    ]
    assert rows_of(model.summary((3, 4)))[1][2:] == ["(12,)", "48", "0", "0", "0", "0"]


def test_summary_of_a_single_layer_and_of_an_empty_model():
    assert rows_of(fn.Linear(4, 5).summary())[1][0:3] == ["0", "Linear(4, 5)", "(5,)"]
    assert rows_of(fn.Sequential().summary())[1:] == [["total", "0", "0", "0", "0", "0"]]


def test_summary_of_a_shape_that_does_not_fit_raises():
    with pytest.raises(ValueError, match=r"Linear\(12, 3\) expects samples of shape \(12,\), got \(13,\)"):
        fn.Sequential(fn.Flatten(), fn.Linear(12, 3)).summary((13,))


def test_summary_lines_are_at_most_110_characters():
    """A CNN for MNIST, with a nested Sequential."""
    inside = fn.Sequential(fn.ReLU(), fn.Conv2d(32, 64, 3, stride=2, padding=1), fn.Tanh())
    model = fn.Sequential(
        *(fn.Conv2d(1, 32, 3, padding=1), inside, fn.Flatten()),
        *(fn.Linear(14 * 14 * 64, 128), fn.Dropout(0.5), fn.Linear(128, 10)),
    )
    text = model.summary((28, 28))
    assert max(map(len, text.splitlines())) <= 110
    assert rows_of(text)[2][:3] == ["1", "Sequential(ReLU(), Conv2d(32, 64, 3, ...", "(14, 14, 64)"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        *((0, "0"), (999, "999"), (1000, "1.0 k"), (1249, "1.2 k"), (99_949, "99.9 k"), (99_951, "100 k")),
        *((999_499, "999 k"), (999_500, "1.0 M"), (211_120_800, "211 M"), (10**12, "1.0 T"), (None, "?")),
    ],
)
def test_numbers_have_si_prefixes(number, shown):
    assert _si(number) == shown
