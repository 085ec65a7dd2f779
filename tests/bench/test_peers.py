"""The comparison with other frameworks: all train the same network; FLOP, times and memory are right."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn

BENCH = Path(__file__).resolve().parents[2] / "bench"

# Keras 3.15 converts its variables in a way that NumPy 2.4 finds outdated, and imports parts of PyTorch that
# are.
ignore_keras_and_numpy = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning", "ignore:`torch.jit:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def bench_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # before any test imports Keras


@pytest.fixture(autouse=True)
def restored_threads():
    before = fn.kernels.core.get_num_threads()
    yield
    fn.set_num_threads(before)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(len(os.sched_getaffinity(0)))


def small_net(*middle, rate=0.0):
    """A network of a convolution, the layers `middle` and two dense layers; its images are not square."""
    from peers_nets import Conv, Dense, Dropout, Net

    layers = (Conv(5, 3, padding=1), *middle, "flatten", Dense(7), "relu", Dropout(rate), Dense(4))
    return Net("small", (6, 4, 2), layers, 9, "sgd", 0.1)


def losses(contestant, net):
    import peers_worker

    step, batches = peers_worker.CONTESTANTS[contestant](net, 1)
    return [step(x, y) for x, y in batches]


def skip_unless_installed(contestant):
    pytest.importorskip(contestant.split()[0])
    if contestant == "tinygrad" and shutil.which("clang") is None:
        pytest.skip("tinygrad compiles with clang")


@ignore_keras_and_numpy
@pytest.mark.parametrize("contestant", ["torch", "torch channels_last", "jax", "keras", "tinygrad"])
def test_peers_train_the_same_network(contestant):
    from peers_nets import MaxPool

    skip_unless_installed(contestant)
    net = small_net("batch norm", "tanh", MaxPool(2), "sigmoid")
    ours = losses("fastnn", net)
    assert len(set(ours)) == len(ours) == 8
    np.testing.assert_allclose(losses(contestant, net), ours, 1e-4)


@ignore_keras_and_numpy
@pytest.mark.parametrize("contestant", ["torch", "jax", "keras", "tinygrad", "sklearn"])
@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "cross_entropy"])
def test_peers_train_a_perceptron_with_the_same_loss(contestant, loss):
    from peers_nets import mlp

    skip_unless_installed(contestant)
    widths = (3, 5, 1) if loss == "binary_cross_entropy" else (3, 5, 4)
    net = mlp(widths, "tanh", 16, "adam", 0.01, loss)
    ours = losses("fastnn", net)
    assert len(set(ours)) == len(ours) == 8
    np.testing.assert_allclose(losses(contestant, net), ours, 1e-4)


def test_large_batches_are_few():
    from peers_nets import NETS

    assert {name: net.batches for name, net in NETS.items() if net.batches != 8} == {"K": 2}


def test_optional_contestants_are_left_out_with_a_line(monkeypatch, capsys):
    import importlib.util

    import peers

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras" else "found")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not {"keras", "tinygrad"} & set(peers.installed())
    lines = capsys.readouterr().err
    assert "keras does not take part: pip install keras" in lines
    assert "tinygrad does not take part: it compiles with clang" in lines


def test_losses_are_compared_without_dropout(monkeypatch):
    """The timed network has dropout; the compared losses are those of the same network without it."""
    import peers_worker

    net, built = small_net(rate=0.5), []

    def make(net, threads):
        built.append(net)
        return lambda x, y: 1.0, [(0, 0)] * 8

    monkeypatch.setitem(peers_worker.NETS, "small", net)
    monkeypatch.setitem(peers_worker.CONTESTANTS, "mine", make)
    request = '{"net": "small", "seconds": 0}'
    first, second = peers_worker.answers("mine", 1, iter([request, request]))
    assert first["losses"] == [1.0] * 8
    assert "losses" not in second
    assert built == [small_net(rate=0.0), net]
    assert net.without_dropout() == small_net(rate=0.0)


def test_contestants_of_each_network():
    from peers_nets import NETS
    from peers_worker import CONTESTANTS, takes_part

    mlp, cnn = ({name for name in CONTESTANTS if takes_part(name, NETS[net])} for net in "AE")
    assert mlp == {"fastnn", "torch", "torch.compile", "jax", "keras", "tinygrad", "sklearn"}
    assert cnn == set(CONTESTANTS) - {"sklearn"}
    assert not takes_part("sklearn", NETS["K"])


FLOP = {
    # Each layer: forward pass and weight gradient; each layer but the first: input gradient.
    "A": 2 * 32 * (2 * 784 * 128 + 3 * (128 * 64 + 64 * 32 + 32 * 10)),
    "D": 2 * 128 * (2 * 4096 * 128 + 3 * 128 * 6),
    "E": 2 * (2 * 22 * 22 * 7 * 7 * 16 + 3 * 7744 * 10),
    "H32": 2 * 32 * (2 * 576 * 25 * 6 + 3 * (64 * 25 * 6 * 16 + 256 * 120 + 120 * 84 + 84 * 10)),
    "K": 2 * 48_000 * 2 * 784 * 10,
    "G": 2 * 128 * (2 * 784 * 9 * 32 + 3 * (196 * 9 * 32 * 64 + 3136 * 128 + 128 * 10)),
}


@pytest.mark.parametrize("net", FLOP)
def test_steps_have_the_right_flop_count(net):
    from peers_nets import NETS

    assert NETS[net].flop == FLOP[net]


def test_networks_have_the_shapes_of_fastnn():
    from peers_nets import NETS

    shapes = [shape for _, shape in NETS["G"].parts()]
    assert [shape for shape in shapes if len(shape) == 3] == [
        *((28, 28, 1), (28, 28, 32), (28, 28, 32), (28, 28, 32)),
        *((14, 14, 32), (14, 14, 64), (14, 14, 64), (14, 14, 64), (7, 7, 64)),
    ]
    assert shapes[-1] == (128,)
    assert NETS["G"].outputs == 10
    assert [shape for shape in (shape for _, shape in NETS["H32"].parts()) if len(shape) == 3][-1] == (
        4,
        4,
        16,
    )


def result(contestant, net, threads, seconds, mib=100.0):
    import peers

    return peers.Result(contestant, net, threads, [[seconds]], mib)


def test_a_peer_is_compared_at_its_best_number_of_threads():
    import peers

    results = [
        *(result("fastnn", "E", 1, 1e-4), result("fastnn", "E", 2, 2e-4)),
        *(result("torch", "E", 1, 6e-4, 300.0), result("torch", "E", 2, 8e-4)),
        result("jax", "E", 2, 5e-4),
    ]
    assert peers.best_peer(peers.best_of(results, "E", 1)) is results[2]
    best = peers.best_of(results, "E", 2)
    assert best == {"fastnn": results[1], "torch": results[2], "jax": results[4]}
    assert peers.best_peer(best) is results[4]
    assert peers.memory(results, 1) == "peak MiB, E: fastnn 100 (1.0x), torch 300 (3.0x)"


def test_mlps_and_convolutional_networks_have_separate_tables():
    import peers

    results = [
        *(result("fastnn", "A", 1, 1e-4), result("sklearn", "A", 1, 3e-4)),
        *(result("fastnn", "E", 1, 1e-3), result("torch channels_last", "E", 1, 25e-4)),
    ]
    results.append(result("fastnn", "K", 1, 1e-3))  # without scikit-learn, which needs a hidden layer
    mlp, cnn, memory = peers.tables(results, 1, peak_gflops=100.0).split("\n\n")
    assert "sklearn 1t  3.00x" in mlp
    assert "channels_last" not in mlp
    # 1,982,464 FLOP in 1 ms are 2 % of 100 GFLOP/s.
    assert cnn.endswith("torch channels_last 1t  2.50x      2%")
    assert "sklearn" not in cnn
    assert memory.startswith("peak MiB, E: fastnn 100")
