"""NaN and infinity in activations, losses and pools: the results and gradients of PyTorch (in float64).

PyTorch's float32 results are no reference: its vectorized GELU gives NaN at inf, where the float64 one gives
inf.
"""

from itertools import product

import numpy as np
import pytest

from .columns import COLUMNS, both_types, kernels_of

nan, inf = np.nan, np.inf
torch = pytest.importorskip("torch")
F = torch.nn.functional

every_column = pytest.mark.parametrize("column", ["ref", *COLUMNS])

VALUES = [nan, inf, -inf, 0.0, -0.0, 1e4, -1e4, 2.0, -0.5]
GRADIENTS = [1.5, 0.0, nan, inf, -inf]
SUM = 1

# Kernel, its number or None, whether its gradient takes the output, and PyTorch's function.
ACTIVATIONS = [
    ("relu", None, True, torch.relu),
    ("sigmoid", None, True, torch.sigmoid),
    ("tanh", None, True, torch.tanh),
    ("leaky_relu", 0.25, True, lambda x: F.leaky_relu(x, 0.25)),
    ("leaky_relu", 0.0, True, lambda x: F.leaky_relu(x, 0.0)),
    ("elu", 0.5, True, lambda x: F.elu(x, 0.5)),
    ("elu", 0.0, True, lambda x: F.elu(x, 0.0)),
    ("gelu", False, False, F.gelu),
    ("gelu", True, False, lambda x: F.gelu(x, approximate="tanh")),
    ("silu", None, False, F.silu),
]


@pytest.fixture(autouse=True)
def quiet():
    """NumPy does not warn of infinities and NaN."""
    with np.errstate(all="ignore"):
        yield


def kernels(column):
    from fastnn.kernels import load

    return load("ref") if column == "ref" else kernels_of(column)


def by_torch(function, x, dy):
    """function(x) and the gradient for x of the sum of its outputs times dy, in float64."""
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = function(x)
    y.backward(torch.tensor(dy, dtype=torch.float64))
    return y.detach().numpy(), x.grad.numpy()


def assert_as_torch(found, expected, message=""):
    for what, ours, theirs in zip(("y", "dx"), found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6, err_msg=f"{message} {what}")


@every_column
@both_types
def test_activations_and_their_gradients_are_those_of_pytorch(dtype, column):
    kernel = kernels(column)
    for name, number, by_output, theirs in ACTIVATIONS:
        # PyTorch's vectorized gradient of ELU at NaN is NaN, that of the elements behind the last vector dy.
        values = VALUES[1:] if name == "elu" else VALUES
        x, dy = np.array(list(product(values, GRADIENTS)), dtype).T.copy()
        numbers = [] if number is None else [number]
        y, dx = np.empty_like(x), np.empty_like(x)
        kernel[f"{name}_forward"](x, *numbers, y)
        kernel[f"{name}_dx"](y if by_output else x, dy, *numbers, dx)
        assert_as_torch((y, dx), by_torch(theirs, x, dy), f"{name} {number}")


@every_column
@both_types
@pytest.mark.parametrize("by_tanh", [False, True])
def test_gelu_is_finite_at_the_largest_numbers(by_tanh, dtype, column):
    """PyTorch's gradient of the tanh form is NaN there, because x^2 overflows in the derivative."""
    kernel, huge = kernels(column), np.finfo(dtype).max
    x, y, dx = np.array([huge, -huge], dtype), np.empty(2, dtype), np.empty(2, dtype)
    kernel["gelu_forward"](x, by_tanh, y)
    kernel["gelu_dx"](x, np.ones(2, dtype), by_tanh, dx)
    np.testing.assert_array_equal(y, [huge, 0])
    np.testing.assert_array_equal(dx, [1, 0])


@every_column
@both_types
def test_softmax_and_its_gradient_are_those_of_pytorch(dtype, column):
    kernel = kernels(column)
    x = np.array(list(product([nan, inf, -inf, 0, 1e4], repeat=3)), dtype)
    dy = np.resize(np.array([1, -2, inf, 0.5, nan, 3, 0], dtype), x.shape)
    y, dx = np.empty_like(x), np.empty_like(x)
    kernel["softmax_forward"](x, y)
    kernel["softmax_dx"](y, dy, dx)
    assert_as_torch((y, dx), by_torch(lambda x: torch.softmax(x, 1), x, dy))


