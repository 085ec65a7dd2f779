"""Binary cross-entropy, Dice and focal losses: the identities of report S4, PyTorch's values, training."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import BACKENDS

GAMMAS = [0, 0.5, 1, 2, 5]
every_backend = pytest.mark.parametrize("name", BACKENDS)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def value_and_gradient(loss, z, target):
    target = loss.targets(target, z.shape[1:], z.dtype)
    value, dz = loss.value_and_gradient(z, target)
    return value[0], dz


def logits(*shape, seed=0):
    return 3 * np.random.default_rng(seed).standard_normal(shape)


# Report S4


@every_backend
def test_s4_10_the_gradient_of_cross_entropy_on_logits_is_y_minus_t(name):
    z = logits(7, 5)
    with fn.backend(name):
        t = np.eye(5)[np.arange(7) % 5]
        _, dz = value_and_gradient(fn.CrossEntropy(reduction="sum"), z, t)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(dz, p - t, atol=1e-14)
        soft = np.random.default_rng(1).random((7, 5))
        _, dz = value_and_gradient(fn.BinaryCrossEntropy(reduction="sum"), z, soft)
        np.testing.assert_allclose(dz, sigmoid(z) - soft, atol=1e-14)


@every_backend
@pytest.mark.parametrize("t", [1, 0.3, 0.9])
def test_s4_11_dice_of_one_output(name, t):
    """L = 1 - 2 y t / (y + t),  dL/dz = (y - 1) / (2 y) (1 - L)^2."""
    z = np.linspace(-8, 8, 41)[:, None]
    y = sigmoid(z)
    with fn.backend(name):
        losses = fn.dice(z, np.full_like(z, t), smooth=0, reduction="none")
        _, dz = value_and_gradient(fn.Dice(smooth=0, reduction="sum"), z, np.full_like(z, t))
    L = 1 - 2 * y * t / (y + t)
    np.testing.assert_allclose(losses, L, atol=1e-15)
    np.testing.assert_allclose(dz, (y - 1) / (2 * y) * (1 - L) ** 2, atol=1e-15)


@every_backend
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("t", [0, 0.4, 1])
def test_s4_12_binary_focal(name, gamma, t):
    """The report's loss and dL/dy = -1/(y(1-y)) [t(1-y)^g (g e_y + 1 - y) + (t-1) y^g (g e_{1-y} + y)]."""
    z = np.linspace(-6, 6, 41)[:, None]
    y = sigmoid(z)
    L = -((1 - y) ** gamma * t * np.log(y) + y**gamma * (1 - t) * np.log(1 - y))
    e_y, e_not = -y * np.log(y), -(1 - y) * np.log(1 - y)
    dL_dy = t * (1 - y) ** gamma * (gamma * e_y + 1 - y) + (t - 1) * y**gamma * (gamma * e_not + y)
    dL_dy /= -y * (1 - y)
    target = np.full_like(z, t)
    with fn.backend(name):
        losses = fn.binary_focal(z, target, gamma=gamma, reduction="none")
        _, dz = value_and_gradient(fn.BinaryFocal(gamma=gamma, reduction="sum"), z, target)
    np.testing.assert_allclose(losses, L, rtol=1e-12)
    np.testing.assert_allclose(dz, dL_dy * y * (1 - y), rtol=1e-11, atol=1e-15)


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_focal_with_gamma_0_is_binary_cross_entropy_bit_for_bit(name, dtype):
    z, t = logits(50, 7).astype(dtype), np.random.default_rng(1).random((50, 7))
    with fn.backend(name):
        value, dz = value_and_gradient(fn.BinaryFocal(gamma=0, weight=[1, 2, 3, 4, 5, 6, 7]), z, t)
        expected, expected_dz = value_and_gradient(fn.BinaryCrossEntropy(weight=[1, 2, 3, 4, 5, 6, 7]), z, t)
    assert value == expected
    assert dz.tobytes() == expected_dz.tobytes()


