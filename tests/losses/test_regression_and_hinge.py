"""Absolute error, Huber, Poisson and hinge losses: values and gradients of PyTorch and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import hinge_loss, mean_poisson_deviance

import fastnn as fn

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(0)
Y, T = 3 * RNG.standard_normal((2, 20, 4))
COUNTS = RNG.poisson(2, (20, 4)).astype(float)
BITS = RNG.integers(0, 2, (20, 4)).astype(float)
LABELS = RNG.integers(0, 4, 20)


def hinge_by_torch(z, label):
    """Crammer-Singer."""
    own = F.one_hot(label, z.shape[1]).bool()
    return torch.relu(1 + z.masked_fill(own, -torch.inf).max(dim=1).values - z[own])


LOSSES = {
    "absolute_error": (fn.AbsoluteError, {}, T, F.l1_loss),
    "huber": (fn.Huber, {}, T, F.huber_loss),
    "huber, delta": (
        *(fn.Huber, {"delta": 2.5}, T),
        lambda y, t, reduction: F.huber_loss(y, t, reduction=reduction, delta=2.5),
    ),
    "poisson": (fn.Poisson, {}, COUNTS, F.poisson_nll_loss),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_regression_losses_equal_pytorch(name, reduction):
    kind, options, target, function = LOSSES[name]
    y = torch.tensor(Y, requires_grad=True)
    theirs = function(y, torch.tensor(target), reduction=reduction)
    loss = kind(reduction=reduction, **options)
    np.testing.assert_allclose(loss(Y, target), theirs.detach().numpy(), rtol=1e-13)
    if reduction != "none":
        theirs.backward()
        _, dy = loss.value_and_gradient(Y, target)
        np.testing.assert_allclose(dy, y.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_poisson_deviance_equals_scikit_learn():
    expected = mean_poisson_deviance(COUNTS.ravel(), np.exp(Y).ravel()) / 2
    assert fn.poisson(Y, COUNTS, deviance=True) == pytest.approx(expected)
    exact = np.log(COUNTS + 1)
    assert fn.poisson(exact, COUNTS + 1, deviance=True) == pytest.approx(0, abs=1e-14)
    plain, with_constant = fn.Poisson(), fn.Poisson(deviance=True)
    gradients = [loss.value_and_gradient(Y, COUNTS)[1] for loss in (plain, with_constant)]
    np.testing.assert_array_equal(*gradients)


def test_hinge_equals_scikit_learn_and_the_formula_in_pytorch():
    assert fn.hinge(Y, LABELS) == pytest.approx(hinge_loss(LABELS, Y))
    assert fn.hinge(Y, np.eye(4)[LABELS]) == pytest.approx(hinge_loss(LABELS, Y))
    z = torch.tensor(Y, requires_grad=True)
    theirs = hinge_by_torch(z, torch.tensor(LABELS))
    np.testing.assert_allclose(fn.hinge(Y, LABELS, reduction="none"), theirs.detach().numpy(), rtol=1e-13)
    theirs.mean().backward()
    _, dz = fn.Hinge().value_and_gradient(Y, LABELS)
    np.testing.assert_allclose(dz, z.grad.numpy(), rtol=1e-12)


def test_binary_hinge_equals_scikit_learn_and_the_formula_in_pytorch():
    assert fn.binary_hinge(Y[:, :1], BITS[:, 0]) == pytest.approx(hinge_loss(BITS[:, 0], Y[:, 0]))
    y = torch.tensor(Y, requires_grad=True)
    theirs = torch.relu(0.5 - (2 * torch.tensor(BITS) - 1) * y).mean()
    loss = fn.BinaryHinge(margin=0.5)
    assert loss(Y, BITS) == pytest.approx(theirs.item())
    theirs.backward()
    _, dy = loss.value_and_gradient(Y, BITS)
    np.testing.assert_allclose(dy, y.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "poisson", "hinge", "binary_hinge"])
def test_training_by_name_decreases_the_loss(loss):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 3)).astype(np.float32)
    y = x @ np.array([[1.0, 0.5], [-0.5, 1], [0.3, -1]])
    if loss == "poisson":
        y = rng.poisson(np.exp(y)).astype(float)
    elif loss == "hinge":
        y = y.argmax(axis=1)
    elif loss == "binary_hinge":
        y = (y > 0).astype(float)
    history = fn.fit(fn.Linear(3, 2), (x, y), loss=loss, optimizer=fn.Adam(lr=0.02), epochs=15, seed=0)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    if "hinge" in loss:
        assert history["accuracy"][-1] > 0.9


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fn.Huber(delta=0), ValueError, "delta must be above 0"),
        (lambda: fn.Huber(delta=-1), ValueError, "delta must be a finite number, at least 0, not -1"),
        (lambda: fn.Hinge(margin=np.nan), ValueError, "margin must be a finite number"),
        (lambda: fn.BinaryHinge(margin="1"), ValueError, "margin must be a finite number"),
        (
            lambda: fn.poisson(Y, T),
            ValueError,
            "poisson expects targets of at least 0, such as counts, got -",
        ),
        (
            lambda: fn.huber(Y, T[:, :2]),
            ValueError,
            r"huber expects targets of shape \(N, 4\), got \(20, 2\)",
        ),
        (
            lambda: fn.binary_hinge(Y, 2 * BITS - 1),
            ValueError,
            r"targets from 0 \(no\) to 1 .* use \(y == 1\)",
        ),
        (
            lambda: fn.hinge(Y, np.full((20, 4), 0.25)),
            ValueError,
            "labels or one-hot rows, but row 0 of y is",
        ),
        (lambda: fn.hinge(Y[:, :1], BITS[:, 0]), ValueError, 'use loss="binary_hinge"'),
        (lambda: fn.hinge(Y, [4] * 20), ValueError, "labels must lie in 0..3"),
        (lambda: fn.CrossEntropy(ignore_index=0.5), TypeError, "ignore_index must be an integer, not 0.5"),
    ],
)
def test_invalid_arguments_are_rejected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_names_of_other_libraries_are_answered():
    for name, ours in (("mae", "absolute_error"), ("L1Loss", "absolute_error"), ("smooth_l1", "huber")):
        with pytest.raises(ValueError, match=f'pass "{ours}"'):
            fn.losses.loss_function(name)
    with pytest.raises(AttributeError, match=r"fn.Huber\(delta=...\)"):
        fn.HuberLoss  # noqa: B018
