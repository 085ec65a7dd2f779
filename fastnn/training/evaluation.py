"""Evaluate a model on a data set, and compute its gradients there."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np

from fastnn import metrics as counting
from fastnn import states
from fastnn._sources import Stream, is_stream, rows_at_once
from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.losses import Loss, reducing_loss
from fastnn.training.batches import DATA, Batches
from fastnn.training.processes import ALONE, Processes
from fastnn.training.samples import Data, DataOrBatches, Samples, check_data, check_model

MEANS = ("mean", "batch_mean")  # reductions
STREAM_BATCH = 256  # samples of an iterable data set to evaluate together
BLOCK = 1024  # rows of targets, which may be a memory-mapped file, to look at together

Metric = Callable[..., float]  # of (outputs, targets)
Metrics = str | Metric | Iterable[str | Metric] | Mapping[str, str | Metric] | None

# The metrics that may be passed by name, besides the two that are always reported.
NAMED: dict[str, Metric] = {
    metric.__name__: metric
    for metric in (
        *(counting.f1, counting.precision, counting.recall, counting.iou, counting.cohen_kappa),
        *(counting.roc_auc, counting.average_precision, counting.log_loss),
        *(counting.r2, counting.mean_absolute_error),
    )
}
ALWAYS_REPORTED = ("loss", "accuracy")


def evaluate(
    model: Layer,
    data: DataOrBatches,
    *,
    loss: str | Loss | None = None,
    scale: float | None = None,
    metrics: Metrics = (),
) -> dict[str, float]:
    """Return loss, accuracy (where it applies) and `metrics` on the data (x, y); changes nothing.

    `data` may also be (x, y, sample_weight), or batches one after the other, as `fit` takes them. Weights
    count for the loss, the accuracy, and the metrics that have a parameter `sample_weight`.

    `loss` is by default the one that the model was last trained with in this process, or cross-entropy. The
    features are scaled as in the training, as `fit` describes; `scale` overrides the factor.

    If targets name classes, the accuracy is the fraction of samples whose class has the largest output. For a
    binary loss with targets 0 and 1 it is the fraction of outputs with the right sign.

    `metrics` are functions (outputs, targets) -> float of all outputs (N, ...) and targets: one, a list, or a
    dict by name. Names of functions of `fn.metrics`, such as "f1" and "roc_auc", stand for them. Returns
    {"loss": ..., "accuracy": ..., ...}, and "loss_mean" if the loss is a sum. Raises ValueError or TypeError
    for unsuitable data.
    """
    chosen, named = loss_of(model, loss), metrics_of(pairs_of(metrics))
    if is_stream(data):
        stream = Stream(data, STREAM_BATCH)
        with Batches(stream, model, chosen, scale, what=DATA) as batches:
            return evaluate_parts(model, chosen, batches.epoch(0), metrics=named)
    samples = check_data(model, chosen, cast(Data, data), scale, keep_mapped=True)
    return evaluate_parts(model, chosen, [samples], metrics=named)


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


def parts_of_data(data: Samples | Batches, epoch: int) -> Iterable[Samples]:
    """The data in parts that fit in memory or are read in blocks; `epoch` is counted from 0."""
    return [data] if isinstance(data, Samples) else data.epoch(epoch)


class _Evaluated(NamedTuple):
    """The results of one batch: its summed loss, and how many decisions are correct, or their weights."""

    loss: float
    correct: int
    right: float
    outputs: tuple[Array, Array, Array | None] | None  # and targets and weights, for metrics


def evaluate_parts(
    model: Layer,
    loss: Loss,
    parts: Iterable[Samples],
    batch_size: int = 1024,
    *,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Evaluate checked samples in parts, in batches of `batch_size`; `evaluate` describes the result.

    Several processes take turns with the batches. The result has the same bits as that of one process.
    """
    results: dict[int, _Evaluated] = {}  # by the number of the batch
    divisor = decisions = count = 0.0
    number, is_mean = 0, loss.reduction in MEANS
    for samples in parts:
        decided = decisions_of(model, loss, samples)
        rows = rows_at_once(samples.x, batch_size)
        for start in range(0, len(samples), rows):
            if number % processes.size == processes.rank:
                index = np.arange(start, min(start + rows, len(samples)))
                results[number] = _evaluate_batch(model, loss, samples, index, decided > 0, bool(metrics))
            number += 1
        divisor += loss.divisor(samples.target, samples.weight) if is_mean else 0
        count += mean_divisor(loss, samples) or 0.0
        if decided:
            weighted = samples.weight is not None
            decisions += _weight_of_decisions(model, loss, samples) if weighted else decided
    processes.meet(validating=True)
    for others in processes.gather(results):
        results |= others
    total = right = 0.0
    ordered = [results[each] for each in range(number)]
    for each in ordered:
        total, right = total + each.loss, right + each.right
    if is_mean:
        total /= divisor or math.nan  # all class weights may be 0
    of_mean = count if loss.reduction == "sum" else None
    values = summary(total, sum(each.correct for each in ordered) + right, decisions, of_mean)
    if metrics:
        batches = [each.outputs for each in ordered if each.outputs is not None]
        outputs, target = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
        weights = [weight for _, _, weight in batches if weight is not None]
        joined = np.concatenate(weights) if weights else None
        values |= {name: _value(metric, outputs, target, joined) for name, metric in metrics.items()}
    return values


