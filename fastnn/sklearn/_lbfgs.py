"""Training on all samples at once by L-BFGS (Byrd, Lu, Nocedal & Zhu 1995), through SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.training.evaluation import gradients


def minimize(
    model: Layer,
    data: tuple[Any, Any, Array | None],
    loss: Loss,
    *,
    penalty: float,
    max_iter: int,
    max_fun: int,
    tol: float,
) -> Any:
    """Minimize loss + penalty / 2 times the sum of the squared weights; returns SciPy's `OptimizeResult`.

    The model ends with the best parameters. `tol` bounds the largest element of the gradient at the end. A
    parameter counts for the penalty if its `decay_scale` is not 0.
    """
    from scipy.optimize import minimize as scipy_minimize

    params = [param for param in model.parameters() if not param.frozen]
    ends = np.cumsum([param.size for param in params])

    def set_parameters(packed: Array) -> None:
        for param, values in zip(params, np.split(packed, ends[:-1]), strict=True):
            param.value = values.reshape(param.shape)

    def loss_and_gradient(packed: Array) -> tuple[float, Array]:
        set_parameters(packed)
        value = gradients(model, data, loss=loss)
        parts = []
        for param, weights in zip(params, np.split(packed, ends[:-1]), strict=True):
            decay = penalty * param.decay_scale
            value += decay / 2 * float(weights @ weights)
            parts.append(param.grad_buffer().ravel() + decay * weights)
        return value, np.concatenate(parts)

    start = np.concatenate([np.ravel(param.value) for param in params]).astype(np.float64)
    options = {"maxfun": max_fun, "maxiter": max_iter, "gtol": tol}
    result = scipy_minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options)
    set_parameters(result.x)
    return result
