"""Benchmark activations and their gradients on (M, C) arrays, next to PyTorch's if it is installed.

PyTorch writes into preallocated arrays (`out=`), as the kernels do, with the same number of threads.
"""

import importlib.util

import numpy as np
import pytest

import fastnn as fn
from bench.racing import BACKENDS, assert_close, race_kernel, shape_name, time_contestant
from fastnn import kernels

# A hidden layer of a small net, and a layer that does not fit into an L1 cache.
SHAPES = (32, 128), (128, 4096)
CONTESTANTS = [*BACKENDS, "torch"] if importlib.util.find_spec("torch") else [*BACKENDS]

# Activation -> (scalar arguments of its kernels, FLOP per element forward, and backward). A function
# such as exp counts as one FLOP.
ACTIVATIONS = {
    "relu": ((), 1, 1),
    "leaky_relu": ((0.01,), 2, 2),
    "elu": ((1.0,), 3, 3),
    "silu": ((), 2, 6),
    "gelu": ((False,), 2, 4),
    "sigmoid": ((), 1, 3),
    "tanh": ((), 1, 3),
}
# Activations whose gradient kernel takes the output; the others take the input.
BY_OUTPUT = ("relu", "leaky_relu", "elu", "sigmoid", "tanh")


def by_torch(name, x, y, dy=None, dx=None):
    """PyTorch's operator for the activation as a call, or for its gradient if `dy` is given."""
    import torch

    torch.set_num_threads(fn.get_num_threads())
    aten = torch.ops.aten
    x, y, dy, dx = (None if array is None else torch.from_numpy(array) for array in (x, y, dy, dx))
    if dy is None:
        forward = {
            "relu": lambda: aten.relu.out(x, out=y),
            "leaky_relu": lambda: aten.leaky_relu.out(x, 0.01, out=y),
            "elu": lambda: aten.elu.out(x, out=y),
            "silu": lambda: aten.silu.out(x, out=y),
            "gelu": lambda: aten.gelu.out(x, out=y),
            "sigmoid": lambda: aten.sigmoid.out(x, out=y),
            "tanh": lambda: aten.tanh.out(x, out=y),
        }
        return forward[name]
    backward = {
        "relu": lambda: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dx),
        "leaky_relu": lambda: aten.leaky_relu_backward.grad_input(dy, y, 0.01, True, grad_input=dx),
        "elu": lambda: aten.elu_backward.grad_input(dy, 1, 1, 1, True, y, grad_input=dx),
        "silu": lambda: aten.silu_backward.grad_input(dy, x, grad_input=dx),
        "gelu": lambda: aten.gelu_backward.grad_input(dy, x, grad_input=dx),
        "sigmoid": lambda: aten.sigmoid_backward.grad_input(dy, y, grad_input=dx),
        "tanh": lambda: aten.tanh_backward.grad_input(dy, y, grad_input=dx),
    }
    return backward[name]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("piece", ["forward", "dx"])
def test_activation(benchmark, piece, contestant, shape, name):
    options, forward_flop, backward_flop = ACTIVATIONS[name]
    rng = np.random.default_rng(0)
    x, y, dy, dx = (rng.standard_normal(shape, np.float32) for _ in range(4))
    kernels.load("ref")[f"{name}_forward"](x, *options, y)
    known = y if name in BY_OUTPUT else x
    forward = piece == "forward"
    arguments, flop = (
        ((x, *options, y), forward_flop) if forward else ((known, dy, *options, dx), backward_flop)
    )
    if contestant in BACKENDS:
        race_kernel(benchmark, f"{name}_{piece}", shape, contestant, arguments, flop=flop * x.size)
        return
    expected = [np.copy(argument) if isinstance(argument, np.ndarray) else argument for argument in arguments]
    kernels.load("ref")[f"{name}_{piece}"](*expected)
    time_contestant(
        benchmark,
        by_torch(name, x, y) if forward else by_torch(name, x, y, dy, dx),
        lambda: assert_close(arguments[-1], expected[-1], 1e-5),
        race=f"{name}_{piece}",
        shape=shape_name(shape),
        contestant=contestant,
        dtype=x.dtype,
        flop=flop * x.size,
        nbytes=(2 if forward else 3) * x.nbytes,
    )