@every_backend
@pytest.mark.parametrize("weight", [None, [0.5, 1, 2, 0, 3]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("target", [np.arange(40) % 5, np.random.default_rng(2).dirichlet(np.ones(5), 40)])
def test_focal_with_gamma_0_is_cross_entropy(name, weight, reduction, target):
    z = logits(40, 5)
    with fn.backend(name):
        value, dz = value_and_gradient(fn.Focal(gamma=0, weight=weight, reduction=reduction), z, target)
        expected, expected_dz = value_and_gradient(
            fn.CrossEntropy(weight=weight, reduction=reduction), z, target
        )
    assert value == pytest.approx(expected, rel=1e-15, abs=1e-15)
    np.testing.assert_allclose(dz, expected_dz, rtol=0, atol=1e-15)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_of_two_classes_is_binary_focal_of_their_difference(gamma):
    z = logits(30, 2)
    labels = np.arange(30) % 2
    expected = fn.binary_focal(z[:, 1:] - z[:, :1], labels, gamma=gamma)
    assert fn.focal(z, labels, gamma=gamma) == pytest.approx(expected, rel=1e-14)
    assert fn.focal(z, np.eye(2)[labels], gamma=gamma) == pytest.approx(expected, rel=1e-14)


# Comparison with PyTorch


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, [1.0, 0.5, 2.0]])
@pytest.mark.parametrize("pos_weight", [None, [3.0, 1.0, 0.2]])
@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3)])
def test_binary_cross_entropy_equals_pytorch(reduction, weight, pos_weight, shape):
    torch = pytest.importorskip("torch")
    z, t = logits(*shape) * 20, np.random.default_rng(1).random(shape)
    options = {"weight": weight, "pos_weight": pos_weight}
    tensors = {name: w and torch.tensor(w, dtype=torch.float64) for name, w in options.items()}
    theirs = torch.tensor(z, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        theirs, torch.tensor(t), reduction=reduction, **tensors
    )
    ours = fn.binary_cross_entropy(z, t, reduction=reduction, **options)
    np.testing.assert_allclose(ours, expected.detach(), rtol=1e-13)
    if reduction != "none":
        expected.backward()
        _, dz = value_and_gradient(fn.BinaryCrossEntropy(reduction=reduction, **options), z, t)
        np.testing.assert_allclose(dz, theirs.grad, atol=1e-14)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_equals_its_definition_under_autograd(gamma):
    torch = pytest.importorskip("torch")
    z, labels, w = logits(20, 6), np.arange(20) % 6, np.arange(1.0, 7)
    theirs = torch.tensor(z, requires_grad=True)
    log_p = torch.log_softmax(theirs, 1)[range(20), labels]
    weights = torch.tensor(w)[labels]
    expected = (-weights * (1 - log_p.exp()) ** gamma * log_p).sum() / weights.sum()
    expected.backward()
    value, dz = value_and_gradient(fn.Focal(gamma=gamma, weight=w), z, labels)
    assert value == pytest.approx(float(expected.detach()), rel=1e-13)
    np.testing.assert_allclose(dz, theirs.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_dice_of_images(smooth):
    torch = pytest.importorskip("torch")
    z, t = logits(3, 8, 9, 4), np.random.default_rng(1).integers(0, 2, (3, 8, 9, 4)).astype(float)
    w = np.array([1, 2, 3, 0.5])
    theirs = torch.tensor(z, requires_grad=True)
    p, target = torch.sigmoid(theirs), torch.tensor(t)
    ratio = (2 * (p * target).sum((1, 2)) + smooth) / ((p + target).sum((1, 2)) + smooth)
    expected = (torch.tensor(w) * (1 - ratio)).mean()
    expected.backward()
    value, dz = value_and_gradient(fn.Dice(smooth=smooth, weight=w), z, t)
    assert value == pytest.approx(float(expected.detach()), rel=1e-14)
    np.testing.assert_allclose(dz, theirs.grad, atol=1e-16)
    assert fn.dice(z, t, smooth=smooth, weight=w, reduction="none").shape == (3, 4)


# Extreme logits


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gamma", [0, 0.3, 2])
def test_extreme_logits_give_finite_loss_and_gradient(name, dtype, gamma):
    z = np.array([[-3e4], [-100], [-20], [0], [20], [100], [3e4]], dtype)
    with fn.backend(name):
        for t in (0, 0.5, 1):
            value, dz = value_and_gradient(fn.BinaryFocal(gamma=gamma, reduction="sum"), z, np.full(7, t))
            assert np.isfinite(value)
            assert np.isfinite(dz).all()
        for label in (0, 1):
            rows = np.concatenate((z, -z), axis=1)
            value, dz = value_and_gradient(fn.Focal(gamma=gamma, reduction="sum"), rows, np.full(7, label))
            assert np.isfinite(value)
            assert np.isfinite(dz).all()
        value, dz = value_and_gradient(fn.Dice(smooth=0), z, np.zeros(7))
        assert np.isfinite(value)
        assert np.isfinite(dz).all()


@every_backend
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-15)])
def test_small_losses_are_accurate(name, dtype, tolerance):
    """log(1 + exp(-z)) is about exp(-z), but in float32 1 + exp(-z) rounds to 1 from z = 17 on."""
    z = np.array([[2], [12], [16], [20], [35]], dtype)
    with fn.backend(name):
        losses = fn.binary_cross_entropy(z, np.ones((5, 1)), reduction="none")
    np.testing.assert_allclose(losses, np.log1p(np.exp(-z.astype(np.float64))), tolerance)


