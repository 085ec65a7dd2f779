"""Pooling kernels against plain nested loops; ties, NaN, invalid taps, and adjoint gradients."""

import numpy as np
import pytest

from fastnn.kernels import core, load

from .case import Arrays, Case
from .columns import both_types, every_backend, every_isa
from .comparison import check_each
from .pool_cases import POOLINGS, geometry, integers, max_pool_dx, pooling, with_ties

every_pool = pytest.mark.parametrize("pool", POOLINGS, ids=str)

nan, inf = np.nan, np.inf


def random_pools(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        pairs = [tuple(map(int, rng.integers(*ends, 2))) for ends in ((1, 12), (1, 5), (1, 5), (0, 4))]
        image, window, stride, padding = pairs
        images = int(rng.integers(1, 4)), *image, int(rng.integers(1, 71))
        pool = pooling(images, window, stride, padding)
        if min(pool.outputs) > 0:
            yield pool


def seen(pool):
    """(n, p, q, place, h, w) for all pixels (h, w) of images that a window sees in one of its places."""
    N, P, Q, _ = pool.outputs
    (R, S), stride, padding = geometry(pool)
    for n, p, q, r, s in np.ndindex(N, P, Q, R, S):
        h, w = p * stride[0] + r - padding[0], q * stride[1] + s - padding[1]
        if 0 <= h < pool.images[1] and 0 <= w < pool.images[2]:
            yield n, p, q, r * S + s, h, w


def max_by_loops(pool, x, dy):
    """y, taps and dx."""
    y, taps = np.full(pool.outputs, -inf), np.full(pool.outputs, -1)
    for n, p, q, place, h, w in seen(pool):
        for c in range(pool.images[3]):
            value, best = x[n, h, w, c], y[n, p, q, c]
            if taps[n, p, q, c] < 0 or value > best or np.isnan(value):
                y[n, p, q, c], taps[n, p, q, c] = value, place
    dx = np.zeros_like(x)
    for n, p, q, place, h, w in seen(pool):
        dx[n, h, w] += np.where(taps[n, p, q] == place, dy[n, p, q], 0)
    return y, np.maximum(taps, 0), dx


def average_by_loops(pool, x, dy):
    """y and dx."""
    y, dx = np.zeros(pool.outputs), np.zeros(x.shape)
    for n, p, q, _, h, w in seen(pool):
        y[n, p, q] += x[n, h, w]
        dx[n, h, w] += dy[n, p, q]
    places = pool.filters[0] * pool.filters[1]
    return y / places, dx / places


@every_backend
@every_pool
def test_nested_loops_agree(backend, pool):
    a, kernel = Arrays(np.float64, whole=False), load(backend)
    x, dy = with_ties(a(*pool.images), a.rng), a(*pool.outputs)
    y, taps, dx = a.poison(*pool.outputs), np.full(pool.outputs, -7), a.poison(*pool.images)
    kernel["max_pool_forward"](x, *geometry(pool), y, taps)
    kernel["max_pool_dx"](dy, taps, *geometry(pool), dx)
    for got, wanted in zip((y, taps, dx), max_by_loops(pool, x, dy), strict=True):
        np.testing.assert_allclose(got, wanted, 1e-12, 1e-12)
    x = a(*pool.images)
    kernel["avg_pool_forward"](x, *geometry(pool), True, y)
    kernel["avg_pool_dx"](dy, *geometry(pool), True, dx)
    for got, wanted in zip((y, dx), average_by_loops(pool, x, dy), strict=True):
        np.testing.assert_allclose(got, wanted, 1e-12, 1e-12)


@every_isa
@both_types
def test_random_geometries_have_the_bits_of_the_specification(dtype, isa):
    core.select_isa(isa)
    core.set_num_threads(3)
    for pool in random_pools(150):
        a = Arrays(dtype, whole=False)
        x, dy = with_ties(a(*pool.images), a.rng), a(*pool.outputs)
        results = []
        for backend in ("ref", "aot"):
            kernel, taps = load(backend), np.full(pool.outputs, -7, integers(dtype))
            y, mean, dx, spread = (a.poison(*s) for s in (pool.outputs, pool.images) for _ in range(2))
            kernel["max_pool_forward"](x, *geometry(pool), y, taps)
            kernel["max_pool_dx"](dy, taps, *geometry(pool), dx)
            kernel["avg_pool_forward"](np.nan_to_num(x, neginf=-2), *geometry(pool), True, mean)
            kernel["avg_pool_dx"](dy, *geometry(pool), True, spread)
            results.append([array.tobytes() for array in (y, taps, dx, mean, spread)])
        assert results[0] == results[1], str(pool)


# The values of a window of 2 x 2, the largest and its place.
WINDOWS = [
    ([3, 3, 3, 3], 3, 0),
    ([1, 3, 3, 2], 3, 1),
    ([1, 2, 3, 3], 3, 2),
    ([-5, -4, -3, -2], -2, 3),
    ([-inf, -inf, -inf, -inf], -inf, 0),
    ([-inf, -inf, 0, -inf], 0, 2),
    ([1, nan, 3, nan], nan, 3),
    ([nan, nan, 3, -inf], nan, 1),
    ([nan, 1, 2, 3], nan, 0),
    ([inf, inf, 1, nan], nan, 3),
    ([-0.0, 0.0, -0.0, 0.0], -0.0, 0),
]


@every_backend
@both_types
@pytest.mark.parametrize("channels", [1, 3, 16, 17])
def test_first_of_equal_values_wins_and_the_last_nan(backend, channels, dtype):
    def check(values, largest, place):
        x = np.zeros((1, 2, 2, channels), dtype)
        x[0, :, :, -1] = np.reshape(values, (2, 2))
        y, taps = np.zeros((1, 1, 1, channels), dtype), np.full((1, 1, 1, channels), -7, integers(dtype))
        load(backend)["max_pool_forward"](x, (2, 2), (2, 2), (0, 0), y, taps)
        found = y[0, 0, 0, -1]
        assert found.tobytes() == dtype(largest).tobytes() or np.isnan([found, largest]).all()
        assert taps[0, 0, 0].tolist() == [0] * (channels - 1) + [place]

    check_each(WINDOWS, check)


@every_backend
@both_types
def test_padding_is_never_the_largest(backend, dtype):
    """Not even where all that is inside is negative, and at no corner."""
    x = np.full((1, 3, 3, 2), -5, dtype)
    y, taps = np.zeros((1, 2, 2, 2), dtype), np.zeros((1, 2, 2, 2), integers(dtype))
    load(backend)["max_pool_forward"](x, (3, 3), (2, 2), (1, 1), y, taps)
    assert (y == -5).all()
    assert taps[0, ..., 0].tolist() == [[4, 3], [1, 0]]


@every_isa
@both_types
def test_invalid_taps_have_no_effect(dtype, isa):
    """Neither numbers beyond the window nor places outside of the image, on however many threads."""
    core.select_isa(isa)
    core.set_num_threads(3)
    limits = np.iinfo(integers(dtype))
    pool = pooling((7, 9, 8, 33), (3, 2), (2, 1), (1, 1))
    arguments = Case("max_pool_dx", max_pool_dx, (pool,)).arguments(dtype)
    for tap in (-1, 6, 7, limits.max, limits.min, -6):
        arguments["taps"][...] = tap
        arguments["dx"][...] = nan
        load("aot")["max_pool_dx"](**arguments)
        assert not arguments["dx"].any(), tap
    arguments["taps"][...] = 0  # above and to the left of the first pixel, at the edges
    arguments["dy"][...] = 1
    load("aot")["max_pool_dx"](**arguments)
    assert arguments["dx"].sum() == 7 * 33 * (pool.outputs[1] - 1) * (pool.outputs[2] - 1)


@every_backend
@every_pool
def test_gradients_are_adjoints(backend, pool):
    """<avg(x), dy> = <x, avg_dx(dy)>; and for the taps of x <max(x), dy> = <x, max_dx(dy)>, exactly."""
    a, kernel = Arrays(np.float64, whole=True), load(backend)
    x, dy = a(*pool.images), a(*pool.outputs)
    y, taps, dx = a.poison(*pool.outputs), np.full(pool.outputs, -7), a.poison(*pool.images)
    kernel["avg_pool_forward"](x, *geometry(pool), True, y)
    kernel["avg_pool_dx"](dy, *geometry(pool), True, dx)
    np.testing.assert_allclose(np.vdot(y, dy), np.vdot(x, dx), 1e-12)
    kernel["max_pool_forward"](x, *geometry(pool), y, taps)
    kernel["max_pool_dx"](dy, taps, *geometry(pool), dx)
    assert np.vdot(np.where(np.isinf(y), 0, y), dy) == np.vdot(x, dx)


@every_backend
def test_nan_reaches_all_windows_that_see_it_and_no_other(backend):
    x, y = np.zeros((1, 5, 5, 3)), np.zeros((1, 3, 3, 3))
    x[0, 2, 2, 1] = nan
    load(backend)["avg_pool_forward"](x, (3, 3), (1, 1), (0, 0), True, y)
    assert np.isnan(y[..., 1]).all()
    assert not y[..., ::2].any()
    dy, dx = np.zeros((1, 3, 3, 3)), np.zeros_like(x)
    dy[0, 0, 0, 2] = nan
    load(backend)["avg_pool_dx"](dy, (3, 3), (1, 1), (0, 0), True, dx)
    assert np.isnan(dx[0, :3, :3, 2]).all()
    assert np.isnan(dx).sum() == 9
    load(backend)["max_pool_dx"](dy, np.full(dy.shape, 4), (3, 3), (1, 1), (0, 0), dx)
    assert np.isnan(dx[0, 1, 1, 2])
    assert np.isnan(dx).sum() == 1


@pytest.mark.parametrize(("kernel", "dtype"), [("max_pool_forward", np.float32), ("max_pool_dx", np.float64)])
@pytest.mark.parametrize("backend", ["aot", "jit"])
def test_taps_are_as_wide_as_the_floats(backend, kernel, dtype):
    x, y = np.zeros((1, 2, 2, 2), dtype), np.zeros((1, 1, 1, 2), dtype)
    wrong = np.zeros(y.shape, np.int64 if dtype == np.float32 else np.int32)
    pairs = (2, 2), (2, 2), (0, 0)
    arguments = (x, *pairs, y, wrong) if kernel == "max_pool_forward" else (y, wrong, *pairs, x)
    with pytest.raises((TypeError, ValueError)):
        load(backend)[kernel](*arguments)


def test_a_window_of_too_many_places_is_rejected():
    x = np.zeros((1, 2, 2, 1), np.float32)
    with pytest.raises(ValueError, match="window must have fewer than"):
        load("aot")["avg_pool_forward"](x, (2**16, 2**15), (1, 1), (2**15, 2**14), True, x.copy())
