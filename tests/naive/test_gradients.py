"""The naive gradients agree with backpropagation and with the worked examples of reports S1 and S2."""

import ast
import inspect
import itertools

import numpy as np
import pytest

import fastnn as fn
from fastnn import naive
from fastnn.kernels import BACKENDS
from fastnn.naive import pure_python

WIDTHS = [(3, 2), (5, 3), (1, 1, 2), (4, 6, 3), (2, 3, 2), (6, 5, 4, 3), (3, 3, 3, 3, 3)]
ACTIVATIONS = {"identity": fn.Identity, "relu": fn.ReLU, "sigmoid": fn.Sigmoid, "tanh": fn.Tanh}
BY_SAMPLE = [naive.path_gradients, naive.pure_python_gradients]


def mlp(widths, activation="tanh", seed=0, dtype=np.float64):
    fn.manual_seed(seed)
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        # Large weights, lest gradients be so small that the comparison says nothing.
        layers.append(fn.Linear(fan_in, fan_out, weight_init=fn.init.Normal(1.0), dtype=dtype))
        layers.append(ACTIVATIONS[activation]())
    return fn.Sequential(*layers[:-1])


def batch(widths, rows=4, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, widths[0])), rng.integers(widths[-1], size=rows)


def backpropagation(model, data, **options):
    fn.gradients(model, data, **options)
    return {name: param.grad for name, param in model.named_parameters() if param.grad is not None}


def assert_same(gradients, expected, tolerance):
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient.shape == expected[name].shape
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=tolerance, err_msg=name)


def assert_within_one_ulp(got, want):
    np.testing.assert_array_less(np.abs(np.subtract(got, want)), 1.5 * np.spacing(np.abs(want)))


