"""`fn.data.two_classes`: shapes, determinism, and classes that no line separates."""

import numpy as np
import pytest

from fastnn.data import two_classes


def test_shapes_dtypes_and_balance():
    x, y = two_classes(101)
    assert x.shape == (101, 2)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert y[:6].tolist() == [0, 1, 0, 1, 0, 1]
    assert y.sum() == 50


def test_the_seed_determines_the_points():
    x, _ = two_classes(50, seed=3)
    np.testing.assert_array_equal(x, two_classes(50, seed=3)[0])
    assert not np.array_equal(x, two_classes(50, seed=4)[0])


def test_points_without_noise_lie_on_two_half_circles():
    x, y = two_classes(1000, noise=0)
    centre = np.where(y[:, np.newaxis] == 0, [-0.5, -0.25], [0.5, 0.25])
    np.testing.assert_allclose(np.hypot(*(x - centre).T), 1, rtol=1e-6)
    assert ((x - centre)[y == 0, 1] > -1e-6).all()
    assert ((x - centre)[y == 1, 1] < 1e-6).all()


def test_the_noise_has_the_given_standard_deviation():
    offset = two_classes(4000, noise=0.3)[0] - two_classes(4000, noise=0)[0]
    np.testing.assert_allclose(offset.std(axis=0), 0.3, rtol=0.05)


def test_nearest_neighbours_separate_the_classes_and_no_line_does():
    x, y = two_classes(1000, seed=0)
    design = np.column_stack([x, np.ones(len(x))])
    line = design @ np.linalg.lstsq(design, 2.0 * y - 1, rcond=None)[0] > 0
    assert (line == y).mean() < 0.9
    x_new, y_new = two_classes(200, seed=1)
    nearest = np.linalg.norm(x_new[:, np.newaxis] - x, axis=2).argmin(axis=1)
    assert (y[nearest] == y_new).mean() > 0.98


@pytest.mark.parametrize("n", [0, -1])
def test_invalid_n_is_rejected(n):
    with pytest.raises(ValueError, match=f"at least 1, not {n}"):
        two_classes(n)


@pytest.mark.parametrize("noise", [-0.1, float("nan")])
def test_invalid_noise_is_rejected(noise):
    with pytest.raises(ValueError, match=f"at least 0, not {noise}"):
        two_classes(10, noise=noise)
