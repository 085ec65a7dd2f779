"""Normalization kernels: numerically hard rows, NaN, and gradients against finite differences."""

import numpy as np
import pytest

from fastnn.kernels import core, load

from .case import Arrays
from .columns import both_types, every_backend, every_column, every_isa, kernels_of

nan, inf = np.nan, np.inf
EPSILON = 1e-5

# The mean and the standard deviation of channels.
HARD = [(1e4, 1e-2), (-1e4, 1e-2), (1e4, 1.0), (0.0, 1e-12), (1e-3, 1e3), (1e6, 1e4), (3.0, 0.0)]


def moments_of(x, backend):
    mean, var = np.full((2, x.shape[1]), nan, x.dtype)
    load(backend)["batch_moments"](x, mean, var)
    return mean, var


def assert_right_moments(x, backend):
    wide = x.astype(np.longdouble)
    mean, var = moments_of(x, backend)
    precision = np.finfo(x.dtype).eps
    np.testing.assert_allclose(mean, wide.mean(axis=0), 8 * precision, 8 * precision * wide.std(axis=0).min())
    # Beside the type's own rounding the chunks' means are rounded in double.
    std = wide.std(axis=0)
    condition = np.max(np.abs(mean) / np.where(std == 0, 1, std))
    np.testing.assert_allclose(
        var, wide.var(axis=0), 64 * precision + float(condition) * np.finfo(np.float64).eps
    )


@every_backend
@pytest.mark.parametrize(("mean", "std"), HARD)
def test_moments_keep_their_digits_in_float32(backend, mean, std):
    """The naive E[x^2] - E[x]^2 has none left of the first of them: 1e8 in float32 is exact up to 8."""
    rng = np.random.default_rng(0)
    assert_right_moments((mean + std * rng.standard_normal((5000, 37))).astype(np.float32), backend)


@every_isa
@both_types
@pytest.mark.parametrize(("mean", "std"), HARD)
def test_moments_keep_their_digits_with_each_instruction_set(mean, std, dtype, isa):
    core.select_isa(isa)
    rng = np.random.default_rng(1)
    for shape in ((5000, 37), (63, 5), (65, 130), (2, 3)):
        x = (mean + std * rng.standard_normal(shape)).astype(dtype)
        assert_right_moments(x, "aot")


@every_backend
@both_types
def test_moments_of_rows_that_drift(backend, dtype):
    """Each chunk has another mean, far from that of the whole: what Chan's formula adds is most of it."""
    x = np.repeat(np.arange(1000.0)[:, None], 3, axis=1).astype(dtype)
    mean, var = moments_of(x, backend)
    np.testing.assert_allclose(mean, 499.5, 1e-7)
    np.testing.assert_allclose(var, (1000**2 - 1) / 12, 1e-6)


@every_backend
@both_types
def test_moments_of_special_rows(backend, dtype):
    one = np.array([[3, -2]], dtype)
    mean, var = moments_of(one, backend)
    np.testing.assert_array_equal(mean, [3, -2])
    np.testing.assert_array_equal(var, 0)
    assert np.isnan(moments_of(one[:0], backend)).all()
    for spot in (0, 70, 199):
        x = np.ones((200, 3), dtype)
        x[spot, 0], x[spot, 2] = nan, inf
        mean, var = moments_of(x, backend)
        assert mean[1] == 1
        assert var[1] == 0
        assert np.isnan([mean[0], *var[::2]]).all()
        assert not np.isfinite(mean[2])


@every_backend
@both_types
def test_running_moments_by_hand(backend, dtype):
    """A tenth of the batch's, whose variance is taken times 5 / 4; what they were is kept."""
    mean, var, running_mean, running_var = (np.array(v, dtype) for v in ([10, 0], [4, 8], [1, 2], [3, 5]))
    before = np.full((2, 2), nan, dtype)
    load(backend)["running_moments"](mean, var, 5, 0.1, running_mean, running_var, before)
    np.testing.assert_allclose(running_mean, [1.9, 1.8], 1e-6)
    np.testing.assert_allclose(running_var, [2.7 + 0.5, 4.5 + 1], 1e-6)
    np.testing.assert_array_equal(before, [[1, 2], [3, 5]])


@every_backend
@both_types
def test_batch_norm_by_hand(backend, dtype):
    x, y = np.array([[1.0, 10], [3, 30]], dtype), np.full((2, 2), nan, dtype)
    mean, var, gamma, beta = (np.array(v, dtype) for v in ([2, 20], [3, 99], [4, 1], [1, -1]))
    load(backend)["batch_norm_forward"](x, mean, var, gamma, beta, 1.0, y)
    np.testing.assert_allclose(y, [[-1, -2], [3, 0]], 1e-6, 1e-6)
    load(backend)["batch_norm_forward"](x, mean, var, None, None, 1.0, y)
    np.testing.assert_allclose(y, [[-0.5, -1], [0.5, 1]], 1e-6)


