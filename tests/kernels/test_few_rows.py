"""Batches of a few rows have kernels of their own (dense_few.hpp): their sums are those of larger batches."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, load

from .columns import both_types, every_isa

FEW = (1, 2, 3, 4)
LAYERS = [(1, 1), (5, 1), (1, 40), (37, 3), (100, 10), (53, 16), (16, 17), (70, 64), (131, 203), (700, 403)]


def on_each_layer(test):
    """Parametrizes a test by layer, type, instruction set and number of threads."""
    test = pytest.mark.parametrize("threads", [1, 3])(test)
    return every_isa(both_types(pytest.mark.parametrize("layer", LAYERS, ids=str)(test)))


@pytest.fixture(autouse=True)
def chosen_isa(request):
    core.select_isa(request.getfixturevalue("isa"))


def arrays(layer, rows, dtype):
    """x (rows, K), w (K, N) and dy (rows, N)."""
    generator = np.random.default_rng(rows)
    features, outputs = layer
    shapes = (rows, features), (features, outputs), (rows, outputs)
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


@on_each_layer
def test_outputs_do_not_depend_on_the_batch(layer, threads, dtype, isa):
    fn.set_num_threads(threads)
    x, w, _ = arrays(layer, 5, dtype)
    for b in (None, w[-1].copy()):
        y = np.empty((5, layer[1]), dtype)
        load("aot")["dense_forward"](x, w, b, y)
        for rows in FEW:
            found = np.full((rows, layer[1]), np.nan, dtype)
            load("aot")["dense_forward"](x[:rows], w, b, found)
            np.testing.assert_array_equal(found, y[:rows])


@on_each_layer
def test_the_gradient_of_an_input_does_not_depend_on_the_batch(layer, threads, dtype, isa):
    fn.set_num_threads(threads)
    _, w, dy = arrays(layer, 5, dtype)
    dx = np.empty((5, layer[0]), dtype)
    load("aot")["dense_dx"](dy, w, dx)
    for rows in FEW:
        found = np.full((rows, layer[0]), np.nan, dtype)
        load("aot")["dense_dx"](dy[:rows], w, found)
        np.testing.assert_array_equal(found, dx[:rows])


@on_each_layer
def test_rows_without_a_gradient_add_nothing_to_that_of_the_weights(layer, threads, dtype, isa):
    fn.set_num_threads(threads)
    x, _, dy = arrays(layer, 5, dtype)
    for rows in FEW:
        found, expected = (np.full(layer, np.nan, dtype) for _ in range(2))
        load("aot")["dense_dw"](x[:rows], dy[:rows], found)
        load("aot")["dense_dw"](x, np.where(np.arange(5)[:, None] < rows, dy, dtype(0)), expected)
        np.testing.assert_array_equal(found, expected)
