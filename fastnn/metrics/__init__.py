"""Metrics of outputs and targets, with the values that scikit-learn's functions have.

The functions of classification take `outputs` and `targets` of one of three kinds:

- classes: outputs are scores (N, C) or predicted labels (N,), targets are labels (N,) or one-hot or soft rows
  (N, C). The class of a row is the index of its largest value;
- one output: outputs are logits (N, 1), targets are 0 or 1, (N,) or (N, 1). A positive logit means 1;
- several labels per sample: outputs are logits (N, C), targets are rows (N, C) of 0 and 1, not all one-hot.
  A positive logit means 1. Only precision, recall, F1, IoU, ROC AUC and average precision are defined.

Classes may also be those of pixels: outputs (N, H, W, C) or predicted labels (N, H, W), and labels (N, H, W).
Each pixel then counts as a sample. The metrics of decisions take such masks, also of one output (N, H, W, 1).

Predicted and true labels may be text, such as `model.predict_classes` returns; classes are then in sorted
order. Decisions, integers 0 and 1, may take the place of logits, except in `roc_auc`, `average_precision` and
`log_loss`, which rank or score the outputs themselves.

`sample_weight` (N,), at least 0, lets a sample count as often as its weight says; None counts each once.
May import `data` and the modules below it.
"""

import typing as _typing

from fastnn.metrics.classification import (
    accuracy,
    cohen_kappa,
    confusion,
    count_correct,
    f1,
    iou,
    precision,
    recall,
    report,
    top_k,
)
from fastnn.metrics.decisions import are_pixel_labels, has_classes
from fastnn.metrics.probabilities import average_precision, log_loss, roc_auc
from fastnn.metrics.regression import mean_absolute_error, r2

__all__ = [
    "accuracy",
    "are_pixel_labels",
    "average_precision",
    "cohen_kappa",
    "confusion",
    "count_correct",
    "f1",
    "has_classes",
    "iou",
    "log_loss",
    "mean_absolute_error",
    "precision",
    "r2",
    "recall",
    "report",
    "roc_auc",
    "top_k",
]

if not _typing.TYPE_CHECKING:  # a type checker would accept any name
    from fastnn._attributes import names_of_module as _names_of_module

    __getattr__ = _names_of_module(__name__)
