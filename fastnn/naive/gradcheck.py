"""Is the gradient right? Backpropagation against central differences."""

from __future__ import annotations

import copy

import numpy as np

from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.training.evaluation import gradients
from fastnn.training.samples import Data


def gradcheck(model: Layer, data: Data, *, loss: str | Loss = "cross_entropy", step: float = 1e-5) -> float:
    """The largest relative error of the gradients of `model` on the batch (x, y).

    Both gradients are taken in float64 on a copy: by backpropagation, and by central differences with
    two forward passes for each weight. The error of a parameter is |a - b| / max(|a| + |b|, 1e-8) in the
    Euclidean norm. A right gradient gives about 1e-8, a wrong one above 1e-4, unless a weight
    sits at a kink (ReLU at 0).
    """
    from fastnn.naive.gradients import (
        central_differences,  # with what it imports, a tenth of the import of fastnn
    )

    twin = copy.deepcopy(model).to(np.float64)
    gradients(twin, data, loss=loss)
    numeric = central_differences(twin, data, loss=loss, step=step)
    worst = 0.0
    for name, param in twin.named_parameters():
        if param.grad is not None:
            size = float(np.linalg.norm(param.grad) + np.linalg.norm(numeric[name]))
            worst = max(worst, float(np.linalg.norm(param.grad - numeric[name])) / max(size, 1e-8))
    return worst