@every_column
@both_types
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_cross_entropy_and_its_gradient_are_those_of_pytorch(smoothing, dtype, column):
    kernel = kernels(column)
    z = np.array(list(product([nan, inf, -inf, 0, 10], repeat=3)), dtype)
    label = np.arange(len(z)) % 3
    target = np.resize(np.array([[1, 0, 0], [0.5, 0.25, 0.25], [0, nan, 1]], dtype), z.shape)
    weight = np.array([0.5, 2, 1], dtype)
    for name, aim in (("cross_entropy_labels", label), ("cross_entropy_soft", target)):
        losses, dz, loss = np.empty(len(z), dtype), np.empty_like(z), np.empty(1)
        kernel[name](z, aim, weight, smoothing, SUM, losses, loss, dz)
        theirs = by_torch(
            lambda z, aim=aim: F.cross_entropy(
                z,
                torch.tensor(aim, dtype=torch.int64 if aim.ndim == 1 else torch.float64),
                torch.tensor(weight, dtype=torch.float64),
                reduction="none",
                label_smoothing=smoothing,
            ),
            z,
            np.ones(len(z)),
        )
        assert_as_torch((losses, dz), theirs, name)


@every_column
@both_types
def test_elementwise_losses_and_their_gradients_are_those_of_pytorch(dtype, column):
    """PyTorch's binary cross-entropy is NaN at -inf for every target; ours mirrors the one of inf."""
    kernel = kernels(column)
    z, target = np.array(list(product(VALUES, [0, 1, 0.5, nan])), dtype).T.copy()
    losses, dz, loss = np.empty_like(z), np.empty_like(z), np.empty(1)
    aim = torch.tensor(target, dtype=torch.float64)
    kernel["binary_cross_entropy"](z, target, None, 0.0, SUM, losses, loss, dz)
    their_losses, their_dz = by_torch(
        lambda z: F.binary_cross_entropy_with_logits(z, aim, reduction="none"), z, np.ones(len(z))
    )
    below = z == -inf
    assert_as_torch((losses[~below], dz), (their_losses[~below], their_dz), "binary_cross_entropy")
    mirrored = np.empty_like(z)
    kernel["binary_cross_entropy"](-z, 1 - target, None, 0.0, SUM, mirrored, loss, dz)
    np.testing.assert_array_equal(losses, mirrored)
    formulas = {
        "squared_error": ((), lambda z: F.mse_loss(z, aim, reduction="none") / 2),
        "huber": ((0.5,), lambda z: F.huber_loss(z, aim, reduction="none", delta=0.5)),
        "binary_hinge": ((1.0,), lambda z: torch.relu(1 - (2 * aim - 1) * z)),
    }
    for name, (parameters, formula) in formulas.items():
        kernel[name](z, target, *parameters, SUM, losses, loss, dz)
        assert_as_torch((losses, dz), by_torch(formula, z, np.ones(len(z))), name)


@every_column
@both_types
def test_absolute_error_and_poisson_at_nan_and_infinity(dtype, column):
    """PyTorch's gradient of |NaN| is 0, and exp(y) - 0 y is NaN at -inf; ours are NaN and the limit 0."""
    kernel, inf, nan = kernels(column), np.inf, np.nan
    y, target = np.array([[nan, 1, inf, -inf, inf, 2], [1, nan, 1, 1, inf, 2]], dtype)
    losses, dy, loss = np.empty_like(y), np.empty_like(y), np.empty(1)
    kernel["absolute_error"](y, target, SUM, losses, loss, dy)
    np.testing.assert_array_equal(losses, [nan, nan, inf, inf, nan, 0])
    np.testing.assert_array_equal(dy, [nan, nan, 1, -1, nan, 0])
    y, target = np.array([[nan, 1, inf, -inf, -inf, 1e4], [0, nan, 0, 0, 2, 2]], dtype)
    for deviance in (False, True):
        kernel["poisson"](y, target, deviance, SUM, losses, loss, dy)
        np.testing.assert_array_equal(losses, [nan, nan, inf, 0, inf, inf])
        np.testing.assert_array_equal(dy, [nan, nan, inf, 0, -2, inf])


