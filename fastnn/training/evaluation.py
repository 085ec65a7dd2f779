"""Evaluate a model on a data set, and compute its gradients there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from fastnn import metrics as counting
from fastnn import states
from fastnn._sources import rows_at_once
from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.training.samples import Data, Samples, check_data, check_model

BLOCK = 1024  # rows of targets, which may be a memory-mapped file, to look at together

Metric = Callable[[Array, Array], float]
Metrics = str | Metric | Iterable[str | Metric] | Mapping[str, str | Metric] | None

# The metrics that may be passed by name, besides the two that are always reported.
NAMED: dict[str, Metric] = {
    metric.__name__: metric
    for metric in (
        *(counting.f1, counting.precision, counting.recall, counting.cohen_kappa),
        *(counting.roc_auc, counting.average_precision, counting.log_loss),
        *(counting.r2, counting.mean_absolute_error),
    )
}
ALWAYS_REPORTED = ("loss", "accuracy")


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: str | Loss | None = None,
    scale: float | None = None,
    metrics: Metrics = (),
) -> dict[str, float]:
    """Return loss, accuracy (where it applies) and `metrics` on the data (x, y); changes nothing.

    `data` may also be (x, y, sample_weight): the weights count for the loss alone.

    `loss` is by default the one that the model was last trained with in this process, or cross-entropy. The
    features are scaled as in the training, as `fit` describes; `scale` overrides the factor.

    If targets name classes, the accuracy is the fraction of samples whose class has the largest output. For a
    binary loss with targets 0 and 1 it is the fraction of outputs with the right sign.

    `metrics` are functions (outputs, targets) -> float of all outputs (N, ...) and targets: one, a list, or a
    dict by name. Names of functions of `fn.metrics`, such as "f1" and "roc_auc", stand for them. Returns
    {"loss": ..., "accuracy": ..., ...}. Raises ValueError or TypeError for unsuitable data.
    """
    chosen, named = loss_of(model, loss), metrics_of(pairs_of(metrics))
    samples = check_data(model, chosen, data, scale, keep_mapped=True)
    return evaluate_samples(model, chosen, samples, metrics=named)


def loss_of(model: Layer, loss: str | Loss | None) -> Loss:
    """The loss, by default the one that the model was last trained with, or cross-entropy."""
    check_model(model)
    trained_with = None if loss is not None else next((param.loss for param in model.parameters()), None)
    return reducing_loss(trained_with if isinstance(trained_with, Loss) else loss or "cross_entropy")


def pairs_of(metrics: Metrics) -> list[tuple[str, Any]]:
    """The metrics that a user passed, with their names; a function in a list goes by its own name."""
    if metrics is None:
        return []
    if isinstance(metrics, Mapping):
        return list(metrics.items())
    several = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    if not isinstance(several, Iterable):
        raise TypeError(f"metrics must be functions (outputs, targets) -> float, or names, not {metrics!r}")
    return [(m if isinstance(m, str) else getattr(m, "__name__", type(m).__name__), m) for m in several]


def metrics_of(pairs: Iterable[tuple[str, Any]]) -> dict[str, Metric]:
    """The functions by name, without "loss" and "accuracy", which are always reported.

    Raises TypeError if a metric is not callable, ValueError if a name is taken or unknown.
    """
    named: dict[str, Metric] = {}
    for name, metric in pairs:
        if name in named:
            raise ValueError(f"two metrics are named {name!r}: name them with metrics={{name: function}}")
        if isinstance(metric, str):
            if metric in ALWAYS_REPORTED:
                continue
            if metric not in NAMED:
                names = ", ".join((*ALWAYS_REPORTED, *NAMED))
                raise ValueError(
                    f"unknown metric {metric!r}: choose one of {names}, or pass a function "
                    "(outputs, targets) -> float, such as fn.metrics.top_k(5)"
                )
            metric = NAMED[metric]
        if not callable(metric) or isinstance(metric, type):
            raise TypeError(
                f"the metric {name!r} must be a function (outputs, targets) -> float, not {metric!r}"
            )
        if name in ALWAYS_REPORTED:
            raise ValueError(f"a metric cannot be named {name!r}, which is always reported")
        named[name] = metric
    return named


def evaluate_samples(
    model: Layer,
    loss: Loss,
    samples: Samples,
    batch_size: int = 1024,
    *,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> dict[str, float]:
    """Evaluate checked samples in batches of `batch_size`; `evaluate` describes the result."""
    batches: list[Array] = []
    decisions = decisions_of(model, loss, samples)
    total, correct = 0.0, np.zeros(1, np.int64)
    batch_size = rows_at_once(samples.x, batch_size)
    for start in range(0, len(samples), batch_size):
        index = np.arange(start, min(start + batch_size, len(samples)))
        x, target = samples.batch(index)
        outputs, _ = model.forward(x)
        if metrics:
            batches.append(outputs)
        weight = samples.weights(index)
        total += float(loss.value(outputs, target, "sum", weight)[0])
        if decisions:
            counting.count_correct(outputs, target, correct, binary=loss.binary)
    total /= loss.divisor(samples.target, samples.weight) or math.nan  # all class weights may be 0
    values = summary(total, int(correct[0]), decisions)
    if metrics:
        outputs = np.concatenate(batches)
        outputs, target = _counted(outputs, samples.target)
        values |= {name: float(metric(outputs, target)) for name, metric in metrics.items()}
    return values


def _counted(outputs: Array, target: Array) -> tuple[Array, Array]:
    """Outputs and targets without the samples whose label the loss ignores."""
    if target.ndim != 1 or target.dtype != np.int64 or outputs.ndim != 2:
        return outputs, target
    counted = target < outputs.shape[1]
    return (outputs, target) if counted.all() else (outputs[counted], target[counted])


def summary(loss: float, correct: int, decisions: int) -> dict[str, float]:
    """Loss and accuracy by name; no accuracy without decisions."""
    return {"loss": loss, "accuracy": correct / decisions} if decisions else {"loss": loss}


def gradients(
    model: Layer, data: Data, *, loss: str | Loss | None = None, scale: float | None = None
) -> float:
    """Fill `p.grad` of every parameter that is not frozen from the batch (x, y); returns the loss.

    `loss` and `scale` are as in `evaluate`. Weights, random counters and running statistics do not change.
    Raises ValueError or TypeError for data that do not fit.
    """
    chosen = loss_of(model, loss)
    samples = check_data(model, chosen, data, scale)
    with states.restored(model):
        x, target = samples.all()
        outputs, backward = model.forward(x, train=True)
        value, dy = chosen.value_and_gradient(outputs, target, samples.weight)
        backward(dy, need_dx=False)
    return float(value[0])


def decisions_of(model: Layer, loss: Loss, samples: Samples) -> int:
    """The number of decisions over which the accuracy is taken; 0 if the accuracy does not apply.

    One per sample if the model has one output per class and the targets name classes; one per output for a
    binary loss with targets 0 and 1.
    """
    if loss.binary:
        target = samples.target
        blocks = (target[start : start + BLOCK] for start in range(0, len(target), BLOCK))
        is_decided = all(bool(((block == 0) | (block == 1)).all()) for block in blocks)
        return target.size if is_decided else 0
    outputs = model.output_shape(samples.x.shape[1:])
    if len(outputs) != 1 or not counting.has_classes(samples.target):
        return 0
    is_ignored = samples.target.ndim == 1 and samples.target >= outputs[0]
    return len(samples) - int(np.count_nonzero(is_ignored))