def _evaluate_batch(
    model: Layer, loss: Loss, samples: Samples, index: Array, decides: bool, keep_outputs: bool
) -> _Evaluated:
    """Evaluate the samples `index`; `decides` is whether the accuracy applies."""
    x, target = samples.batch(index)
    outputs, _ = model.forward(x)
    weight = samples.weights(index)
    total = float(loss.value(outputs, target, "sum", weight)[0])
    correct, right = np.zeros(1, np.int64), 0.0
    if decides and weight is None:
        counting.count_correct(outputs, target, correct, binary=loss.binary)
    elif decides and weight is not None:
        right = _weighted_correct(outputs, target, weight, loss.binary)
    kept = _counted(outputs, samples.target[index], weight) if keep_outputs else None
    return _Evaluated(total, int(correct[0]), right, kept)


def _counted(outputs: Array, target: Array, weight: Array | None) -> tuple[Array, Array, Array | None]:
    """Outputs, targets and weights without the samples whose label the loss ignores; pixels become rows."""
    if counting.are_pixel_labels(target):
        counted = target < outputs.shape[-1]
        if weight is not None:
            own = weight.reshape(*weight.shape, *(1,) * (target.ndim - weight.ndim))
            weight = np.broadcast_to(own, target.shape)[counted]
        return outputs[counted], target[counted], weight
    if weight is not None and weight.ndim > 1:
        if outputs.shape[-1] != 1:
            raise ValueError(
                "metrics cannot leave single labels of a sample out: give the samples weights, or compute "
                "them from predict"
            )
        chosen = weight > 0
        return outputs[chosen][:, None], target[chosen], weight[chosen]
    if target.ndim != 1 or target.dtype != np.int64 or outputs.ndim != 2:
        return outputs, target, weight
    counted = target < outputs.shape[1]
    if counted.all():
        return outputs, target, weight
    return outputs[counted], target[counted], None if weight is None else weight[counted]


def _weight_of_decisions(model: Layer, loss: Loss, samples: Samples) -> float:
    """The sum of the weights of all decisions, of which there may be several per sample."""
    assert samples.weight is not None
    if samples.weight.ndim > 1:
        return float(samples.weight.sum(dtype=np.float64))
    weight, target = samples.weight, samples.target
    if loss.binary or counting.are_pixel_labels(target):
        counted = target >= 0 if loss.binary else target < model.output_shape(samples.x.shape[1:])[-1]
        weight = weight * counted.reshape(len(target), -1).sum(axis=1)
    return float(weight.sum(dtype=np.float64))


def _value(metric: Metric, outputs: Array, target: Array, weight: Array | None) -> float:
    """The metric, with the sample weights if it has a parameter for them and they are not all 1."""
    if weight is None or (weight == 1).all() or not _takes_weights(metric):
        return float(metric(outputs, target))
    return float(metric(outputs, target, sample_weight=weight))


def _takes_weights(metric: Metric) -> bool:
    try:
        return "sample_weight" in inspect.signature(metric).parameters
    except ValueError:  # some functions written in C have no signature
        return False


def _weighted_correct(outputs: Array, target: Array, weight: Array, binary: bool) -> float:
    """The sum of the weights of correct decisions; with `binary`, each output is one."""
    if binary:
        hits = ((outputs > 0) == (target == 1)) & (target >= 0)
    else:
        hits = outputs.argmax(axis=-1) == (target if target.ndim < outputs.ndim else target.argmax(axis=-1))
    if weight.ndim == 1:
        hits = hits.reshape(len(target), -1).sum(axis=1)
    return float((weight.astype(np.float64) * hits).sum())


