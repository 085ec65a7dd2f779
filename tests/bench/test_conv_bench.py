"""The benchmarks of convolutions: layers, FLOP counts, timing, tables, equal results of all contestants."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn import kernels

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(autouse=True)
def bench_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def conv_table():
    pytest.importorskip("torch")
    import conv_table

    return conv_table


GEOMETRIES = [
    {"stride": stride, "padding": padding, "groups": groups}
    for stride, padding, groups in itertools.product((1, 2), (0, 1), (1, 2, 4))
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_pytorch_computes_the_same_as_the_kernels(options, channels_last):
    pytest.importorskip("torch")
    from convolutions import KERNELS, PIECES, Batch, Convolution, by_kernels, by_torch, in_our_layout

    batch = Batch(Convolution(7, 4, 3, 8, **options), 2)
    assert batch.dy.shape == (2, batch.conv.side_out, batch.conv.side_out, 8)
    ours = by_kernels(batch, {piece: kernels.load("ref")[KERNELS[piece]] for piece in PIECES})
    theirs = by_torch(batch, PIECES, channels_last)
    assert set(ours) == set(theirs) == {"forward", "dx", "dw"}
    for piece in PIECES:
        actual, expected = in_our_layout(piece, theirs[piece]()), ours[piece]()
        np.testing.assert_allclose(actual, expected, 1e-4, 1e-4, err_msg=piece)


# FLOP of the forward pass for one image, from the layer sizes in the papers.
FLOP = {
    "lenet conv1": 2 * 28 * 28 * 25 * 6,
    "alexnet conv1": 2 * 55 * 55 * 363 * 96,
    "alexnet conv2": 2 * 27 * 27 * 2400 * 256,
    "vgg conv5_1": 2 * 14 * 14 * 9 * 512 * 512,
    "resnet conv1": 2 * 112 * 112 * 147 * 64,
    "resnet 1x1 down": 2 * 56 * 56 * 256 * 64,
    "mobilenet 112 depthwise": 2 * 112 * 112 * 9 * 32,
}


@pytest.mark.parametrize("layer", FLOP)
def test_layers_have_the_right_flop_count(conv_table, layer):
    assert conv_table.LAYERS[layer].flop(1) == FLOP[layer]
    assert conv_table.LAYERS[layer].flop(16) == 16 * FLOP[layer]


def test_only_first_layers_have_no_input_gradient(conv_table):
    without = {layer for layer in conv_table.LAYERS if "dx" not in conv_table.pieces_of(layer)}
    assert without == {"lenet conv1", "alexnet conv1", "vgg conv1_1", "resnet conv1"}


def test_a_contestant_with_wrong_results_is_not_timed(conv_table, monkeypatch):
    def wrong(x, w, b, stride, padding, dilation, y):
        kernels.load("ref")["conv_forward"](x, w, b, stride, padding, dilation, y)
        y[0, 0, 0, 0] += 2e-3 * np.abs(y).max()

    monkeypatch.setitem(kernels.load("aot"), "conv_forward", wrong)
    with pytest.raises(
        RuntimeError, match=r"nchw and fastnn differ by .* in forward of lenet conv2, batch 1"
    ):
        conv_table.measure("lenet conv2", 1, "forward", 0.0, 0.0)


def test_nan_and_missing_rows_count_as_differences(conv_table):
    a = np.ones((3, 2))
    assert conv_table.difference(a, a) == 0
    assert conv_table.difference(a[:2], a) == np.inf
    for row in range(3):
        broken = a.copy()
        broken[row, 1] = np.nan
        assert not conv_table.difference(broken, a) < conv_table.TOLERANCE


def test_contestants_take_turns_at_least_three_times(conv_table):
    calls = []
    race = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = conv_table.take_turns(race, {"a": 9.0, "b": 9.0}, 0.1, 0.0)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 8, "b": 8}
    assert calls == ["a", "b"] * 8
    assert len(conv_table.take_turns(race, {"a": 9.0, "b": 9.0}, 0.0, 0.0)["a"]) == 3


def test_short_calls_are_repeated_and_long_ones_are_not(conv_table):
    calls = []
    race = {name: lambda name=name: calls.append(name) for name in ("short", "long")}
    conv_table.take_turns(race, {"short": 1e-6, "long": 9.0}, 0.01, 0.0)
    assert calls.count("long") == 8
    assert calls.count("short") > 8 * 10


def cell(conv_table, layer, piece, ours, nchw, last):
    return conv_table.Cell(layer, 16, piece, {"fastnn": [3 * ours, ours], "nchw": [nchw], "last": [last]})


def test_table_has_times_rates_speedups_and_means(conv_table):
    flop = conv_table.LAYERS["lenet conv1"].flop(16)
    cells = [
        cell(conv_table, "lenet conv1", "forward", 1e-3, 6e-3, 4e-3),  # median 2 ms
        cell(conv_table, "vgg conv5_1", "forward", 1e-3, 1e-3, 3e-3),
        cell(conv_table, "vgg conv5_1", "dx", 1e-3, 2e-3, 3e-3),
    ]
    lines = conv_table.table(cells, flop / 2e-3 / 1e9 * 4).splitlines()
    lenet = next(line for line in lines if line.startswith("lenet conv1"))
    assert lenet.split()[2:] == ["16", "2", "ms", "(1)", "2", "GF", "25%", "2.00x", "last", "-", "-"]
    assert "0.50x nchw" in next(line for line in lines if line.startswith("vgg"))
    assert lines[-3:] == [
        "geometric mean, all layers: forward 1.00x, dx 1.00x, all 1.00x",
        "geometric mean, at most 4 channels in: forward 2.00x, all 2.00x",
        "geometric mean, more than 4: forward 0.50x, dx 1.00x, all 0.71x",
    ]
    report = conv_table.as_json(cells, 1, 100.0)["cells"][0]
    assert report["median"] == {"fastnn": 2e-3, "nchw": 6e-3, "last": 4e-3}
    assert report["min"]["fastnn"] == 1e-3


def test_unknown_layers_are_rejected(conv_table, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["conv_table.py", "--layers", "inception"])
    with pytest.raises(SystemExit, match="no layer starts with inception: choose from lenet conv1"):
        conv_table.main()
