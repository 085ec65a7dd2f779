"""The gradients that kernels compute: adjoints, and finite differences in float64."""

import numpy as np
import pytest

from fastnn.kernels import load

from .columns import every_backend

nan = np.nan


@every_backend
@pytest.mark.parametrize("batch", [(), (3,)], ids=["2-D", "3-D"])
def test_dense_gradients_are_adjoint(backend, batch):
    """<x w + b, dy> = <x, dx> + <b, db> = <w, dw> + <b, db>, exact in whole numbers."""
    M, K, N = 9, 13, 18
    rng = np.random.default_rng(0)
    x, w, b, dy = (
        rng.integers(-9, 10, (*batch, *shape)).astype(float) for shape in ((M, K), (K, N), (N,), (M, N))
    )
    y, dx, dw, db = (np.full_like(array, nan) for array in (dy, x, w, b))
    kernel = load(backend)
    kernel["dense_forward"](x, w, b, y)
    kernel["dense_dx"](dy, w, dx)
    kernel["dense_dw"](x, dy, dw)
    kernel["dense_db"](dy, db)
    assert np.vdot(y, dy) == np.vdot(x, dx) + np.vdot(b, db) == np.vdot(w, dw) + np.vdot(b, db)


@every_backend
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "softmax"])
def test_activation_gradient(backend, activation, finite_differences):
    rng = np.random.default_rng(0)
    x, dy, y, dx = rng.standard_normal((4, 5, 7))
    kernel = load(backend)

    def weighted_sum():
        kernel[f"{activation}_forward"](x, y)
        return np.vdot(y, dy)

    weighted_sum()
    kernel[f"{activation}_dx"](y, dy, dx)
    np.testing.assert_allclose(dx, finite_differences(weighted_sum, x), atol=1e-8)


@every_backend
@pytest.mark.parametrize(
    ("activation", "number"),
    [("leaky_relu", 0.2), ("elu", 1.0), ("elu", 0.4), ("gelu", False), ("gelu", True), ("silu", None)],
)
def test_activation_gradient_with_a_number(backend, activation, number, finite_differences):
    rng = np.random.default_rng(0)
    x, dy, y, dx = 2 * rng.standard_normal((4, 5, 7))
    kernel, numbers = load(backend), () if number is None else (number,)

    def weighted_sum():
        kernel[f"{activation}_forward"](x, *numbers, y)
        return np.vdot(y, dy)

    weighted_sum()
    of = x if activation in ("gelu", "silu") else y
    kernel[f"{activation}_dx"](of, dy, *numbers, dx)
    np.testing.assert_allclose(dx, finite_differences(weighted_sum, x), atol=1e-8)


@every_backend
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "focal_labels", "focal_soft"])
def test_gradient_of_focal_losses(backend, loss, gamma, reduction, finite_differences):
    rng = np.random.default_rng(0)
    z, dz = 3 * rng.standard_normal((2, 6, 5))
    target, weight = rng.random((6, 5)), rng.random(5)
    if loss == "focal_labels":
        target = rng.integers(0, 5, 6)
    if loss == "binary_cross_entropy":
        weight = rng.random((2, 5))
    losses, total = np.empty(z.shape if loss == "binary_cross_entropy" else 6), np.empty(1)

    def reduced():
        load(backend)[loss](z, target, weight, gamma, reduction, losses, total, dz)
        return total[0]

    gradient = finite_differences(reduced, z)
    reduced()
    np.testing.assert_allclose(dz, gradient, atol=1e-8)


@every_backend
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 9, 1), (2, 5, 3), (2, 4, 18)])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_gradient_of_dice(backend, shape, smooth, reduction, finite_differences):
    rng = np.random.default_rng(0)
    z, dz = rng.standard_normal((2, *shape))
    target, weight = rng.random(shape), rng.random(shape[2])
    losses, total = np.empty((shape[0], shape[2])), np.empty(1)

    def reduced():
        load(backend)["dice"](z, target, weight, smooth, reduction, losses, total, dz)
        return total[0]

    gradient = finite_differences(reduced, z)
    reduced()
    np.testing.assert_allclose(dz, gradient, atol=1e-8)


@every_backend
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize(
    "loss",
    [
        *("cross_entropy_labels", "cross_entropy_soft", "hinge_labels"),
        *("squared_error", "absolute_error", "huber", "poisson", "binary_hinge"),
    ],
)
def test_loss_gradient(backend, loss, reduction, finite_differences):
    rng = np.random.default_rng(0)
    z, target, dz = rng.random((3, 6, 5))
    inputs = {
        "cross_entropy_labels": (rng.integers(0, 5, 6), rng.random(5), 0.1, reduction),
        "cross_entropy_soft": (target, rng.random(5), 0.1, reduction),
        "hinge_labels": (rng.integers(0, 5, 6), rng.random(5), 0.4, reduction),
        "squared_error": (target, reduction),
        "absolute_error": (target, reduction),
        "huber": (target, 0.3, reduction),
        "poisson": (target, True, reduction),
        "binary_hinge": (target, 0.1, reduction),
    }[loss]
    losses, total = np.empty(6 if loss.endswith(("labels", "soft")) else z.shape), np.empty(1)

    def reduced():
        load(backend)[loss](z, *inputs, losses, total, dz)
        return total[0]

    gradient = finite_differences(reduced, z)
    reduced()
    np.testing.assert_allclose(dz, gradient, atol=1e-8)
