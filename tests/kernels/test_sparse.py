"""Gradients of convolutions from dy that is mostly 0: terms of zeros are left out, and no bit changes."""

import numpy as np
import pytest

from fastnn.kernels import core, load

from .case import Arrays
from .columns import both_types, every_isa
from .convolution import Convolution

# The last channel of these, made infinite, decides whether zeros are skipped for the others.
CONVOLUTIONS = (
    Convolution((32, 12, 12, 6), (5, 5, 16)),  # LeNet's second one
    Convolution((16, 13, 9, 8), (3, 3, 16), padding=(1, 2)),
    Convolution((33, 14, 14, 3), (5, 5, 33)),  # rows of patches that are shorter than a vector
    Convolution((17, 9, 10, 2), (7, 2, 17), padding=(3, 0)),  # or than half of one
    Convolution((17, 9, 10, 2), (7, 4, 17), padding=(3, 0)),  # or of a larger one
    Convolution((20, 11, 12, 2), (4, 1, 40), stride=(2, 3), padding=(2, 0), dilation=(1, 2)),
    Convolution((16, 8, 8, 24), (5, 5, 6), padding=(2, 2)),  # more vectors than registers
    Convolution((18, 7, 30, 5), (1, 6, 17), dilation=(3, 1)),
    Convolution((16, 6, 7, 9), (7, 2, 20), padding=(5, 1), more=(1, 2)),
    Convolution((16, 9, 9, 9), (2, 3, 20), padding=(1, 1), more=(-2, -1)),
)
every_convolution = pytest.mark.parametrize("convolution", CONVOLUTIONS, ids=str)


def arrays_of(convolution, dtype):
    """x, w, and dy of which a fifth is not 0."""
    a = Arrays(dtype, whole=False)
    x, w, dy = a(*convolution.images), a(*convolution.weights), a(*convolution.outputs)
    return x, w, np.where(a.rng.random(dy.shape) < 0.2, dy, dtype(0))


def input_gradient(convolution, dy, w):
    dx = np.full((len(dy), *convolution.images[1:]), np.nan, dy.dtype)
    load("aot")["conv_dx"](dy, w, *convolution.steps, dx)
    return dx


def filter_gradient(convolution, x, dy):
    dw = np.full(convolution.weights, np.nan, dy.dtype)
    load("aot")["conv_dw"](x, dy, *convolution.steps, dw)
    return dw


def with_infinite_channel(array, axis):
    array = array.copy()
    array[(..., -1, *[slice(None)] * (-1 - axis))] = np.inf
    return array


@every_isa
@both_types
@every_convolution
def test_skipped_zeros_change_no_bit(convolution, dtype, isa):
    """An infinity forbids to skip zeros, and only its own channel shows it."""
    core.select_isa(isa)
    core.set_num_threads(7)
    x, w, dy = arrays_of(convolution, dtype)
    skipped = input_gradient(convolution, dy, w)
    complete = input_gradient(convolution, dy, with_infinite_channel(w, -2))
    assert skipped[..., :-1].tobytes() == complete[..., :-1].tobytes()
    assert not np.isfinite(complete[..., -1]).all()
    skipped = filter_gradient(convolution, x, dy)
    complete = filter_gradient(convolution, with_infinite_channel(x, -1), dy)
    assert skipped[..., :-1, :].tobytes() == complete[..., :-1, :].tobytes()
    assert not np.isfinite(complete[..., -1, :]).any()


@every_isa
@both_types
@every_convolution
def test_images_are_alone(convolution, dtype, isa):
    """The gradient of an image is the same beside others, with zeros or without, on any number of threads."""
    core.select_isa(isa)
    _, w, sparse = arrays_of(convolution, dtype)
    dense = Arrays(dtype, whole=False)(*sparse.shape)
    mixed = np.where((np.arange(len(dense)) % 3 == 0)[:, None, None, None], sparse, dense)
    for dy in (sparse, dense, mixed):
        core.set_num_threads(2)
        together = input_gradient(convolution, dy, w)
        core.set_num_threads(1)
        for count in (1, 2, 5):
            few = input_gradient(convolution, dy[:count], w)
            assert few.tobytes() == together[:count].tobytes(), count


@every_isa
@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
@every_convolution
def test_zero_times_nan_is_nan(convolution, bad, isa):
    """As in the specification, though nothing but zeros meets it."""
    core.select_isa(isa)
    x, w, dy = arrays_of(convolution, np.float64)
    dy[:] = 0
    middle = tuple(side // 2 for side in convolution.weights[:2])
    w[(*middle, 0, 0)] = bad
    x[0, x.shape[1] // 2, x.shape[2] // 2, 0] = bad
    kernels = load("ref")
    dx, dw = np.empty_like(x), np.empty_like(w)
    kernels["conv_dx"](dy, w, *convolution.steps, dx)
    kernels["conv_dw"](x, dy, *convolution.steps, dw)
    assert np.isnan(dx).any()
    assert np.isnan(dw).any()
    np.testing.assert_array_equal(np.isnan(filter_gradient(convolution, x, dy)), np.isnan(dw))
    np.testing.assert_array_equal(np.isnan(input_gradient(convolution, dy, w)) >= np.isnan(dx), True)


@every_isa
@both_types
@every_convolution
def test_dense_and_sparse_images_in_turn(convolution, dtype, isa):
    """Exact sums, of whole numbers, whichever images have zeros."""
    core.select_isa(isa)
    core.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, w, dense = (
        rng.integers(1, 4, shape).astype(dtype)
        for shape in (convolution.images, convolution.weights, convolution.outputs)
    )
    is_sparse = (np.arange(len(dense)) // 3 % 2 == 1)[:, None, None, None]
    dy = np.where(is_sparse & (rng.random(dense.shape) < 0.8), dtype(0), dense)
    dx, dw = np.empty_like(x), np.empty_like(w)
    load("ref")["conv_dx"](dy, w, *convolution.steps, dx)
    load("ref")["conv_dw"](x, dy, *convolution.steps, dw)
    np.testing.assert_array_equal(input_gradient(convolution, dy, w), dx)
    np.testing.assert_array_equal(filter_gradient(convolution, x, dy), dw)


@every_isa
def test_padding_takes_no_memory(isa):
    """Rows of zeros around a single image are not stored."""
    core.select_isa(isa)
    dy, w = np.ones((1, 3, 5, 16)), np.ones((5, 5, 3, 16))
    dx = np.full((1, 4, 5, 3), np.nan)
    load("aot")["conv_dx"](dy, w, (1, 1), (2**24, 0), (1, 1), dx)
    assert not dx.any()
