"""`CASES`: the arguments that every kernel is tested with (see case.py and test_grid.py)."""

import math

import numpy as np

from fastnn.kernels.jit.scalar import ScalarFunction

from . import group_norm_cases, loss_cases, norm_cases, pool_cases, table_cases
from .case import Case
from .convolution import Convolution


def dense_forward(a, batch, M, K, N, bias):
    b = a(*batch, N) if bias else None
    return a(*batch, M, K, terms=K), a(*batch, K, N, terms=K), b, a.poison(*batch, M, N)


def dense_dx(a, batch, M, K, N):
    return a(*batch, M, N, terms=N), a(*batch, K, N, terms=N), a.poison(*batch, M, K)


def dense_dw(a, batch, M, K, N):
    return a(*batch, M, K, terms=M), a(*batch, M, N, terms=M), a.poison(*batch, K, N)


def dense_db(a, batch, M, N):
    return a(*batch, M, N), a.poison(*batch, N)


def conv_forward(a, conv, bias):
    x, w = (a(*shape, terms=conv.terms, largest=conv.largest) for shape in (conv.images, conv.weights))
    return x, w, a(conv.filters[2]) if bias else None, *conv.steps, a.poison(*conv.outputs)


def conv_dx(a, conv):
    terms = math.prod(conv.filters) // conv.groups
    dy, w = (a(*shape, terms=terms, largest=conv.largest) for shape in (conv.outputs, conv.weights))
    return dy, w, *conv.steps, a.poison(*conv.images)


def conv_dw(a, conv):
    terms = math.prod(conv.outputs[:3])
    x, dy = (a(*shape, terms=terms, largest=conv.largest) for shape in (conv.images, conv.outputs))
    return x, dy, *conv.steps, a.poison(*conv.weights)


def im2col(a, conv):
    return a(*conv.images), *conv.steps, a.poison(*conv.columns)


def col2im(a, conv):
    terms = math.prod(conv.filters[:2])
    return a(*conv.columns, terms=terms), *conv.steps, a.poison(*conv.images)


def swish(x):
    return x / (1 + math.exp(-x))


def swish_gradient(x, dy):
    s = 1 / (1 + math.exp(-x))
    return dy * (s + x * s * (1 - s))


SWISH, SWISH_GRADIENT = ScalarFunction(swish, 1, "forward"), ScalarFunction(swish_gradient, 2, "backward")


def elementwise_forward(a, shape):
    return SWISH, a(*shape), a.poison(*shape)


def elementwise_dx(a, shape):
    return SWISH_GRADIENT, a(*shape), a(*shape), a.poison(*shape)


def forward(a, shape):
    return a(*shape), a.poison(*shape)


def backward(a, shape):
    return a(*shape), a(*shape), a.poison(*shape)


def with_number(a, shape, number):
    return a(*shape), number, a.poison(*shape)


def gradient_with_number(a, shape, number):
    return a(*shape), a(*shape), number, a.poison(*shape)


def sgd(a, shape, momentum, decay, nesterov):
    hyper = np.array([0.1, momentum, decay, nesterov])
    return a(*shape), hyper, a(*shape) if momentum else None, a(*shape)


def adam(a, shape, decay, step, decoupled=False):
    hyper = np.array([0.01, 0.9, 0.999, 1e-8, decay, 1 - 0.9**step, 1 - 0.999**step, decoupled])
    return a(*shape), hyper, a(*shape), np.abs(a(*shape)), a(*shape)


def advance(a, steps):
    return (np.array([steps]),)


def adam_corrections(a, steps):
    return np.array([steps]), np.array([0.01, 0.9, 0.999, 1e-8, 0.1, np.nan, np.nan, 0])


def rmsprop(a, shape, decay, centered, momentum):
    hyper = np.array([0.01, 0.9, 1e-8, decay, momentum])
    mean = 0.1 * a(*shape) if centered else None
    return a(*shape), hyper, 1 + np.abs(a(*shape)), mean, a(*shape) if momentum else None, a(*shape)


def sum_squares(a, shape):
    return a(*shape), np.full(1, np.nan)


