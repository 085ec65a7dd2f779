"""Training on all samples at once by L-BFGS (Byrd, Lu, Nocedal & Zhu 1995), through SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse

from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.training.evaluation import gradients

# The elements of a sparse X that are dense at the same time: 32 MiB of float64.
DENSE_ELEMENTS = 1 << 22

Data = tuple[Any, Array, Array | None]


def minimize(
    model: Layer,
    data: Data,
    loss: Loss,
    *,
    penalty: float,
    max_iter: int,
    max_fun: int,
    tol: float,
) -> Any:
    """Minimize loss + penalty / 2 times the sum of the squared weights; returns SciPy's `OptimizeResult`.

    The model ends with the best parameters. `tol` bounds the largest element of the gradient at the end. A
    parameter counts for the penalty if its `decay_scale` is not 0. A sparse X is densified block by block,
    unless batch norm or dropout need all samples together.
    """
    from scipy.optimize import minimize as scipy_minimize

    params = [param for param in model.parameters() if not param.frozen]
    ends = np.cumsum([param.size for param in params])
    blocks = _blocks(model, data)
    total = loss.divisor(*data[1:])

    def set_parameters(packed: Array) -> None:
        for param, values in zip(params, np.split(packed, ends[:-1]), strict=True):
            param.value = values.reshape(param.shape)

    def loss_and_gradient(packed: Array) -> tuple[float, Array]:
        set_parameters(packed)
        value, parts = 0.0, [np.zeros(param.size) for param in params]
        for block in blocks:
            share = loss.divisor(*block[1:]) / total
            value += share * gradients(model, block, loss=loss)
            for param, part in zip(params, parts, strict=True):
                part += share * param.grad_buffer().ravel()
        for param, weights, part in zip(params, np.split(packed, ends[:-1]), parts, strict=True):
            decay = penalty * param.decay_scale
            value += decay / 2 * float(weights @ weights)
            part += decay * weights
        return value, np.concatenate(parts)

    start = np.concatenate([np.ravel(param.value) for param in params]).astype(np.float64)
    options = {"maxfun": max_fun, "maxiter": max_iter, "gtol": tol}
    result = scipy_minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options)
    set_parameters(result.x)
    return result


def _blocks(model: Layer, data: Data) -> list[Data]:
    """The samples in blocks of rows: all in one, unless X is sparse and the samples are independent."""
    X, target, weight = data
    if not issparse(X) or model.states():
        return [data]
    X, rows = X.tocsr(), max(1, DENSE_ELEMENTS // X.shape[1])
    parts = [slice(start, start + rows) for start in range(0, X.shape[0], rows)]
    blocks = [(X[part], target[part], None if weight is None else weight[part]) for part in parts]
    return [block for block in blocks if block[2] is None or block[2].any()]
