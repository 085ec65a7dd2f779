"""How good a model is on some data, and its gradients there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from fastnn import metrics as counting
from fastnn import states
from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.training.samples import Data, Samples, check_data

Metric = Callable[[Array, Array], float]
Metrics = Iterable[Metric] | Mapping[str, Metric]


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: str | Loss = "cross_entropy",
    scale: float | None = None,
    metrics: Metrics = (),
) -> dict[str, float]:
    """The loss over data (x, y), the accuracy where there is one, and `metrics`; changes nothing.

    The accuracy is the share of the samples whose class has the largest output, where targets name classes,
    and for a binary loss with targets 0 and 1 the share of the outputs on the right side of 0.

    `metrics` are functions (outputs, targets) -> float of all outputs (N, ...) and targets, a list of them or
    by name. Returns {"loss": ..., "accuracy": ..., ...}. Raises ValueError or TypeError for data that do not
    fit.
    """
    chosen = reducing_loss(loss)
    return evaluate_samples(
        model, chosen, check_data(model, chosen, data, scale), metrics=metrics_of(metrics)
    )


def metrics_of(metrics: Metrics) -> dict[str, Metric]:
    """Metrics by name, which is that of the function unless it is given one. Raises TypeError, ValueError."""
    named = dict(metrics) if isinstance(metrics, Mapping) else {}
    for function in () if isinstance(metrics, Mapping) else metrics:
        name = getattr(function, "__name__", type(function).__name__)
        if name in named:
            raise ValueError(
                f"two metrics are called {name!r}: pass them by name, metrics={{name: function}}"
            )
        named[name] = function
    for name, function in named.items():
        if not callable(function):
            raise TypeError(
                f"the metric {name!r} must be a function (outputs, targets) -> float, not {function!r}"
            )
        if name in ("loss", "accuracy"):
            raise ValueError(f"a metric cannot be called {name!r}, which is there already")
    return named


def evaluate_samples(
    model: Layer,
    loss: Loss,
    samples: Samples,
    batch_size: int = 1024,
    *,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> dict[str, float]:
    found: list[Array] = []
    decisions = decisions_of(model, loss, samples)
    total, correct = 0.0, np.zeros(1, np.int64)
    for start in range(0, len(samples), batch_size):
        index = np.arange(start, min(start + batch_size, len(samples)))
        x, target = samples.batch(index)
        outputs, _ = model.forward(x)
        if metrics:
            found.append(outputs)
        total += float(loss.value(outputs, target, "sum")[0])
        if decisions:
            counting.count_correct(outputs, target, correct, binary=loss.binary)
    if loss.reduction == "mean":
        total /= loss.divisor(samples.target) or math.nan  # all class weights may be 0
    values = summary(total, int(correct[0]), decisions)
    if metrics:
        outputs = np.concatenate(found)
        values |= {name: float(metric(outputs, samples.target)) for name, metric in metrics.items()}
    return values


def summary(loss: float, correct: int, decisions: int) -> dict[str, float]:
    return {"loss": loss, "accuracy": correct / decisions} if decisions else {"loss": loss}


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


def decisions_of(model: Layer, loss: Loss, samples: Samples) -> int:
    """Of how many decisions the accuracy is the share that is right; 0 where there is no accuracy.

    One for each sample where there are outputs for each class and targets that name classes; one for each
    output of a binary loss whose targets are all 0 or 1.
    """
    if loss.binary:
        target = samples.target
        return target.size if bool(((target == 0) | (target == 1)).all()) else 0
    has_outputs = len(model.output_shape(samples.x.shape[1:])) == 1
    return len(samples) if has_outputs and counting.has_classes(samples.target) else 0