def clip_factor(a, count, bound):
    return a.rng.random(count), np.array([bound]), np.full(1, np.nan), np.full(1, np.nan)


def in_place(a, shape, number):
    return np.array([number]), a(*shape)


def hold(a, shape, has_source):
    return a.rng.integers(2, size=shape).astype(a.dtype), a(*shape) if has_source else None, a(*shape)


def ema(a, shape, steps, decay, warmup):
    return a(*shape), np.array([steps]), decay, warmup, a(*shape)


def random_next(a, count):
    return np.array([a.rng.integers(2**63), count], np.uint64), np.full(1, 7, np.uint64)


def dropout(a, shape, rate):
    return a(*shape), a.rng.integers(2**63, size=1, dtype=np.uint64), rate, a.poison(*shape)


def gather(a, shape, source_type, scale):
    N, D, M = shape
    source = a.rng.integers(0, 256, (N, D)).astype(source_type)
    return source, a.rng.integers(0, max(N, 1), M), scale, a.poison(M, D)


def random_affine(a, shape, M):
    ranges = np.array([3.0, 0.4, 0.7, 1.4, 3.0, 2.5, 2.0, 1.0, 0.5, 0.5])
    return a.rng.integers(2**63, size=1, dtype=np.uint64), ranges, *shape, np.full((M, 6), np.nan)


def displacement(a, shape, sigma):
    M, H, W, _ = shape
    return a.rng.integers(2**63, size=1, dtype=np.uint64), 6.0, sigma, a.poison(M, 2, H, W)


def warp(a, shape, source_type, scale, with_field):
    M, H, W, C = shape
    source = a.rng.integers(0, 256, (9, H, W, C)).astype(source_type)
    matrix = a.rng.standard_normal((M, 6)) * (1, 1, 5, 1, 1, 5)
    field = a(M, 2, H, W) if with_field else None
    return source, a.rng.integers(0, 9, M), matrix, field, scale, 7.0, a.poison(M, H, W, C)


def gather_labels(a, N, M, *pixels):
    return a.rng.integers(0, 1000, (N, *pixels)), a.rng.integers(0, max(N, 1), M), np.full((M, *pixels), -7)


def count_nonfinite(a, shape):
    x = a(*shape)
    x[a.rng.random(shape) < 0.1] = np.nan
    x[a.rng.random(shape) < 0.1] = -np.inf
    return x, np.full(1, -7)


def count_outside(a, shape, low, high):
    x = a(*shape)
    x[a.rng.random(shape) < 0.1] = np.nan
    x[a.rng.random(shape) < 0.1] = low
    return x, low, high, np.full(1, -7)


# Unit, odd, around the 4 x 4 blocks of jit and the vectors of 4, 8 and 16, larger, empty.
MATRICES = (
    *(((), *sides) for sides in ((1, 1, 1), (2, 3, 5), (4, 4, 4), (15, 16, 17), (16, 17, 33), (17, 33, 15))),
    *(((), *sides) for sides in ((33, 15, 16), (65, 130, 67), (0, 3, 5), (3, 0, 5), (3, 5, 0))),
    *(((B,), *sides) for B, sides in ((1, (1, 1, 1)), (3, (5, 7, 9)), (2, (17, 16, 33)))),
    *(((B,), *sides) for B, sides in ((0, (3, 4, 5)), (2, (0, 4, 5)), (2, (3, 0, 5)), (2, (3, 4, 0)))),
    # Few outputs and long sums: of one row, of a group of rows, of more; in the widths of all vectors.
    *(((), *sides) for sides in ((1, 300, 10), (5, 263, 4), (48, 256, 7), (50, 257, 1), (1, 299, 2))),
    *(((B,), *sides) for B, sides in ((2, (3, 260, 3)), (3, (1, 257, 10)))),
    *(((), *sides) for sides in ((1, 270, 16), (50, 263, 13), (1, 300, 17), (49, 256, 9))),
    # Many rows and a small matrix: all heights of tiles, lanes of rows, dw by its transpose, dw in chunks.
    *(((), *sides) for sides in ((240, 4, 33), (247, 17, 3), (250, 30, 1), (257, 67, 8), (240, 3, 16))),
    *(((), *sides) for sides in ((2051, 5, 3), (2049, 2, 37), (2050, 33, 4), (95, 33, 23), (96, 17, 22))),
    *(((), *sides) for sides in ((127, 9, 33), (128, 40, 19), (150, 23, 15), (513, 17, 18))),
    *(((B,), *sides) for B, sides in ((2, (241, 6, 10)), (3, (245, 40, 2)))),
)
# Elements 1, 15, 16, 17, 33, then larger, more dimensions, and empty.
SHAPES = ((1, 1), (1, 15), (4, 4), (1, 17), (3, 11), (65, 67), (2, 3, 5, 7), (0, 5), (5, 0))
# Rows and classes.
ROWS = ((1, 1), (5, 2), (35, 10), (4, 15), (3, 16), (2, 17), (2, 33), (65, 67), (0, 5))
# Rows and features of a data set, rows of a batch.
GATHERED = ((1, 1, 1), (50, 15, 7), (50, 16, 33), (50, 17, 5), (300, 67, 65), (5, 0, 3), (5, 3, 0), (0, 3, 0))


