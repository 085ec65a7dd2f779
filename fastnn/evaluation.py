"""How good a model is on some data, and its gradients there."""

from __future__ import annotations

import math

import numpy as np

from fastnn import metrics, states
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.samples import Data, Samples, check_data


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: str | Loss = "cross_entropy",
    scale: float | None = None,
) -> dict[str, float]:
    """The loss over data (x, y), and the accuracy where targets name classes; changes nothing.

    Returns {"loss": ..., "accuracy": ...}. Raises ValueError or TypeError for data that do not fit.
    """
    chosen = reducing_loss(loss)
    return evaluate_samples(model, chosen, check_data(model, chosen, data, scale))


def evaluate_samples(model: Layer, loss: Loss, samples: Samples, batch_size: int = 1024) -> dict[str, float]:
    with_accuracy = counts_correct(model, samples)
    total, correct = 0.0, np.zeros(1, np.int64)
    for start in range(0, len(samples), batch_size):
        index = np.arange(start, min(start + batch_size, len(samples)))
        x, target = samples.batch(index)
        outputs, _ = model.forward(x)
        total += float(loss.value(outputs, target, "sum")[0])
        if with_accuracy:
            metrics.count_correct(outputs, target, correct)
    if loss.reduction == "mean":
        total /= loss.divisor(samples.target) or math.nan  # all class weights may be 0
    return summary(total, int(correct[0]), samples, with_accuracy)


def summary(loss: float, correct: int, samples: Samples, with_accuracy: bool) -> dict[str, float]:
    return {"loss": loss, "accuracy": correct / len(samples)} if with_accuracy else {"loss": loss}


def gradients(
    model: Layer, data: Data, *, loss: str | Loss = "cross_entropy", scale: float | None = None
) -> float:
    """Fill `p.grad` of every parameter that is not frozen from the batch (x, y); returns the loss.

    No weight, random counter or running moment changes.
    Raises ValueError or TypeError for data that do not fit.
    """
    chosen = reducing_loss(loss)
    samples = check_data(model, chosen, data, scale)
    with states.kept(model):
        x, target = samples.all()
        outputs, backward = model.forward(x, train=True)
        value, dy = chosen.value_and_gradient(outputs, target)
        backward(dy, need_dx=False)
    return float(value[0])


def counts_correct(model: Layer, samples: Samples) -> bool:
    """Whether there is an accuracy: outputs for each class, and targets that name classes."""
    return len(model.output_shape(samples.x.shape[1:])) == 1 and metrics.has_classes(samples.target)
