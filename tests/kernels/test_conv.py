"""Convolution kernels: exact at several hundred random geometries, and against plain nested loops."""

from functools import lru_cache

import numpy as np
import pytest

from fastnn.kernels import core, load

from . import cases
from .case import Arrays, Case
from .columns import both_types, every_backend, every_isa
from .convolution import Convolution

PRODUCTS = ("conv_forward", "conv_dx", "conv_dw")


def random_convolutions(count):
    """Small ones, and some with many channels, so that all lanes, tiles and blocks have their tails."""
    rng = np.random.default_rng(0)
    found = []
    while len(found) < count // 4:  # by Winograd's algorithm
        image, padding = (tuple(map(int, rng.integers(low, high, 2))) for low, high in ((2, 14), (0, 4)))
        channels, outputs = (int(rng.integers(14, most)) for most in (40, 70))
        sizes = (int(rng.integers(1, 4)), *image, channels), (3, 3, outputs)
        convolution = Convolution(*sizes, padding=padding)
        if min(convolution.outputs) > 0:
            found.append(convolution)
    while len(found) < count:
        few, many = int(rng.integers(1, 5)), int(rng.integers(1, 71))
        groups = int(rng.choice([1, 1, 1, 2, 3, 4]))
        channels, outputs = ((few, many), (many, few), (few, few))[len(found) % 3]
        pairs = [
            tuple(map(int, rng.integers(low, high, 2)))
            for low, high in ((1, 15), (1, 5), (1, 4), (0, 5), (1, 4))
        ]
        image, taps, stride, padding, dilation = pairs
        sizes = (int(rng.integers(1, 4)), *image, channels * groups), (*taps, outputs * groups)
        more = tuple(map(int, rng.integers(-1, 3, 2)))
        convolution = Convolution(*sizes, stride, padding, dilation, groups, more)
        if min(convolution.outputs) > 0:
            found.append(convolution)
    return found


def as_cases(convolution):
    yield Case("conv_forward", cases.conv_forward, (convolution, True), whole=True)
    yield Case("conv_dx", cases.conv_dx, (convolution,), whole=True)
    yield Case("conv_dw", cases.conv_dw, (convolution,), whole=True)


# Whose filters are summed over chunks of images, or over chunks of lines.
MANY_IMAGES = (
    Convolution((16, 6, 7, 1), (3, 3, 5)),
    Convolution((19, 9, 8, 3), (5, 3, 17), (2, 1), (2, 1)),
    Convolution((33, 5, 6, 4), (2, 3, 6), padding=(1, 1), dilation=(2, 1), groups=2),
)
LARGE_IMAGES = (
    Convolution((2, 70, 75, 3), (3, 3, 5), padding=(1, 1)),
    Convolution((1, 131, 47, 2), (3, 2, 3), (2, 1)),
    Convolution((17, 61, 43, 1), (2, 2, 2)),
)


@lru_cache(maxsize=1)  # the instruction sets take turns at the same arguments
def arguments_and_results(dtype):
    found = []
    for convolution in (*random_convolutions(400), *MANY_IMAGES, *LARGE_IMAGES):
        for case in as_cases(convolution):
            arguments, results = case.arguments(dtype), case.arguments(dtype)
            load("ref")[case.kernel](**results)
            found.append((case, arguments, results))
    return found


@every_isa
@both_types
def test_random_geometries_are_exact(dtype, isa):
    core.select_isa(isa)
    core.set_num_threads(3)
    for case, arguments, results in arguments_and_results(dtype):
        got = {name: a.copy() if isinstance(a, np.ndarray) else a for name, a in arguments.items()}
        load("aot")[case.kernel](**got)
        for name, wanted in results.items():
            if isinstance(wanted, np.ndarray):
                assert np.array_equal(got[name], wanted), f"{case}: {name}"


