"""Benchmark one gradient of small MLPs, weight by weight and by backpropagation: why backpropagation won.

With N layers of K units there are about K^N paths from the weights to the loss. Central differences need two
forward passes of N K^2 multiplications for each of the N K^2 weights: O((N K^2)^2) operations.
Backpropagation needs O(N K^2) (report S1, part 7).
"""

import math
from itertools import pairwise

import numpy as np
import pytest

import fastnn as fn
from bench.racing import assert_close, time_contestant
from fastnn import naive


def backpropagation(model, data):
    fn.gradients(model, data)
    return {name: param.grad for name, param in model.named_parameters()}


# Contestant -> (function that computes the gradients, backend, tolerance).
CONTESTANTS = {
    "naive-differences": (naive.central_differences, "ref", 1e-7),
    "naive-paths": (naive.path_gradients, "ref", 1e-12),
    "pure-python": (naive.pure_python_gradients, "ref", 1e-12),
    "numpy": (backpropagation, "ref", 1e-12),
    "jit": (backpropagation, "jit", 1e-12),
    "aot": (backpropagation, "aot", 1e-12),
}


def net_name(widths):
    return "-".join(map(str, widths))


def make_model(widths):
    """A sigmoid MLP in float64, which finite differences need."""
    fn.manual_seed(0)
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layers += [fn.Linear(fan_in, fan_out, dtype=np.float64), fn.Sigmoid()]
    return fn.Sequential(*layers[:-1])


# The slowest gradient ("naive-paths" with K = 16, N = 5) takes a fifth of a second.
@pytest.mark.benchmark(max_time=0.5, min_rounds=3, disable_gc=True)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("widths", [(K,) * N for K in (4, 8, 16) for N in (3, 4, 5)], ids=net_name)
def test_gradient(benchmark, widths, contestant):
    model, data = make_model(widths), (np.random.default_rng(0).standard_normal((1, widths[0])), [0])
    with fn.backend("ref"):
        expected = backpropagation(model, data)

    gradient, backend, tolerance = CONTESTANTS[contestant]
    got = {}

    def check():
        for name, value in expected.items():
            assert_close(got[name], value, tolerance)

    products = [math.prod(fans) for fans in pairwise(widths)]
    with fn.backend(backend):
        time_contestant(
            benchmark,
            lambda: got.update(gradient(model, data)),
            check,
            race="gradient",
            shape=net_name(widths),
            contestant=contestant,
            dtype=model.dtype,
            # The FLOP of backpropagation, for every contestant: forward, dw, dx except for the first layer.
            flop=2 * (3 * sum(products) - products[0]),
            # The weights are read, their gradients written.
            nbytes=2 * sum(value.nbytes for value in expected.values()),
        )
    benchmark.extra_info["paths"] = naive.count_paths(widths)