# Against backpropagation


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_all_methods_agree(widths, activation):
    model, data = mlp(widths, activation), batch(widths)
    with fn.backend("ref"):
        expected = backpropagation(model, data)
        assert_same(naive.central_differences(model, data), expected, 1e-8)
        for by_sample in BY_SAMPLE:
            assert_same(by_sample(model, data), expected, 1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_methods_agree_on_every_backend(backend):
    model, data = mlp((5, 4, 3), "sigmoid"), batch((5, 4, 3))
    with fn.backend(backend):
        expected = backpropagation(model, data)
        assert_same(naive.central_differences(model, data), expected, 1e-8)
        assert_same(naive.path_gradients(model, data), expected, 1e-14)


def test_layers_without_bias_are_supported():
    model = fn.Sequential(fn.Linear(3, 4, bias=False), fn.Tanh(), fn.Linear(4, 2)).to(np.float64)
    data = batch((3, 2))
    expected = backpropagation(model, data)
    assert expected.keys() == {"0.weight", "2.weight", "2.bias"}
    assert_same(naive.central_differences(model, data), expected, 1e-8)
    for by_sample in BY_SAMPLE:
        assert_same(by_sample(model, data), expected, 1e-14)


def test_frozen_parameters_are_left_out():
    model, data = mlp((3, 4, 2)), batch((3, 2))
    dict(model.named_parameters())["0.weight"].trainable = False
    expected = backpropagation(model, data)
    assert expected.keys() == {"0.bias", "2.weight", "2.bias"}
    assert_same(naive.central_differences(model, data), expected, 1e-8)
    for by_sample in BY_SAMPLE:
        assert_same(by_sample(model, data), expected, 1e-14)


@pytest.mark.parametrize("by_sample", BY_SAMPLE)
def test_uint8_inputs_are_scaled(by_sample):
    model = mlp((3, 4, 2))
    data = np.array([[0, 128, 255], [7, 80, 1]], np.uint8), [1, 0]
    assert_same(by_sample(model, data), backpropagation(model, data), 1e-14)
    assert_same(by_sample(model, data, scale=0.5), backpropagation(model, data, scale=0.5), 1e-14)
    assert_same(naive.central_differences(model, data, scale=0.5), by_sample(model, data, scale=0.5), 1e-7)


def test_central_differences_of_other_losses():
    model, (x, _) = mlp((3, 4, 2)), batch((3, 2))
    data = x, np.random.default_rng(2).normal(size=(len(x), 2))
    for loss in ("squared_error", fn.SquaredError("sum")):
        assert_same(
            naive.central_differences(model, data, loss=loss), backpropagation(model, data, loss=loss), 1e-8
        )


def test_central_differences_use_the_same_dropout_bits():
    model = fn.Sequential(fn.Linear(4, 20), fn.Dropout(0.5), fn.Linear(20, 2), fn.Dropout(0.3)).to(np.float64)
    data = batch((4, 2), rows=1)
    expected = backpropagation(model, data)
    assert (expected["0.bias"] == 0).any(), "no unit fell out, so nothing is tested"
    assert_same(naive.central_differences(model, data), expected, 1e-8)


def test_central_differences_divide_by_the_rounded_distance():
    # The loss is linear in its only weight, so the result is exact up to the rounding of the loss, although
    # 1e-5 is not a binary fraction and w + h is rounded to multiples of 1e-10.
    model = fn.Sequential(fn.Linear(1, 1, bias=False)).to(np.float64)
    model[0].weight.value = [[2.0**20]]
    loss = fn.SquaredError("sum")
    data = [[1.0]], [[2.0**20 + 0.5]]
    gradient = naive.central_differences(model, data, loss=loss)["0.weight"]
    np.testing.assert_allclose(gradient, -0.5, rtol=1e-9)


def test_central_differences_in_float32():
    model, data = mlp((3, 4, 2), dtype=np.float32), batch((3, 2))
    assert_same(naive.central_differences(model, data, step=5e-3), backpropagation(model, data), 1e-4)


# No side effects


class Failing(fn.Layer):
    """Returns its input, and raises `error` at the third call."""

    def __init__(self, error):
        self.error = error
        self.calls = 0

    def forward(self, x, *, train=False):
        self.calls += 1
        if self.calls == 3:
            raise self.error
        return x, lambda dy, *, need_dx=True: dy


def test_the_model_is_not_changed(unchanged):
    model = fn.Sequential(fn.Linear(3, 4), fn.Dropout(0.5), fn.Linear(4, 2)).to(np.float64)
    with unchanged(model):
        naive.central_differences(model, batch((3, 2)))
    assert all(param.grad is None for param in model.parameters())


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_model_is_not_changed_by_an_interruption(error, unchanged):
    model = fn.Sequential(fn.Linear(3, 4), fn.Dropout(0.5), fn.Linear(4, 2), Failing(error())).to(np.float64)
    with unchanged(model), pytest.raises(error):
        naive.central_differences(model, batch((3, 2)))


# Errors


@pytest.mark.parametrize("step", [0, -1e-5, np.nan, np.inf])
def test_a_step_must_be_positive(step):
    with pytest.raises(ValueError, match="positive"):
        naive.central_differences(mlp((3, 2)), batch((3, 2)), step=step)


def test_a_step_that_is_rounded_away_is_rejected():
    with pytest.raises(ValueError, match=r"1e-20 is too small for 0\.weight\[0, 0\]"):
        naive.central_differences(mlp((3, 2)), batch((3, 2)), step=1e-20)


def test_a_loss_without_reduction_is_rejected():
    with pytest.raises(ValueError, match="reduction"):
        naive.central_differences(mlp((3, 2)), batch((3, 2)), loss=fn.CrossEntropy(reduction="none"))


class ScaledLinear(fn.Linear):
    """A subclass, which may compute anything."""


@pytest.mark.parametrize("by_sample", BY_SAMPLE)
@pytest.mark.parametrize(
    "model",
    [
        fn.Linear(3, 2),
        fn.Sequential(),
        fn.Sequential(fn.Linear(3, 2), fn.ReLU()),
        fn.Sequential(fn.ReLU(), fn.Linear(3, 2)),
        fn.Sequential(fn.Linear(3, 3), fn.Linear(3, 2)),
        fn.Sequential(fn.Linear(3, 3), fn.ReLU(), fn.Dropout(0.5), fn.Linear(3, 2)),
        fn.Sequential(fn.Linear(3, 3), fn.Softmax(), fn.Linear(3, 2)),
        fn.Sequential(fn.Sequential(fn.Linear(3, 3)), fn.ReLU(), fn.Linear(3, 2)),
        fn.Sequential(ScaledLinear(3, 2)),
    ],
    ids=repr,
)
def test_models_other_than_a_plain_mlp_are_rejected(model, by_sample):
    with pytest.raises(TypeError, match="plain MLP"):
        by_sample(model, batch((3, 2)))


def test_path_gradients_reject_targets_that_are_not_labels():
    with pytest.raises(ValueError, match="labels"):
        naive.path_gradients(mlp((3, 2)), ([[1.0, 2.0, 3.0]], [[0.0, 1.0]]))


def test_invalid_data_are_rejected():
    with pytest.raises(ValueError, match="label 2"):
        naive.path_gradients(mlp((3, 2)), ([[1.0, 2.0, 3.0]], [2]))
    with pytest.raises(ValueError, match="samples of shape"):
        naive.central_differences(mlp((3, 2)), ([[1.0, 2.0]], [0]))


# Paths


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_count_paths_equals_an_enumeration(widths):
    paths = 0
    for layer in range(1, len(widths)):
        start_units = widths[layer - 1] + 1  # the 1 is the bias
        routes = itertools.product(*map(range, widths[layer:]))
        paths += start_units * len(list(routes))
    assert naive.count_paths(widths) == paths


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_path_gradients_follow_the_counted_number_of_paths(widths, monkeypatch):
    arrivals = []

    class Logits(list):
        """The gradient of the logits; every path ends by reading one of its elements."""

        def __getitem__(self, unit):
            arrivals.append(unit)
            return super().__getitem__(unit)

    gradient = pure_python.cross_entropy_gradient
    monkeypatch.setattr(pure_python, "cross_entropy_gradient", lambda z, label: Logits(gradient(z, label)))
    naive.path_gradients(mlp(widths), batch(widths, rows=1))
    assert len(arrivals) == naive.count_paths(widths)


# Report S1: the gradient check of a layer of 3 outputs and 5 inputs (S1-5, S1-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(5))
def test_s1_gradient_check(seed, backend):
    model, data = mlp((5, 3), seed=seed), batch((5, 3), rows=6, seed=seed)
    loss = fn.CrossEntropy(reduction="sum")
    with fn.backend(backend):
        analytic = backpropagation(model, data, loss=loss)
        numeric = naive.central_differences(model, data, loss=loss, step=1e-5)
    assert_same(analytic, numeric, 1e-8)
    # Softmax outputs are probabilities, so their gradients sum to zero.
    np.testing.assert_allclose(analytic["0.weight"].sum(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(analytic["0.bias"].sum(), 0, atol=1e-14)


# Report S2: the net 2-3-2 worked by hand (S2-2, S2-3)

S2_GRADIENTS = {
    "0.weight": [[0.0, 0.0, 0.0], [-0.0, -0.0, -0.0]],
    "0.bias": [0.0, 0.0, 0.0],
    "2.weight": [[-0.44039853898894116, 0.44039853898894116]] * 3,
    "2.bias": [-0.5, 0.5],
}
S2_DATA = [[1.0, -1.0]], [0]


@pytest.fixture
def s2_model():
    model = fn.Sequential(fn.Linear(2, 3), fn.Sigmoid(), fn.Linear(3, 2)).to(np.float64)
    model[0].weight.value = [[1, 1, 1], [-1, -1, -1]]
    model[0].bias.value = [0, 0, 0]
    model[2].weight.value = [[1, 1], [-1, -1], [-1, -1]]
    model[2].bias.value = [0, 0]
    return model


@pytest.mark.parametrize("gradients", [naive.pure_python_gradients, naive.path_gradients])
def test_s2_gradients_in_pure_python(s2_model, gradients):
    got = gradients(s2_model, S2_DATA)
    assert sum(gradient.size for gradient in got.values()) == 17
    for name, want in S2_GRADIENTS.items():
        assert_within_one_ulp(got[name], want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_s2_gradients(s2_model, backend):
    with fn.backend(backend):
        got = backpropagation(s2_model, S2_DATA)
    assert sum(gradient.size for gradient in got.values()) == 17
    for name, want in S2_GRADIENTS.items():
        assert_within_one_ulp(got[name], want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_s2_losses(s2_model, backend):
    with fn.backend(backend):
        hidden = fn.Sequential(*s2_model.layers[:2]).predict(S2_DATA[0])
        assert_within_one_ulp(hidden[0, 0], 0.8807970779778823)
        assert_within_one_ulp(fn.gradients(s2_model, S2_DATA), 0.6931471805599453)
        logits = s2_model.predict(S2_DATA[0])
        assert_within_one_ulp(fn.cross_entropy(logits, [0]), 0.6931471805599453)
        # As in the report: -log summed over all classes, not only for the true one.
        losses = [fn.cross_entropy(logits, [label]) for label in (0, 1)]
        assert_within_one_ulp(sum(losses), 1.3862943611198906)


def test_s2_losses_in_pure_python(s2_model):
    twin = naive.pure_python_mlp(s2_model)
    losses = [twin.loss(S2_DATA[0][0], label) for label in (0, 1)]
    assert_within_one_ulp(losses[0], 0.6931471805599453)
    assert_within_one_ulp(sum(losses), 1.3862943611198906)


# Pure Python


def test_pure_python_imports_only_math():
    tree = ast.parse(inspect.getsource(pure_python))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert names == {"__future__", "collections.abc", "math"}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pure_python_forward_and_loss(activation):
    model, (x, labels) = mlp((4, 6, 3), activation), batch((4, 3))
    twin = naive.pure_python_mlp(model)
    assert twin.activations == [activation]
    logits = [twin.forward(row)[-1] for row in x.tolist()]
    np.testing.assert_allclose(logits, model.predict(x), rtol=0, atol=1e-14)
    losses = [twin.loss(row, label) for row, label in zip(x.tolist(), labels.tolist(), strict=True)]
    np.testing.assert_allclose(losses, fn.cross_entropy(logits, labels, reduction="none"), rtol=1e-14)


def test_pure_python_is_stable_for_large_logits():
    assert pure_python.sigmoid(-1000.0) == 0
    assert pure_python.sigmoid(1000.0) == 1
    assert pure_python.softmax([1000.0, 0.0]) == [1, 0]
    assert pure_python.cross_entropy([1000.0, 0.0], 1) == 1000
    assert pure_python.cross_entropy_gradient([1000.0, 0.0], 1) == [1, -1]


@pytest.mark.parametrize("label", [-1, 2])
def test_pure_python_checks_labels(label):
    twin = pure_python.MLP([[[1.0, 2.0]]], [[0.0, 0.0]], [])
    with pytest.raises(ValueError, match=rf"label {label} is not in 0\.\.1"):
        twin.loss([1.0], label)
    with pytest.raises(ValueError, match=rf"label {label} is not in 0\.\.1"):
        twin.gradients([1.0], label)


@pytest.mark.parametrize(
    ("weights", "biases", "activations", "match"),
    [
        ([[[1.0]]], [[0.0]], ["relu"], "L - 1 activations"),
        ([[[1.0]]], [[0.0], [0.0]], [], "L biases"),
        ([[[1.0, 2.0], [3.0]]], [[0.0, 0.0]], [], "layer 0 has 2 biases"),
        (
            [[[1.0, 2.0]], [[1.0]]],
            [[0.0, 0.0], [0.0]],
            ["relu"],
            "layer 1 has 1 input features, but the layer before has 2",
        ),
        ([[[1.0]], [[1.0]]], [[0.0], [0.0]], ["softmax"], "unknown activation 'softmax'"),
    ],
)
def test_pure_python_checks_its_weights(weights, biases, activations, match):
    with pytest.raises(ValueError, match=match):
        pure_python.MLP(weights, biases, activations)


class WrongTanh(fn.Tanh):
    """Tanh with the gradient of the identity."""

    def forward(self, x, *, train=False):
        y, _ = super().forward(x, train=train)
        return y, lambda dy, *, need_dx=True: dy


def test_gradcheck_detects_a_wrong_gradient(unchanged):
    model, data = mlp((3, 4, 2), dtype=np.float32), batch((3, 2))
    with unchanged(model):
        assert fn.gradcheck(model, data) < 1e-7
    assert fn.gradcheck(fn.Sequential(model[0], WrongTanh(), model[2]), data) > 1e-2