@every_column
@both_types
def test_hinge_and_its_gradient_at_nan_and_infinity(dtype, column):
    z = np.array(list(product([np.nan, np.inf, -np.inf, 0, 10], repeat=3)), dtype)
    label = np.arange(len(z)) % 3
    losses, dz, loss = np.empty(len(z), dtype), np.empty_like(z), np.empty(1)
    kernels(column)["hinge_labels"](z, label, None, 1.0, SUM, losses, loss, dz)

    def formula(z):
        own = torch.arange(3) == torch.tensor(label)[:, None]
        others = z[~own].reshape(len(z), 2)
        rival = others.gather(1, others.argmax(dim=1, keepdim=True))[:, 0]
        return torch.relu(1 + rival - z[own])

    assert_as_torch((losses, dz), by_torch(formula, z, np.ones(len(z))), "hinge")


@every_column
@both_types
@pytest.mark.parametrize("channels", [1, 17])
def test_pools_and_their_gradients_are_those_of_pytorch(channels, dtype, column):
    """All windows of 2 x 2: of two NaNs, the last one gets the gradient."""
    kernel = kernels(column)
    windows = np.array(list(product([nan, inf, -inf, 1, 2], repeat=4)), dtype)
    x = np.repeat(windows.reshape(-1, 2, 2, 1), channels, axis=3)
    dy = np.arange(1, len(x) + 1, dtype=dtype).reshape(-1, 1, 1, 1).repeat(channels, axis=3)
    y, dx = np.empty_like(dy), np.empty_like(x)
    taps = np.empty(y.shape, np.int32 if dtype == np.float32 else np.int64)
    steps = (2, 2), (2, 2), (0, 0)

    def in_our_order(function):
        return lambda x: function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    kernel["max_pool_forward"](x, *steps, y, taps)
    kernel["max_pool_dx"](dy, taps, *steps, dx)
    assert_as_torch((y, dx), by_torch(in_our_order(lambda x: F.max_pool2d(x, 2)), x, dy), "max")
    kernel["avg_pool_forward"](x, *steps, True, y)
    kernel["avg_pool_dx"](dy, *steps, True, dx)
    assert_as_torch((y, dx), by_torch(in_our_order(lambda x: F.avg_pool2d(x, 2)), x, dy), "average")


@every_column
@both_types
def test_tanh_gelu_keeps_its_digits_far_below_zero(dtype, column):
    """Where 1 + tanh(u) cancels, down to -9. The polynomial v = 2 u costs about |v| of the last digit."""
    x = np.concatenate((-np.linspace(0.01, 9, 3001), np.linspace(0.01, 9, 500))).astype(dtype)
    exact = x.astype(np.longdouble)
    factor = 2 * np.sqrt(np.longdouble(2) / np.pi)
    v = factor * (exact + np.longdouble(0.044715) * exact**3)
    phi = np.where(v < 0, np.exp(v), 1) / (1 + np.exp(-np.abs(v)))
    slope = factor * (1 + 3 * np.longdouble(0.044715) * exact**2)
    true_dx = phi * (1 + exact * (1 - phi) * slope)
    y, dx = np.empty_like(x), np.empty_like(x)
    kernel = kernels(column)
    kernel["gelu_forward"](x, True, y)
    kernel["gelu_dx"](x, np.ones_like(x), True, dx)
    limit = (4 + 2 * np.abs(v)) * np.finfo(dtype).eps
    assert (np.abs(y - exact * phi) <= limit * np.abs(exact * phi)).all()
    # The terms of the derivative cancel where it is 0, at -0.75.
    assert (np.abs(dx - true_dx) <= limit * (phi + np.abs(exact * phi * (1 - phi) * slope))).all()