@every_backend
def test_nan_stays_in_its_channel_or_row(backend):
    a, kernel = Arrays(np.float64, whole=False), load(backend)
    x, dy, y = a(9, 5), a(9, 5), a.poison(9, 5)
    x[3, 2] = nan
    mean, var = moments_of(x, backend)
    kernel["batch_norm_forward"](x, mean, var, None, None, EPSILON, y)
    assert np.isnan(y[:, 2]).all()
    assert np.isnan(y).sum() == 9
    sums = a.poison(2, 5)
    kernel["batch_norm_sums"](x, dy, mean, var, EPSILON, *sums)
    assert np.isnan(sums).tolist() == [[False, False, True, False, False], [False] * 5]
    moments = a.poison(9, 2)
    kernel["layer_norm_forward"](x, None, None, EPSILON, y, moments)
    assert np.isnan(y[3]).all()
    assert np.isnan(y).sum() == 5
    assert np.isnan(moments).sum() == 2


@every_backend
@pytest.mark.parametrize("rows", [2, 7, 70])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_gradient(backend, rows, affine, finite_differences):
    """Through the moments as well: the function is that of x alone."""
    a, kernel = Arrays(np.float64, whole=False), load(backend)
    x, dy, y, dx = a(rows, 3), a(rows, 3), a.poison(rows, 3), a.poison(rows, 3)
    gamma, beta, (mean, var, dgamma, dbeta) = a(3), a(3), a.poison(4, 3)
    scale, shift = (gamma, beta) if affine else (None, None)

    def weighted_sum():
        kernel["batch_moments"](x, mean, var)
        kernel["batch_norm_forward"](x, mean, var, scale, shift, EPSILON, y)
        return np.vdot(y, dy)

    weighted_sum()
    kernel["batch_norm_sums"](x, dy, mean, var, EPSILON, dgamma, dbeta)
    kernel["batch_norm_dx"](x, dy, mean, var, scale, EPSILON, dgamma, dbeta, dx)
    np.testing.assert_allclose(dx, finite_differences(weighted_sum, x), 1e-5, 1e-7)
    if affine:
        np.testing.assert_allclose(dgamma, finite_differences(weighted_sum, gamma), 1e-5, 1e-7)
        np.testing.assert_allclose(dbeta, finite_differences(weighted_sum, beta), 1e-5, 1e-7)


@every_backend
@pytest.mark.parametrize("features", [2, 7, 70])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_gradient(backend, features, affine, finite_differences):
    a, kernel = Arrays(np.float64, whole=False), load(backend)
    x, dy, y, dx = a(3, features), a(3, features), a.poison(3, features), a.poison(3, features)
    gamma, beta, (dgamma, dbeta) = a(features), a(features), a.poison(2, features)
    scale, shift, moments = *((gamma, beta) if affine else (None, None)), a.poison(3, 2)

    def weighted_sum():
        kernel["layer_norm_forward"](x, scale, shift, EPSILON, y, moments)
        return np.vdot(y, dy)

    weighted_sum()
    kernel["layer_norm_dx"](x, dy, scale, moments, dx)
    kernel["layer_norm_dw"](x, dy, moments, dgamma, dbeta)
    np.testing.assert_allclose(dx, finite_differences(weighted_sum, x), 1e-5, 1e-7)
    if affine:
        np.testing.assert_allclose(dgamma, finite_differences(weighted_sum, gamma), 1e-5, 1e-7)
        np.testing.assert_allclose(dbeta, finite_differences(weighted_sum, beta), 1e-5, 1e-7)


@every_isa
@both_types
def test_hard_rows_keep_their_deviation(dtype, isa):
    """1 / sqrt(var) of a row of mean 1e4 and deviation 1e-2."""
    core.select_isa(isa)
    rng = np.random.default_rng(0)
    for features in (17, 128, 1000):
        x = (1e4 + 1e-2 * rng.standard_normal((5, features))).astype(dtype)
        y, moments = np.empty_like(x), np.empty((5, 2), dtype)
        load("aot")["layer_norm_forward"](x, None, None, 0.0, y, moments)
        wide = x.astype(np.float64)
        np.testing.assert_allclose(moments[:, 1], 1 / wide.std(axis=1), 1e-5)
        np.testing.assert_allclose(moments[:, 0], wide.mean(axis=1), 1e-7)


@every_isa
@both_types
def test_whole_sums_are_exact(dtype, isa):
    """No row is lost between chunks, blocks and tails of vectors: dbeta in whole numbers below 2^24."""
    core.select_isa(isa)
    core.set_num_threads(3)
    rng = np.random.default_rng(0)
    for rows in (1, 63, 64, 65, 127, 129, 1000):
        for channels in (1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 130):
            dy = rng.integers(-1000, 1001, (rows, channels)).astype(dtype)
            zeros = np.zeros(channels, dtype)
            dgamma, dbeta = np.full((2, channels), nan, dtype)
            load("aot")["batch_norm_sums"](np.ones_like(dy), dy, zeros, zeros, 1.0, dgamma, dbeta)
            np.testing.assert_array_equal(dbeta, dy.sum(axis=0, dtype=np.float64))
            np.testing.assert_array_equal(dgamma, dbeta)


@every_column
@pytest.mark.parametrize("without", ["dgamma", "dbeta"])
def test_half_of_the_sums_is_rejected(without, column):
    call = kernels_of(column)["batch_norm_dx"]
    x, channels = np.zeros((3, 2)), np.zeros(2)
    arguments = {"x": x, "dy": x, "mean": channels, "var": channels, "gamma": None, "epsilon": 1e-5}
    arguments |= {"dgamma": channels, "dbeta": channels, "dx": x.copy(), without: None}
    with pytest.raises((TypeError, ValueError)):
        call(**arguments)
