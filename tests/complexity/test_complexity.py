"""`fastnn complexity`: counted multiplications, exponents, the stopping rule, the written files."""

import ast
import inspect
import itertools
import json
import os
import random
import signal
import types
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from tqdm import tqdm

import fastnn as fn
from fastnn import complexity, naive
from fastnn.cli.main import main
from fastnn.complexity import counts, fit, measure, picture, table
from fastnn.complexity.methods import METHODS, Method, network
from fastnn.naive import gradients as naive_gradients
from fastnn.naive import pure_python

WIDTHS = [
    (2, 2),
    (3, 1),
    (5, 3),
    (1, 1, 1),
    (2, 3, 2),
    (4, 6, 3),
    (4, 4, 4, 4),
    (3, 1, 5, 2),
    (2, 3, 4, 3, 2),
]


class CountProducts(ast.NodeTransformer):
    """Replaces a * b by product(a, b)."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if not isinstance(node.op, ast.Mult):
            return node
        return ast.Call(ast.Name("product", ast.Load()), [node.left, node.right], [])


@pytest.fixture
def counted():
    """Copies of `pure_python` and `naive` that count multiplications of two numbers, and the count."""
    products = [0]

    def product(a, b):
        products[0] += isinstance(a, (int, float)) and isinstance(b, (int, float))
        return a * b

    def with_counts(module):
        tree = ast.fix_missing_locations(CountProducts().visit(ast.parse(inspect.getsource(module))))
        twin = types.ModuleType(module.__name__)
        twin.product = product
        exec(compile(tree, module.__file__, "exec"), vars(twin))
        return twin

    python, paths = with_counts(pure_python), with_counts(naive_gradients)
    paths.pure_python = python
    return python, paths, products


def mlp(python, widths):
    rng = random.Random(0)
    weights = [[[rng.gauss(0, 1) for _ in range(n)] for _ in range(k)] for k, n in pairwise(widths)]
    return python.MLP(weights, [[0.1] * n for n in widths[1:]], ["relu"] * (len(widths) - 2))


@pytest.mark.parametrize("widths", WIDTHS)
def test_the_formulas_equal_the_counted_multiplications(counted, widths):
    python, paths, products = counted
    net, x = mlp(python, widths), [0.5 + k for k in range(widths[0])]
    for function, formula in [
        (lambda: net.loss(x, 0), counts.forward),
        (lambda: net.gradients(x, 0), counts.backpropagation),
        (lambda: net.differences(x, 0), counts.central_differences),
        (lambda: paths._path_gradients(net, x, 0), counts.every_path),
    ]:
        products[0] = 0
        function()
        assert products[0] == formula(widths), formula.__name__


@pytest.mark.parametrize("widths", [(2, 2), (3, 2), (2, 3, 2)])
def test_central_differences_need_two_forward_passes_per_weight(monkeypatch, widths):
    layers = []
    for fans in pairwise(widths):
        layers += [fn.Linear(*fans, dtype=np.float64), fn.ReLU()]
    model = fn.Sequential(*layers[:-1])
    passes, forward = [0], fn.Sequential.forward

    def counting(self, x, *, train=False):
        passes[0] += 1
        return forward(self, x, train=train)

    monkeypatch.setattr(fn.Sequential, "forward", counting)
    naive.central_differences(model, (np.ones((1, widths[0])), [0]))
    assert passes[0] * counts.forward(widths) == counts.central_differences(widths)


@pytest.mark.parametrize(("N", "K"), [(3, 400), (5, 300), (40, 50)])
def test_the_formulas_for_layers_of_equal_width(N, K):
    widths = [K] * N
    assert counts.weights(widths) == (N - 1) * (K * K + K)
    assert counts.backpropagation(widths) == 3 * (N - 1) * K**2 - K**2 + (N - 2) * K
    assert counts.central_differences(widths) == 2 * (N - 1) ** 2 * (K**4 + K**3)


@pytest.mark.parametrize("N", [3, 4, 6])
def test_every_path_grows_exponentially_with_the_depth(N):
    ratio = counts.every_path([2000] * N) / counts.every_path([1000] * N)
    assert ratio == pytest.approx(2**N, rel=0.01)
    assert counts.every_path([50] * (N + 1)) / counts.every_path([50] * N) == pytest.approx(50, rel=0.05)


def test_all_methods_compute_the_same_gradient():
    measure.check(tuple(METHODS))


def test_check_rejects_a_wrong_method(monkeypatch):
    wrong = Method("wrong", lambda model, data: lambda: dict.fromkeys(("0.weight", "0.bias"), 0), sum, 1, 1)
    monkeypatch.setitem(METHODS, "wrong", wrong)
    with pytest.raises((AssertionError, KeyError)):
        measure.check(["wrong"])


# Exponents


def test_fits_of_exact_powers_and_exponentials():
    sizes = [2, 4, 8, 16, 32, 64]
    found = fit.power(sizes, [3 * size**2.5 for size in sizes])
    assert found.slope == pytest.approx(2.5)
    assert found.error < 1e-10
    assert found.points == 3
    base = fit.exponential([2, 3, 4, 5], [0.1 * 7**n for n in (2, 3, 4, 5)])
    assert (base.slope, base.points) == (pytest.approx(7), 3)


def test_the_fit_uses_only_the_tail():
    sizes = [2**power for power in range(1, 11)]
    times = [max(1e-5, 1e-9 * size**3) for size in sizes]
    assert fit.power(sizes, times).slope == pytest.approx(3, abs=0.01)


def test_the_standard_error_matches_the_noise():
    rng = np.random.default_rng(0)
    sizes = [2**power for power in range(1, 17)]
    slopes, errors = [], []
    for _ in range(400):
        found = fit.power(sizes, [size**2 * np.exp(rng.normal(0, 0.2)) for size in sizes])
        slopes.append(found.slope)
        errors.append(found.error)
    assert np.mean(slopes) == pytest.approx(2, abs=0.02)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(slopes), rel=0.15)


def test_fewer_than_three_points_have_no_fit():
    assert fit.power([2, 4], [1, 2]) is None
    assert fit.exponential([], []) is None


# Timing


@pytest.fixture
def clock(monkeypatch):
    """Two fake methods "slow" and "fast" whose times follow a law, measured by a fake clock."""
    now, calls = [0.0], []

    def prepare(law, name):
        def method(model, data):
            width, depth = data[0].shape[1], len(list(model)) // 2 + 2

            def gradient():
                calls.append((name, width, depth))
                now[0] += law(width, depth)

            return gradient

        return method

    laws = {"slow": lambda k, n: 1e-3 * k**3, "fast": lambda k, n: 1e-6 * k}
    for name, law in laws.items():
        method = Method(
            name, prepare(law, name), lambda widths, law=law: round(1e6 * law(widths[0], 3)), 3, 1
        )
        monkeypatch.setitem(METHODS, name, method)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    return calls


def swept(names, widths, **options):
    sweep = measure.Sweep("test", "width", {name: measure.Curve(name) for name in names})
    nets = [(width, 3, 1) for width in widths]
    list(measure.fill(sweep, nets, bar=tqdm(disable=True), **{"limit": 1.0, "rounds": 3, **options}))
    return sweep


def test_a_method_is_dropped_when_a_gradient_exceeds_the_limit(clock):
    sweep = swept(["slow", "fast"], [2, 4, 8, 16, 32])
    assert sweep.curves["slow"].sizes("width") == [2, 4, 8, 16]  # 4 s at 16
    assert sweep.curves["fast"].sizes("width") == [2, 4, 8, 16, 32]
    assert sweep.common() == 16
    assert clock.count(("slow", 16, 3)) == 1  # beyond the limit, one timing is enough
    assert sweep.curves["slow"].points[0].median == pytest.approx(8e-3)
    assert len(sweep.curves["slow"].points[0].seconds) == 3
    assert sweep.curves["fast"].points[-1].multiplications == 32


def test_a_hopelessly_slow_gradient_is_not_tried(clock):
    sweep = swept(["slow"], [9, 900], limit=1.0)  # 0.7 s, then 200 hours
    assert sweep.curves["slow"].sizes("width") == [9]


def test_networks_with_too_many_weights_are_not_built(clock, monkeypatch):
    monkeypatch.setattr(measure, "MOST_WEIGHTS", 2 * 8 * 8)
    assert swept(["fast"], [4, 8, 16]).curves["fast"].sizes("width") == [4, 8]


def test_network_counts_inputs_and_logits_as_layers():
    model, (x, y) = network(5, 4, 3)
    assert [p.shape for p in model.parameters()] == [(5, 5), (5,)] * 3
    assert x.shape == (3, 5)
    assert y.shape == (3,)


# Complete runs


TINY = {"widths": (2, 3, 4), "depths": (2, 3, 4), "rounds": 2, "limit": 5.0}


def test_a_run_prints_the_table_and_writes_results_and_pictures(tmp_path, capsys):
    before = fn.get_num_threads()
    text = complexity.run(out=tmp_path / "c", **TINY)
    assert fn.get_num_threads() == before
    assert text in capsys.readouterr().out
    for label in (method.label for method in METHODS.values()):
        assert label in text
    assert "at K = 4, the largest size of all methods" in text
    assert text.count("K^N") == 1
    written = json.loads((tmp_path / "c" / "complexity.json").read_text())
    assert written["environment"]["threads"] == 1
    assert [sweep["grows"] for sweep in written["sweeps"]] == ["width", "depth", "width"]
    assert len(written["sweeps"][0]["points"]) == 3 * len(METHODS)
    point = written["sweeps"][0]["points"][0]
    assert point["multiplications"] == METHODS[point["method"]].count([point["width"]] * point["depth"])
    assert len(point["seconds"]) == 2
    assert all(point["batch"] == point["width"] for point in written["sweeps"][2]["points"])
    assert written["sweeps"][1]["laws"]["paths"]["form"] == "base^N"
    assert 1 < written["sweeps"][0]["laws"]["differences"]["multiplications"]["slope"] < 5
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "complexity.json",
        "complexity-light.svg",
        "complexity-dark.svg",
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_is_not_blank_and_has_the_theme(tmp_path, clock, theme):
    sweep = swept(["slow", "fast"], [2, 4, 8, 16, 32])
    for name, real in (("slow", "differences"), ("fast", "aot")):
        curve = sweep.curves.pop(name)
        points = [measure.Point(real, *list(vars(p).values())[1:]) for p in curve.points]
        sweep.curves[real] = measure.Curve(real, points)
    path = picture.save(sweep, sweep, tmp_path / "x.png", theme=theme)
    image = imread(path)[..., :3]
    assert image.std() > 0.05
    assert (image[0, 0].mean() > 0.9) == (theme == "light")
    assert "at K = 16" in table.text([sweep])


def modelled(grows, sizes, methods):
    """A sweep with plausible times: fixed costs, and a time per multiplication."""
    sweep = measure.Sweep("test", grows, {name: measure.Curve(name) for name in methods})
    for number, name in enumerate(methods):
        for size in sizes:
            width, depth = (size, 4) if grows == "width" else (8, size)
            count = METHODS[name].count([width] * depth)
            point = measure.Point(name, width, depth, 1, count, (1e-5 * (number + 1) + 3e-8 * count,))
            sweep.curves[name].points.append(point)
            if point.median > 1:
                break
    return sweep


@pytest.mark.parametrize(
    ("widths", "depths"),
    [([2**k for k in range(1, 12)], [2, 3, 4, 6, 8, 16, 32, 64, 128]), ([2, 4, 8], [2, 3, 4]), ([8], [2])],
)
def test_labels_hide_no_curve_and_no_other_label(tmp_path, monkeypatch, widths, depths):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
    methods = ["differences", "paths", "python", "aot"]
    sweeps = modelled("width", widths, methods), modelled("depth", depths, methods)
    picture.save(*sweeps, tmp_path / "x.png", theme="light")
    for axes in figures[0].axes:
        labels = [text for text in axes.texts if text.get_text()]
        assert {picture.NAMES[name] for name in methods} <= {label.get_text() for label in labels}
        boxes = [label.get_window_extent() for label in labels]
        for box, other in itertools.combinations(boxes, 2):
            assert not box.overlaps(other)
        for box, curve in itertools.product(boxes, picture._pixels_of_curves(axes)):
            assert not any(box.contains(*point) for point in curve)
        assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_ctrl_c_prints_and_writes_the_results_so_far(tmp_path, monkeypatch, capsys):
    timing, timings = measure._timing, []

    def interrupted(gradient):
        timings.append(1)
        if len(timings) == 2 * 2 * 2 + 3:  # on the third network
            os.kill(os.getpid(), signal.SIGINT)
        return timing(gradient)

    monkeypatch.setattr(measure, "_timing", interrupted)
    options = ["--methods", "python,aot", "--rounds", "2", "--out", str(tmp_path)]
    assert main(["complexity", "--widths", "2,3,4", "--depths", "2,3", *options]) == 130
    assert "backpropagation, compiled" in capsys.readouterr().out
    points = json.loads((tmp_path / "complexity.json").read_text())["sweeps"][0]["points"]
    assert [(p["method"], p["width"]) for p in points] == [
        ("python", 2),
        ("python", 3),
        ("aot", 2),
        ("aot", 3),
    ]


def test_an_error_does_not_remove_earlier_results(tmp_path, monkeypatch, capsys):
    (tmp_path / "complexity.json").write_text("earlier")

    def interrupted(names):
        raise MemoryError(names)

    monkeypatch.setattr(measure, "check", interrupted)
    assert main(["complexity", "--widths", "2", "--depths", "2", "--out", str(tmp_path)]) == 1
    assert (tmp_path / "complexity.json").read_text() == "earlier"


def test_the_command_prints_tables_and_written_files(tmp_path, capsys):
    words = ["complexity", "--quick", "--widths", "2,3,4", "--depths", "2,3,4", "--out", str(tmp_path / "c")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "one gradient of N layers of 8 units" in printed
    assert "the gradient of a batch of K samples, 4 layers of K units" in printed
    assert (
        f"written to {tmp_path / 'c'}: complexity.json, complexity-light.svg, complexity-dark.svg" in printed
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--widths", "0,2"], "each of the widths must be an integer of at least 1, not 0"),
        (["--widths", "two"], "sizes must be integers separated by commas, such as 784,128,10, not 'two'"),
        (["--depths", "1"], "depths must be one or more integers of at least 2, not [1]"),
        (["--depth", "1"], "depth must be at least 2"),
        (["--width", "0"], "width must be an integer of at least 1"),
        (["--methods", "magic"], "unknown method 'magic': choose one of aot, differences"),
        (["--seconds", "0"], "limit must be above 0 seconds"),
        (["--rounds", "0"], "rounds must be an integer of at least 1"),
        (["--threads", "0"], "threads must be an integer of at least 1"),
        (["--out", "/dev/null/x"], "Not a directory"),
    ],
)
def test_invalid_options_are_rejected(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["complexity", *words]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