# Images of a batch, rows, columns, channels.
IMAGES = (
    (1, 1, 1, 1),
    (5, 28, 28, 1),
    (3, 11, 17, 3),
    (2, 4, 33, 5),
    (0, 3, 3, 1),
    (2, 0, 3, 1),
    (2, 3, 0, 2),
)

CONVOLUTIONS = (
    Convolution((1, 1, 1, 1), (1, 1, 1)),
    Convolution((2, 5, 4, 3), (1, 1, 5)),
    Convolution((1, 8, 8, 1), (7, 7, 16)),
    Convolution((2, 7, 9, 1), (3, 3, 5), padding=(1, 1)),
    Convolution((2, 6, 5, 3), (3, 2, 17), padding=(1, 0)),
    Convolution((1, 6, 6, 4), (6, 6, 3)),  # the filter is as large as the image
    Convolution((2, 3, 3, 2), (3, 3, 2), padding=(2, 3)),  # more padding than half of the filter
    Convolution((1, 9, 11, 2), (2, 3, 3), stride=(3, 4)),  # strides beyond the filter
    Convolution((2, 9, 8, 3), (3, 3, 4), stride=(2, 1), padding=(1, 1)),
    Convolution((1, 9, 10, 2), (3, 3, 33), padding=(2, 2), dilation=(2, 2)),
    Convolution((2, 8, 9, 2), (2, 3, 3), stride=(2, 3), padding=(1, 2), dilation=(3, 1)),
    Convolution((2, 6, 7, 4), (3, 3, 6), padding=(1, 1), groups=2),
    Convolution((2, 6, 7, 5), (3, 3, 5), padding=(1, 1), groups=5),
    Convolution((1, 6, 7, 3), (3, 2, 6), stride=(2, 2), dilation=(1, 2), groups=3),
    Convolution((1, 4, 29, 17), (3, 3, 65), padding=(1, 1)),
    # By Winograd's algorithm: more tiles than a group, outputs and pixels that tiles reach beyond.
    Convolution((9, 12, 13, 16), (3, 3, 16), padding=(1, 1)),
    Convolution((6, 9, 9, 16), (3, 3, 17), padding=(1, 1)),
    Convolution((2, 9, 8, 33), (3, 3, 130)),
    Convolution((1, 6, 7, 20), (3, 3, 18), padding=(0, 3)),
    Convolution((1, 3, 15, 33), (1, 1, 130)),
    Convolution((2, 6, 44, 18), (1, 1, 20), stride=(2, 3)),  # pixels without outputs, also at the end
    Convolution((2, 5, 4, 6), (1, 1, 10), stride=(1, 2), groups=2),
    # Depthwise: wide enough for all kinds of neighbouring outputs, strides, filters beyond the image.
    Convolution((2, 6, 19, 17), (3, 3, 17), padding=(1, 1), groups=17),
    Convolution((1, 9, 12, 4), (3, 5, 4), stride=(2, 3), padding=(1, 2), dilation=(1, 2), groups=4),
    Convolution((2, 2, 3, 33), (5, 4, 33), padding=(2, 3), groups=33),
    Convolution((2, 7, 25, 5), (3, 3, 5), stride=(2, 2), padding=(1, 1), groups=5),
    Convolution((1, 8, 17, 18), (5, 5, 18), padding=(2, 2), groups=18),
    # Vectors along the pixels: one output and several, strides, several chunks of rows, the last one shorter.
    Convolution((2, 9, 21, 3), (3, 2, 1), padding=(1, 2)),
    Convolution((3, 11, 47, 2), (3, 2, 5), stride=(2, 3), padding=(1, 2), dilation=(1, 2)),
    Convolution((2, 47, 40, 1), (5, 5, 6)),
    Convolution((2, 45, 39, 1), (3, 3, 6)),  # a shorter last chunk, whose last vector ends in another row
    Convolution((2, 28, 28, 1), (5, 5, 6)),  # read in place
    Convolution((1, 71, 36, 1), (5, 5, 5)),  # read in place but for a shorter last chunk
    Convolution((2, 12, 21, 2), (3, 7, 4), padding=(1, 0)),  # rows of positions that are not whole halves
    Convolution((1, 7, 18, 2), (3, 3, 9), padding=(1, 1)),
    # Outputs that only padding at the end makes, and fewer outputs than there could be.
    Convolution((3, 32, 32, 1), (2, 2, 6), more=(1, 1)),
    Convolution((3, 28, 28, 1), (2, 2, 6), more=(1, 1)),
    Convolution((2, 24, 18, 1), (3, 3, 4), more=(2, 0)),
    Convolution((2, 24, 18, 1), (3, 3, 4), more=(0, 8)),
    Convolution((2, 24, 34, 1), (3, 3, 4), more=(-3, -16)),
    Convolution((3, 4, 5, 3), (1, 1, 6), more=(1, 1)),
    Convolution((3, 4, 4, 3), (1, 1, 6), stride=(2, 2), more=(1, 1)),
    Convolution((3, 5, 6, 3), (1, 1, 6), more=(-1, -2)),
    Convolution((2, 6, 19, 17), (3, 3, 17), groups=17, more=(1, 2)),
    Convolution((17, 9, 12, 16), (3, 3, 16), more=(2, 1)),
    # Gradients that are scattered: more images than a tile, filter rows that meet only some rows, none of dy.
    Convolution((15, 8, 9, 6), (5, 5, 16)),
    Convolution((2, 11, 10, 3), (5, 3, 7), stride=(2, 2), padding=(3, 1)),
    Convolution((2, 12, 9, 5), (4, 2, 6), stride=(4, 2), padding=(1, 0), dilation=(2, 1)),
    Convolution((1, 13, 8, 18), (3, 4, 12), stride=(3, 3), dilation=(2, 1)),
    # Filters that are packed.
    Convolution((1, 8, 9, 40), (1, 7, 66), padding=(0, 3)),
    Convolution((0, 5, 5, 2), (3, 3, 2)),
    Convolution((2, 0, 0, 2), (1, 1, 2)),
    Convolution((2, 5, 5, 2), (3, 3, 0)),
)


