"""Check gradients: compare backpropagation with central differences."""

from __future__ import annotations

import copy

import numpy as np

from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.naive.gradients import central_differences
from fastnn.training.evaluation import gradients
from fastnn.training.samples import Data


def gradcheck(model: Layer, data: Data, *, loss: str | Loss = "cross_entropy", step: float = 1e-5) -> float:
    """Return the largest relative error of the gradients of a model, over its parameters.

    The gradients are computed in float64 on a copy of the model: by backpropagation, a, and by central
    differences, b, with two forward passes per weight. The error of a parameter is
    `|a - b| / max(|a| + |b|, 1e-8)` in the Euclidean norm. It is about 1e-8 for a right gradient and above
    1e-4 for a wrong one, unless an activation is at a kink (ReLU at 0).

    Args:
        model: The model; it is not changed.
        data: A batch (x, y), as in `fn.gradients`.
        loss: Name or object of the loss.
        step: Step h of the central differences.

    Raises:
        ValueError: As `central_differences`.
    """

    twin = copy.deepcopy(model).to(np.float64)
    gradients(twin, data, loss=loss)
    numeric = central_differences(twin, data, loss=loss, step=step)
    worst = 0.0
    for name, param in twin.named_parameters():
        if param.grad is not None:
            size = float(np.linalg.norm(param.grad) + np.linalg.norm(numeric[name]))
            worst = max(worst, float(np.linalg.norm(param.grad - numeric[name])) / max(size, 1e-8))
    return worst
