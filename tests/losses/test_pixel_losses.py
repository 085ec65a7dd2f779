"""Losses of pixels and steps, compared with PyTorch, and `ignore_index` of Dice."""

import itertools

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import BACKENDS

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(3, 4, 5, 6)) * 2
LABELS = RNG.integers(0, 6, (3, 4, 5))
WEIGHT = [1.0, 0.5, 2.0, 0.25, 3.0, 0.0]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("ignored", [None, -100, 3])
def test_cross_entropy_of_pixels_equals_pytorch(reduction, weight, ignored):
    torch = pytest.importorskip("torch")
    for shape, smoothing, dtype in itertools.product(
        [(3, 20, 6), (3, 4, 5, 6), (3, 4, 5, 1, 6)], [0.0, 0.1], [np.float64, np.float32]
    ):
        z, y = Z.reshape(shape).astype(dtype), LABELS.reshape(shape[:-1]).copy()
        if ignored == -100:
            y.flat[::3] = ignored
        theirs_z = torch.tensor(np.moveaxis(z, -1, 1).copy(), requires_grad=True)
        value = torch.nn.functional.cross_entropy(
            theirs_z,
            torch.tensor(y),
            None if weight is None else torch.tensor(weight, dtype=theirs_z.dtype),
            ignore_index=-100 if ignored is None else ignored,
            label_smoothing=smoothing,
            reduction=reduction,
        )
        value.sum().backward()
        tolerance = 1e-12 if dtype == np.float64 else 1e-6
        loss = fn.CrossEntropy(
            weight=weight, label_smoothing=smoothing, ignore_index=ignored, reduction=reduction
        )
        assert_close = {"rtol": tolerance, "atol": tolerance}
        np.testing.assert_allclose(loss(z, y), value.detach().numpy(), **assert_close)
        counted = loss.counted(y, shape[1:])
        _, dz = loss.value_and_gradient(
            z,
            loss.targets(y, shape[1:], z.dtype),
            None if counted is None else counted.astype(dtype),
        )
        np.testing.assert_allclose(dz, np.moveaxis(theirs_z.grad.numpy(), 1, -1), **assert_close)


def test_probabilities_of_pixels_equal_pytorch():
    torch = pytest.importorskip("torch")
    soft = RNG.random(Z.shape)
    soft /= soft.sum(axis=-1, keepdims=True)
    first = [torch.tensor(np.moveaxis(array, -1, 1).copy()) for array in (Z, soft)]
    for weight in (None, WEIGHT):
        theirs = torch.nn.functional.cross_entropy(
            *first, None if weight is None else torch.tensor(weight, dtype=torch.float64)
        )
        # PyTorch divides the sum over pixels by the number of pixels, as we do.
        assert fn.cross_entropy(Z, soft, weight=weight) == pytest.approx(theirs.item(), rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(3, 7), (3, 4, 5), (3, 4, 5, 1), (3, 4, 5, 3)], ids=str)
def test_dice_leaves_ignored_targets_out(shape, backend):
    """The pixels that do not count are the same in all classes, so that the others can be cut out."""
    z, t = RNG.normal(size=shape), RNG.integers(0, 2, shape)
    classes = shape[-1] if len(shape) == 4 else 1
    kept = np.array([0, 2, 3]) if len(shape) == 2 else np.array([0, 2, 3, 7, 11, 19])
    flat_z, flat_t = z.reshape(3, -1, classes), t.reshape(3, -1, classes)
    y = np.full_like(flat_t, 255)
    y[:, kept] = flat_t[:, kept]
    for options in ({}, {"smooth": 0.0}, {"weight": np.arange(1, classes + 1)}, {"reduction": "none"}):
        loss, plain = fn.Dice(ignore_index=255, **options), fn.Dice(**options)
        with fn.backend(backend):
            found = loss(z, y.reshape(shape))
            some = [array[:, None, kept].copy() for array in (flat_z, flat_t)]
            np.testing.assert_allclose(found, plain(*some), rtol=1e-13)
            _, dz = loss.value_and_gradient(z, loss.targets(y.reshape(shape), shape[1:], z.dtype))
            _, expected = plain.value_and_gradient(some[0], some[1].astype(float))
        dz = dz.reshape(flat_z.shape)
        np.testing.assert_allclose(dz[:, kept], expected.reshape(3, -1, classes), rtol=1e-12)
        assert (np.delete(dz, kept, axis=1) == 0).all()


def test_dice_leaves_out_samples_of_which_nothing_counts():
    z, y = RNG.normal(size=(4, 3, 3, 2)), RNG.integers(0, 2, (4, 3, 3, 2))
    y[2] = 255
    loss = fn.Dice(ignore_index=255, smooth=0)
    some = [0, 1, 3]
    assert loss(z, y) == pytest.approx(fn.Dice(smooth=0)(z[some], y[some]), rel=1e-14)
    assert fn.dice(z, y, ignore_index=255, smooth=0) == loss(z, y)
    net = fn.Sequential(fn.Conv2d(2, 2, 1)).to(np.float64)
    found, expected = (fn.evaluate(net, (z[rows], y[rows]), loss=loss) for rows in (slice(None), some))
    assert found == pytest.approx(expected, rel=1e-12)
    assert "accuracy" in found


@pytest.mark.parametrize("plan", [True, False])
def test_training_by_dice_with_ignored_pixels(plan):
    """The gradient is that of finite differences, and the accuracy counts the pixels that count."""
    x, fraction = RNG.normal(size=(12, 5, 5, 1)), RNG.random((12, 5, 5, 1))
    y = np.where(fraction < 0.7, x > 0.2, 255)
    y[4] = 255
    loss = fn.Dice(ignore_index=255)
    fn.manual_seed(0)
    net = fn.Sequential(fn.Conv2d(1, 3, 1), fn.Tanh(), fn.Conv2d(3, 1, 1)).to(np.float64)
    assert fn.gradcheck(net, (x, y, np.arange(12) % 3), loss=loss) < 1e-7
    history = fn.fit(
        net, (x, y), validation=(x, y), loss=loss, optimizer=fn.Adam(0.1), epochs=60, batch_size=4, plan=plan,
        seed=0,
    )  # fmt: skip
    assert history["accuracy"][-1] > 0.95
    right = (net.predict(x) > 0) == (y == 1)
    assert history["val_accuracy"][-1] == pytest.approx(right[y != 255].mean())


@pytest.mark.parametrize("option", [1, 0])
def test_a_target_cannot_be_the_ignore_index_of_dice(option):
    with pytest.raises(ValueError, match=f"ignore_index must not be {option}, which is a target"):
        fn.Dice(ignore_index=option)
    with pytest.raises(ValueError, match="got values from 0 to 254"):
        fn.Dice(ignore_index=255)(np.zeros((2, 3)), np.array([[0, 1, 254], [0, 1, 255]]))