def test_sums_are_exact_in_float32():
    """The sums of absolute values stay below 2^24, so that no order of the terms rounds."""
    for case, arguments, _ in arguments_and_results(np.float64):
        positive = {name: np.abs(a) if isinstance(a, np.ndarray) else a for name, a in arguments.items()}
        load("ref")[case.kernel](**positive)
        assert all(a.max(initial=0) < 2**24 for a in positive.values() if isinstance(a, np.ndarray)), str(
            case
        )


def seen_pixels(convolution):
    """(n, p, q, r, s, h, w) for all pixels (h, w) inside of an image that a place (r, s) of a filter sees."""
    N, P, Q, R, S, _ = convolution.columns
    H, W = convolution.images[1:3]
    stride, padding, dilation = convolution.steps
    for n, p, q, r, s in np.ndindex(N, P, Q, R, S):
        h = p * stride[0] + r * dilation[0] - padding[0]
        w = q * stride[1] + s * dilation[1] - padding[1]
        if 0 <= h < H and 0 <= w < W:
            yield n, p, q, r, s, h, w


def by_loops(convolution, x, w, dy):
    """y, dx and dw of seven nested loops."""
    y, dx, dw = np.zeros(convolution.outputs), np.zeros(x.shape), np.zeros(w.shape)
    channels = w.shape[2]
    outputs = w.shape[3] * channels // x.shape[3]
    for n, p, q, r, s, i, j in seen_pixels(convolution):
        for c in range(x.shape[3]):
            for o in range(c // channels * outputs, (c // channels + 1) * outputs):
                y[n, p, q, o] += x[n, i, j, c] * w[r, s, c % channels, o]
                dx[n, i, j, c] += dy[n, p, q, o] * w[r, s, c % channels, o]
                dw[r, s, c % channels, o] += x[n, i, j, c] * dy[n, p, q, o]
    return y, dx, dw


SMALL = [conv for conv in cases.CONVOLUTIONS if np.prod(conv.columns) * conv.filters[2] < 40000]


@every_backend
@pytest.mark.parametrize("convolution", SMALL, ids=str)
def test_nested_loops_agree(backend, convolution):
    a = Arrays(np.float64, whole=False)
    x, w, dy = a(*convolution.images), a(*convolution.weights), a(*convolution.outputs)
    y, dx, dw = a.poison(*convolution.outputs), a.poison(*x.shape), a.poison(*w.shape)
    kernel = load(backend)
    kernel["conv_forward"](x, w, None, *convolution.steps, y)
    kernel["conv_dx"](dy, w, *convolution.steps, dx)
    kernel["conv_dw"](x, dy, *convolution.steps, dw)
    for got, wanted in zip((y, dx, dw), by_loops(convolution, x, w, dy), strict=True):
        np.testing.assert_allclose(got, wanted, 1e-12, 1e-12)


@every_backend
@pytest.mark.parametrize("convolution", cases.CONVOLUTIONS, ids=str)
def test_gradients_are_adjoints(backend, convolution):
    """<conv(x, w), dy> = <x, dx> = <w, dw>, and <im2col(x), c> = <x, col2im(c)>."""
    a = Arrays(np.float64, whole=True)
    x, w, dy = a(*convolution.images), a(*convolution.weights), a(*convolution.outputs)
    columns, c = a.poison(*convolution.columns), a(*convolution.columns)
    y, dx, dw = a.poison(*convolution.outputs), a.poison(*x.shape), a.poison(*w.shape)
    kernel = load(backend)
    kernel["conv_forward"](x, w, None, *convolution.steps, y)
    kernel["conv_dx"](dy, w, *convolution.steps, dx)
    kernel["conv_dw"](x, dy, *convolution.steps, dw)
    assert np.vdot(y, dy) == np.vdot(x, dx) == np.vdot(w, dw)
    kernel["im2col"](x, *convolution.steps, columns)
    inner = np.vdot(columns, c)
    kernel["col2im"](c, *convolution.steps, dx)
    assert inner == np.vdot(x, dx)


@every_isa
@both_types
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_zero_times_nan(value, dtype, isa):
    """All is 0 but one number that is not finite: so is what it is multiplied with, and nothing else."""
    core.select_isa(isa)
    x, w = np.zeros((1, 4, 4, 3), dtype), np.zeros((3, 3, 3, 5), dtype)
    dy, dx, dw = np.zeros((1, 4, 4, 5), dtype), np.empty_like(x), np.empty_like(w)
    x[0, 0, 0, 1] = value
    load("aot")["conv_forward"](x, w, None, (1, 1), (1, 1), (1, 1), dy)
    assert np.isnan(dy[0, :2, :2]).all()
    assert np.isnan(dy).sum() == 4 * 5
    dy = np.zeros_like(dy)
    load("aot")["conv_dw"](x, dy, (1, 1), (1, 1), (1, 1), dw)
    assert np.isnan(dw[:2, :2, 1]).all()
    assert np.isnan(dw).sum() == 4 * 5
    w[1, 1, 2] = value
    load("aot")["conv_dx"](dy, w, (1, 1), (1, 1), (1, 1), dx)
    assert np.isnan(dx[..., 2]).all()
    assert np.isnan(dx).sum() == 16


def test_steps_are_whole_numbers():
    conv = Convolution((2, 5, 5, 2), (3, 3, 2))
    arguments = Case("conv_forward", cases.conv_forward, (conv, True)).arguments(np.float32)
    with pytest.raises(TypeError):
        load("aot")["conv_forward"](**{**arguments, "stride": (1, 1.5)})


@pytest.mark.parametrize("threads", [1, 8, 64])
def test_memory_that_there_is_not_is_an_error(threads):
    core.set_num_threads(threads)
    stride = (2**24, 2**24)
    x, w, y = np.zeros((400, 2, 1, 1)), np.zeros((1, 1, 1, 1)), np.zeros((400, 31, 31, 1))
    with pytest.raises(MemoryError):
        load("aot")["conv_forward"](x, w, None, stride, (0, 0), (1, 1), y)


@every_backend
@both_types
def test_images_without_pixels(backend, dtype):
    kernels, one, two = load(backend), (1, 1), (2, 2)
    x, dy = np.ones((2, 4, 4, 16), dtype), np.ones((2, 2, 4, 16), dtype)
    no_outputs, no_pixels = np.empty((2, 0, 4, 16), dtype), np.empty((2, 0, 4, 16), dtype)
    w, dw = np.ones((3, 3, 16, 16), dtype), np.ones((3, 3, 16, 16), dtype)
    kernels["conv_forward"](x, w, None, one, one, one, no_outputs)
    kernels["conv_dx"](dy, w, one, two, one, no_pixels)
    kernels["conv_dw"](x, no_outputs, one, one, one, dw)
    assert not dw.any()


def test_no_memory_is_asked_for_where_none_is_needed():
    conv = Convolution((2, 6, 7, 3), (3, 3, 2))
    x, w, _, *steps, y = (
        Case("conv_forward", cases.conv_forward, (conv, False)).arguments(np.float32).values()
    )
    load("aot")["conv_forward"](x, w, None, *steps, y)
    wanted = np.empty_like(y)
    load("ref")["conv_forward"](x, w, None, *steps, wanted)
    np.testing.assert_allclose(y, wanted, 1e-5, 1e-5)


@every_isa
@pytest.mark.parametrize(
    ("channels", "outputs"),
    [(7, 33), (16, 33), (7, 3)],  # as products, by Winograd's algorithm, with vectors along the pixels
)
def test_an_image_alone_has_the_bits_it_has_among_others(channels, outputs, isa):
    core.select_isa(isa)
    conv = Convolution((5, 17, 19, channels), (3, 3, outputs), padding=(1, 1))
    x, w, b, *steps, y = Case("conv_forward", cases.conv_forward, (conv, True)).arguments(np.float32).values()
    core.set_num_threads(3)
    load("aot")["conv_forward"](x, w, b, *steps, y)
    for n in range(5):
        alone = np.empty_like(y[:1])
        load("aot")["conv_forward"](x[n : n + 1], w, b, *steps, alone)
        assert alone.tobytes() == y[n].tobytes()


@every_isa
@both_types
def test_scattered_gradients_have_the_same_bits_alone(dtype, isa):
    """The rows of a tile are images: their number must not matter."""
    core.select_isa(isa)
    conv = Convolution((27, 9, 10, 6), (5, 5, 16), stride=(2, 1), padding=(1, 0))
    rng = np.random.default_rng(0)
    dy, w, dx = (
        rng.standard_normal(shape).astype(dtype) for shape in (conv.outputs, conv.weights, conv.images)
    )
    load("aot")["conv_dx"](dy, w, *conv.steps, dx)
    for n in (0, 13, 26):
        alone = np.empty_like(dx[:1])
        load("aot")["conv_dx"](dy[n : n + 1], w, *conv.steps, alone)
        assert alone.tobytes() == dx[n].tobytes()


@every_isa
@both_types
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_not_finite_reaches_only_the_taps_that_read_it(value, dtype, isa):
    core.select_isa(isa)
    x, dy = np.ones((17, 9, 20, 2), dtype), np.ones((17, 5, 18, 3), dtype)
    x[3, 0, 19, 1] = value  # only the last filter column reads it, in the first row
    dw = np.empty((5, 3, 2, 3), dtype)
    load("aot")["conv_dw"](x, dy, (1, 1), (0, 0), (1, 1), dw)
    assert not np.isfinite(dw[0, 2, 1]).any()
    assert np.isfinite(dw).sum() == dw.size - 3


LONG = {
    "of patches": Convolution((4, 200, 200, 3), (3, 3, 8), padding=(1, 1)),
    "of patches, by images": Convolution((16, 100, 100, 1), (5, 5, 4), padding=(2, 2)),
    "by planes": Convolution((4, 200, 200, 1), (5, 5, 3), padding=(2, 2)),
    "by Winograd": Convolution((16, 64, 64, 16), (3, 3, 16), padding=(1, 1)),
    "depthwise": Convolution((4, 200, 200, 8), (3, 3, 8), padding=(1, 1), groups=8),
}


@every_isa
@pytest.mark.parametrize("shape", [(2, 14, 14, 64), (3, 7, 7, 64), (2, 13, 11, 16)], ids=str)
def test_large_tiles_round_by_millionths(shape, isa):
    """Winograd's tiles of 4 x 4 outputs on normal numbers, in units of the largest output."""
    core.select_isa(isa)
    rng = np.random.default_rng(0)
    conv = Convolution(shape, (3, 3, 64), padding=(1, 1))
    x, w, dy = (rng.standard_normal(sides) for sides in (conv.images, conv.weights, conv.outputs))
    for kernel, first, second, out in (
        ("conv_forward", x, w, dy.shape),
        ("conv_dx", dy, w, x.shape),
        ("conv_dw", x, dy, w.shape),
    ):
        bias = (None,) if kernel == "conv_forward" else ()
        exact, found = np.empty(out), np.empty(out, np.float32)
        load("ref")[kernel](first, second, *bias, *conv.steps, exact)
        load("aot")[kernel](first.astype(np.float32), second.astype(np.float32), *bias, *conv.steps, found)
        assert np.abs(found - exact).max() < 2e-5 * np.abs(exact).max(), kernel


@every_isa
@pytest.mark.parametrize("convolution", LONG.values(), ids=LONG)
def test_long_sums_keep_their_digits(convolution, isa):
    """Terms of one sign, which one accumulator would round a hundred times as badly."""
    core.select_isa(isa)
    rng = np.random.default_rng(0)
    x, dy = rng.random(convolution.images), rng.random(convolution.outputs)
    exact, dw = np.empty(convolution.weights), np.empty(convolution.weights, np.float32)
    load("aot")["conv_dw"](x, dy, *convolution.steps, exact)
    load("aot")["conv_dw"](x.astype(np.float32), dy.astype(np.float32), *convolution.steps, dw)
    np.testing.assert_allclose(dw, exact, rtol=5e-6)