def summary(
    loss: float, correct: float, decisions: float, mean_divisor: float | None = None
) -> dict[str, float]:
    """Loss and accuracy by name; no accuracy without decisions. A `mean_divisor` adds the mean of a sum."""
    values = {"loss": loss}
    if mean_divisor is not None:
        values["loss_mean"] = loss / (mean_divisor or math.nan)
    return values | ({"accuracy": correct / decisions} if decisions else {})


def mean_divisor(loss: Loss, samples: Samples, index: Array | None = None) -> float | None:
    """The divisor that makes a mean of the summed losses of the samples `index` (None: all).

    None unless the loss is a sum.
    """
    if loss.reduction != "sum":
        return None
    mean = copy.copy(loss)
    mean.reduction = "mean"
    chosen = slice(None) if index is None else index
    return mean.divisor(samples.target[chosen], None if samples.weight is None else samples.weight[chosen])


def batch_weights(loss: Loss, samples: Samples, order: Array, sizes: Array) -> Array:
    """How much each mini-batch of an epoch counts in its mean loss: successive samples of `order`.

    Their numbers of samples or, with weights of samples or classes, what their means were divided by, so that
    the mean over the epoch is that over all samples.
    """
    divisors = loss.divisors(samples.target) if loss.reduction == "mean" else 1.0
    if samples.weight is None:
        if not isinstance(divisors, np.ndarray):
            return sizes
        each = divisors
    elif samples.weight.ndim > 1:
        weights = loss.target_weights(samples.target, samples.weight)
        each = weights.reshape(len(samples), -1).sum(axis=1, dtype=np.float64)
    else:
        each = np.broadcast_to(samples.weight * np.float64(1) * divisors, samples.weight.shape)
    return np.add.reduceat(each[order[: sizes.sum()]], np.cumsum(sizes) - sizes)


def epoch_loss(loss: Loss, losses: Array, weights: Array) -> float:
    """The loss of an epoch from those of its mini-batches, which count by their weights in a mean."""
    if loss.reduction not in MEANS:
        return float(losses.sum())
    # Not np.dot: it sums long curves in an order that depends on the number of BLAS threads.
    return float((losses * weights).sum()) / (float(weights.sum()) or math.nan)


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


def decisions_of_training(model: Layer, loss: Loss, samples: Samples) -> int:
    """The same for an epoch of a training, whose kernels do not know which logits of yes/no to leave out."""
    leaves_out = loss.binary and samples.weight is not None and samples.weight.ndim > 1
    return 0 if leaves_out else decisions_of(model, loss, samples)


def decisions_among(model: Layer, loss: Loss, samples: Samples, index: Array) -> int:
    """The part of `decisions_of_training` that the samples `index` make."""
    decisions, target = decisions_of_training(model, loss, samples), samples.target
    if decisions == target.size:
        return target[:1].size * len(index)
    if decisions == 0 or (not loss.binary and target.dtype != np.int64):  # a distribution is one decision
        return len(index) if decisions else 0
    outputs = model.output_shape(samples.x.shape[1:])  # some labels are ignored
    counted = target[index] >= 0 if loss.binary else target[index] < outputs[-1]
    return int(np.count_nonzero(counted))


def decisions_of(model: Layer, loss: Loss, samples: Samples) -> int:
    """The number of decisions over which the accuracy is taken; 0 if the accuracy does not apply.

    One per label if the model has one output per class and the targets name classes; one per output for a
    binary loss with targets 0 and 1.
    """
    target = samples.target
    if loss.binary:
        leaves_out = getattr(loss, "ignore_index", None) is not None  # targets below 0
        blocks = (target[start : start + BLOCK] for start in range(0, len(target), BLOCK))
        decided = (((block < 0) & leaves_out) | (block == 0) | (block == 1) for block in blocks)
        if not all(bool(block.all()) for block in decided):
            return 0
        return int(np.count_nonzero(target >= 0)) if leaves_out else target.size
    outputs = model.output_shape(samples.x.shape[1:])
    if target.dtype == np.int64 and target.ndim == len(outputs):
        return int(np.count_nonzero(target < outputs[-1]))
    return len(samples) if len(outputs) == 1 and counting.has_classes(target) else 0