def cases():
    for conv in CONVOLUTIONS:
        for whole in (True, False):
            yield Case("conv_forward", conv_forward, (conv, True), whole)
            yield Case("conv_forward", conv_forward, (conv, False), whole)
            yield Case("conv_dx", conv_dx, (conv,), whole)
            yield Case("conv_dw", conv_dw, (conv,), whole)
            yield Case("im2col", im2col, (conv,), whole)
            yield Case("col2im", col2im, (conv,), whole)
    for matrices in MATRICES:
        batch, M, _, N = matrices
        for whole in (True, False):
            yield Case("dense_forward", dense_forward, (*matrices, True), whole)
            yield Case("dense_forward", dense_forward, (*matrices, False), whole)
            yield Case("dense_dx", dense_dx, matrices, whole)
            yield Case("dense_dw", dense_dw, matrices, whole)
            yield Case("dense_db", dense_db, (batch, M, N), whole)
    for rows in (511, 512, 1000):  # a plain sum, then chunks, of several rows side by side if they are short
        for columns in (67, 6, 5, 1):
            yield Case("dense_db", dense_db, ((), rows, columns), whole=True)
    for shape in SHAPES:
        yield Case("relu_forward", forward, (shape,), whole=True)
        yield Case("relu_dx", backward, (shape,), whole=True)
        for name in ("relu", "sigmoid", "tanh"):
            yield Case(f"{name}_forward", forward, (shape,))
            yield Case(f"{name}_dx", backward, (shape,))
        for name, numbers in (("leaky_relu", (0.0, 0.01)), ("elu", (1.0, 0.3)), ("gelu", (False, True))):
            for number in numbers:
                yield Case(f"{name}_forward", with_number, (shape, number))
                yield Case(f"{name}_dx", gradient_with_number, (shape, number))
        yield Case("silu_forward", forward, (shape,))
        yield Case("silu_dx", backward, (shape,))
        yield Case("add", backward, (shape,), whole=True)
        yield Case("add", backward, (shape,))
        yield Case("elementwise_forward", elementwise_forward, (shape,))
        yield Case("elementwise_dx", elementwise_dx, (shape,))
        for options in ((0.0, 0.0, 0), (0.0, 0.1, 0), (0.9, 0.0, 0), (0.9, 0.1, 1)):
            yield Case("sgd", sgd, (shape, *options))
        yield Case("adam", adam, (shape, 0.0, 1))
        yield Case("adam", adam, (shape, 0.1, 10))
        yield Case("adam", adam, (shape, 0.1, 10, True))
        for options in ((0.0, False, 0.0), (0.1, True, 0.9), (0.0, True, 0.0), (0.0, False, 0.9)):
            yield Case("rmsprop", rmsprop, (shape, *options))
        yield Case("sum_squares", sum_squares, (shape,))
        yield Case("multiply", in_place, (shape, 0.3))
        yield Case("clamp", in_place, (shape, 0.5))
        for has_source in (True, False):
            yield Case("hold", hold, (shape, has_source))
        for options in ((0, 0.9, True), (5, 0.99, True), (1000, 0.99, True), (0, 0.9, False)):
            yield Case("ema", ema, (shape, *options))
        for rate in (0.0, 0.3, 0.5, 1.0):
            yield Case("dropout", dropout, (shape, rate))
        yield Case("count_nonfinite", count_nonfinite, (shape,))
        for limits in ((0.0, 1.0), (0.0, np.inf), (-100.0, 100.0)):
            yield Case("count_outside", count_outside, (shape, *limits))
    for shape in (*ROWS, (5, 0)):
        yield Case("softmax_forward", forward, (shape,))
        yield Case("softmax_dx", backward, (shape,))
    for steps in (0, 1, 1000):
        yield Case("advance", advance, (steps,))
        yield Case("adam_corrections", adam_corrections, (steps + 1,))
    for count, bound in ((1, 0.1), (5, 1.0), (70, 100.0), (0, 1.0)):
        yield Case("clip_factor", clip_factor, (count, bound))
    for count in (0, 1, 2**63):
        yield Case("random_next", random_next, (count,))
    for shape in GATHERED:
        for source_type, scale in (("uint8", 1 / 255), ("float32", 1.0), ("float64", 0.3)):
            yield Case("gather", gather, (shape, source_type, scale))
    for sizes in ((1, 1), (50, 33), (5, 0), (0, 0)):
        yield Case("gather_labels", gather_labels, sizes)
        yield Case("gather_labels", gather_labels, (*sizes, 7))
    for shape in IMAGES:
        yield Case("random_affine", random_affine, (shape[1:3], shape[0]))
        for sigma in (0.3, 1.0, 4.0):
            yield Case("displacement", displacement, (shape, sigma))
        for source_type, scale in (("uint8", 1 / 255), ("float32", 1.0), ("float64", 0.3)):
            yield Case("warp", warp, (shape, source_type, scale, False))
            yield Case("warp", warp, (shape, source_type, scale, True))


CASES = (
    *(*cases(), *loss_cases.cases(SHAPES, ROWS), *pool_cases.cases(), *norm_cases.cases()),
    *(*group_norm_cases.cases(), *table_cases.cases()),
)