@every_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_focal_loss_ignores_impossible_classes(name, dtype):
    """For a logit of -inf with target 0, the product 0 * inf counts as 0 in loss and gradient."""
    z, labels = np.array([[1, -np.inf, 0.5], [0, 2, -np.inf]], dtype), np.array([0, 1])
    with fn.backend(name):
        of_labels = value_and_gradient(fn.Focal(), z, labels)
        of_rows = value_and_gradient(fn.Focal(), z, np.eye(3)[labels])
        two = value_and_gradient(fn.Focal(), z[:1, ::2].copy(), labels[:1])
    np.testing.assert_allclose(of_labels[0], of_rows[0], 1e-6)
    np.testing.assert_allclose(of_labels[1], of_rows[1], 1e-6, 1e-7)
    np.testing.assert_allclose(of_labels[1][0, ::2], two[1][0] / 2, 1e-6)
    assert of_labels[1][0, 1] == of_labels[1][1, 2] == 0


def test_dice_of_empty_targets_and_predictions_is_0():
    z = np.full((2, 5), -1e4, np.float32)
    value, dz = value_and_gradient(fn.Dice(smooth=0), z, np.zeros((2, 5)))
    assert value == 0
    assert not dz.any()


def test_dice_of_many_pixels_is_accurate():
    z = np.full((1, 3_000_000), 0.1, np.float32)
    t = np.ones_like(z)
    y = sigmoid(float(np.float32(0.1)))
    assert fn.dice(z, t, smooth=0) == pytest.approx(1 - 2 * y / (y + 1), rel=1e-6)


# Argument checks


Z = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("loss", "target", "error", "match"),
    [
        (
            fn.binary_cross_entropy,
            [0, 1, 0, 1],
            ValueError,
            r"binary_cross_entropy expects targets of shape \(N, 3\)",
        ),
        (
            fn.binary_cross_entropy,
            Z + 1.5,
            ValueError,
            "from 0 .no. to 1 .yes., got values from 1.5 to 1.5",
        ),
        (fn.binary_focal, Z - 1, ValueError, "binary_focal expects targets from 0"),
        (fn.dice, Z + 2, ValueError, "dice expects targets from 0"),
        (fn.dice, Z[:, :2], ValueError, r"dice expects targets of shape \(N, 3\), got \(4, 2\)"),
        (fn.dice, np.full((4, 3), "a"), TypeError, "targets must hold real numbers"),
        (fn.focal, [0, 1, 2, 3], ValueError, r"labels must lie in 0\.\.2"),
        (fn.focal, [0.0, 1, 2, 2], TypeError, "labels must be integers"),
    ],
)
def test_invalid_targets_are_rejected(loss, target, error, match):
    with pytest.raises(error, match=match):
        loss(Z, target)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: fn.Focal(gamma=-1), "gamma must be a finite number, at least 0"),
        (lambda: fn.BinaryFocal(gamma=float("nan")), "gamma must be a finite number"),
        (lambda: fn.BinaryFocal(alpha=1.5), r"alpha must be a finite number, in \[0, 1\]"),
        (lambda: fn.Dice(smooth=-1), "smooth must be a finite number"),
        (lambda: fn.Dice(weight=[-1]), "class weights must be a list of finite numbers"),
        (lambda: fn.BinaryCrossEntropy(pos_weight=[np.inf]), "pos_weight must be a list of finite numbers"),
        (lambda: fn.BinaryCrossEntropy(reduction="max"), "unknown reduction 'max'"),
        (lambda: fn.binary_cross_entropy(Z, Z, weight=[1, 2]), "2 weights for 3 outputs"),
        (lambda: fn.dice(Z, Z, weight=[1, 2]), "2 class weights for 1 classes"),
        (lambda: fn.focal(Z, [0, 1, 2, 0], weight=[1, 2]), "2 class weights for 3 classes"),
    ],
)
def test_invalid_options_are_rejected(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_alpha_weights_targets_1_and_0():
    z, t = logits(9, 1), (np.arange(9) % 2).astype(float)
    plain = fn.binary_focal(z, t, reduction="none")
    weighed = fn.binary_focal(z, t, alpha=0.25, weight=2, reduction="none")
    np.testing.assert_allclose(weighed, plain * np.where(t, 0.5, 1.5)[:, None], rtol=1e-14)


# Training


def data(count=400):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, count)
    return rng.standard_normal((count, 5), np.float32) + 2 * y[:, None].astype(np.float32), y


