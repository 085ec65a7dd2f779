"""`fn.data.holdout` and `fn.data.stratified`: which sample goes into which part."""

import numpy as np
import pytest

from fastnn.data import holdout, stratified

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.fixture
def data():
    """Ten samples; each row of x (10, 2) is different."""
    return np.arange(20).reshape(10, 2), np.array([0, 0, 1, 0, 1, 0, 0, 2, 0, 0])


def whole(parts):
    """The samples of both parts, each with its label, in order."""
    (xa, ya), (xb, yb) = parts
    x, y = np.concatenate([xa, xb]), np.concatenate([ya, yb])
    order = np.argsort(x[:, 0])
    return x[order], y[order]


def test_holdout_returns_views_and_holds_out_the_last_samples(data):
    x, y = data
    (xa, ya), (xb, yb) = holdout(x, y, 3)
    for part, expected, source in [(xa, x[:7], x), (ya, y[:7], y), (xb, x[7:], x), (yb, y[7:], y)]:
        np.testing.assert_array_equal(part, expected)
        assert np.shares_memory(part, source)


def test_holdout_with_a_seed_shuffles_samples_with_their_labels(data):
    x, y = data
    parts = holdout(x, y, 3, seed=1)
    assert [len(x) for x, _ in parts] == [7, 3]
    for found, expected in zip(whole(parts), data, strict=True):
        np.testing.assert_array_equal(found, expected)
    again, other = holdout(x, y, 3, seed=1), holdout(x, y, 3, seed=2)
    np.testing.assert_array_equal(parts[1][0], again[1][0])
    assert not np.array_equal(parts[1][0], other[1][0])
    assert not np.array_equal(parts[1][0], x[7:])


@pytest.mark.parametrize("n", [1, 9, np.uint8(3)])
def test_holdout_accepts_every_integer_that_leaves_two_parts(data, n):
    parts = holdout(*data, n)
    assert [len(x) for x, _ in parts] == [10 - int(n), n]


def test_holdout_of_many_samples_with_n_of_a_small_integer_type():
    first, last = holdout(np.zeros(300), np.zeros(300), np.uint8(5))
    assert len(first[0]) == 295
    assert len(last[0]) == 5


@pytest.mark.parametrize("n", [0, -1, 10, 11, 0.2, 3.0])
def test_holdout_rejects_invalid_n(data, n):
    with pytest.raises(ValueError, match=rf"an integer from 1 to 9, not {n}"):
        holdout(*data, n)


def test_stratified_takes_the_first_samples_of_each_class(data):
    x, y = data
    (xa, ya), (xb, yb) = stratified(x, y, 0.5)  # 3 of seven zeros, 1 of two ones, 0 of one two
    first = [0, 1, 2, 3]
    second = [4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(xa, x[first])
    np.testing.assert_array_equal(ya, y[first])
    np.testing.assert_array_equal(xb, x[second])
    np.testing.assert_array_equal(yb, y[second])


def test_stratified_with_a_seed_shuffles_samples_with_their_labels(data):
    x, y = data
    parts = stratified(x, y, 0.5, seed=1)
    for found, expected in zip(whole(parts), data, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.bincount(parts[0][1]), [3, 1])
    np.testing.assert_array_equal(parts[0][0], stratified(x, y, 0.5, seed=1)[0][0])
    assert not np.array_equal(parts[0][0], stratified(x, y, 0.5, seed=2)[0][0])
    assert not np.array_equal(parts[0][0], stratified(x, y, 0.5)[0][0])


@pytest.mark.parametrize("seed", [None, 0])
def test_stratified_split_of_the_size_of_mnist(seed):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(10), MNIST_COUNTS))
    (xa, ya), (xb, yb) = stratified(np.arange(60_000), y, 0.8, seed=seed)
    assert (len(ya), len(yb)) == (47_995, 12_005)
    assert np.bincount(ya).tolist() == [int(0.8 * n) for n in MNIST_COUNTS]
    np.testing.assert_array_equal(np.sort(np.concatenate([xa, xb])), np.arange(60_000))
    np.testing.assert_array_equal(ya, y[xa])
    np.testing.assert_array_equal(yb, y[xb])


def test_stratified_accepts_negative_labels_and_small_integer_types():
    (_, ya), (_, yb) = stratified(np.zeros(4), np.array([-1, 1, -1, 1], np.int8), 0.5)
    assert ya.tolist() == yb.tolist() == [-1, 1]
    assert ya.dtype == np.int8


@pytest.mark.parametrize("number", [float, np.float32, np.float64])
def test_stratified_counts_as_decimal_fractions_do(number):
    """0.29 * 100 is 28.999999999999996 in float64, and float32 holds 0.29 as 0.28999999165534973."""
    x = np.arange(100)
    for percent in range(1, 100):
        for fraction in (number(percent / 100), number(f"0.{percent:02}")):
            (first, _), _ = stratified(x, np.zeros(100, np.int64), fraction)
            assert len(first) == percent
    assert len(stratified(x[:3], np.zeros(3, np.int64), number(1 / 3))[0][0]) == 1
    assert len(stratified(x, np.zeros(100, np.int64), number(0.2899))[0][0]) == 28


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_stratified_rejects_invalid_fractions(data, fraction):
    with pytest.raises(ValueError, match=rf"between 0 and 1, not {fraction}"):
        stratified(*data, fraction)


def test_stratified_rejects_a_fraction_that_leaves_the_first_part_empty(data):
    with pytest.raises(ValueError, match=r"no class has enough samples to give 0\.1"):
        stratified(*data, 0.1)


@pytest.mark.parametrize("y", [np.eye(10), np.eye(10, dtype=int), np.zeros(10), np.array(["a"] * 10)])
def test_stratified_rejects_labels_that_are_not_integers_of_one_dimension(data, y):
    with pytest.raises(ValueError, match=r"integer labels of shape \(N,\)"):
        stratified(data[0], y, 0.5)


@pytest.mark.parametrize("function", [lambda x, y: holdout(x, y, 1), lambda x, y: stratified(x, y, 0.5)])
@pytest.mark.parametrize(("x", "y"), [(np.zeros((3, 2)), np.zeros(4, int)), (np.zeros(()), np.zeros(()))])
def test_different_lengths_are_rejected(function, x, y):
    with pytest.raises(ValueError, match="one entry per sample, so shapes"):
        function(x, y)
