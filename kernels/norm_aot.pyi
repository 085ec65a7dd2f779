from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

def batch_moments(x: Array, mean: Array, var: Array) -> None: ...
def running_moments(
    mean: Array,
    var: Array,
    count: int,
    momentum: float,
    running_mean: Array,
    running_var: Array,
    before: Array,
) -> None: ...
def batch_norm_forward(
    x: Array, mean: Array, var: Array, gamma: Array | None, beta: Array | None, epsilon: float, y: Array
) -> None: ...
def batch_norm_sums(
    x: Array, dy: Array, mean: Array, var: Array, epsilon: float, dgamma: Array, dbeta: Array
) -> None: ...
def batch_norm_dx(
    x: Array,
    dy: Array,
    mean: Array,
    var: Array,
    gamma: Array | None,
    epsilon: float,
    dgamma: Array | None,
    dbeta: Array | None,
    dx: Array,
) -> None: ...
def layer_norm_forward(
    x: Array, gamma: Array | None, beta: Array | None, epsilon: float, y: Array, moments: Array
) -> None: ...
def layer_norm_dx(x: Array, dy: Array, gamma: Array | None, moments: Array, dx: Array) -> None: ...
def layer_norm_dw(x: Array, dy: Array, moments: Array, dgamma: Array, dbeta: Array) -> None: ...