def net(outputs=1):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(5, 8), fn.GELU(), fn.Linear(8, outputs))


@every_backend
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "binary_focal", "dice"])
def test_training_with_a_single_output_reports_accuracy(name, loss):
    x, y = data()
    with fn.backend(name):
        model = net()
        history = fn.fit(
            model, (x, y), validation=(x, y), loss=loss, optimizer=fn.Adam(1e-2), epochs=5, seed=0
        )
        found = fn.evaluate(model, (x, y), loss=loss)
    assert found["accuracy"] == np.mean((model.predict(x)[:, 0] > 0) == y)
    assert found["accuracy"] == history["val_accuracy"][-1] > 0.95
    assert history["accuracy"][-1] > 0.9


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "binary_focal", "dice", "focal"])
def test_plan_equals_eager(loss):
    x, y = data()
    target = y if loss == "focal" else np.stack((y, 1 - y, y), axis=1)
    results = []
    for plan in (True, False):
        model = net(3)
        history = fn.fit(model, (x, target), loss=loss, epochs=2, seed=0, plan=plan)
        results.append(
            (history.updates["loss"], dict(history), [p.value.tobytes() for p in model.parameters()])
        )
    assert results[0] == results[1]


def test_soft_targets_have_no_accuracy():
    x, y = data()
    history = fn.fit(net(), (x, 0.1 + 0.8 * y), loss="binary_cross_entropy", seed=0)
    assert set(history) == {"loss"}


def test_accuracy_of_image_outputs_is_per_pixel():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 6, 6, 1), np.float32)
    t = (x > 0).astype(np.uint8)
    model = fn.Sequential(fn.Conv2d(1, 1, 1))
    found = fn.evaluate(model, (x, t), loss="dice")
    assert found["accuracy"] == np.mean((model.predict(x) > 0) == t)


@pytest.mark.parametrize(
    ("layer", "loss", "own"),
    [
        (fn.Sigmoid, "binary_cross_entropy", "sigmoid"),
        (fn.Softmax, "focal", "softmax"),
        (fn.Sigmoid, "dice", "sigmoid"),
    ],
)
def test_activation_before_a_loss_on_logits_warns(layer, loss, own):
    with pytest.warns(UserWarning, match=rf"ends with {layer.__name__}\(\).*applies {own} itself"):
        fn.Trainer(fn.Sequential(fn.Linear(5, 3), layer()), loss=loss)


def test_class_weights_and_focal_loss_raise_the_recall_of_a_rare_class():
    """Report S4-14: plain cross-entropy misses most samples of the rare class."""
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.04).astype(int)
    x = rng.standard_normal((4000, 5), np.float32) + y[:, None].astype(np.float32) * 0.8
    recall = {}
    for name, loss in {
        "plain": fn.BinaryCrossEntropy(),
        "weighted": fn.BinaryCrossEntropy(pos_weight=20),
        "focal": fn.BinaryFocal(gamma=2, alpha=0.9),
    }.items():
        model = net()
        fn.fit(model, (x, y), loss=loss, optimizer=fn.Adam(1e-2), batch_size=100, epochs=8, seed=0)
        recall[name] = np.mean(model.predict(x)[y == 1, 0] > 0)
    assert recall["plain"] < 0.5
    assert min(recall["weighted"], recall["focal"]) > recall["plain"] + 0.1
