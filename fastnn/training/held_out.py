"""`fit(validation=0.1)`: set a fraction of the samples aside for validation."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import rng
from fastnn._validation import in_range
from fastnn.data.splits import held_out_rows
from fastnn.training.orders import class_labels
from fastnn.training.samples import Samples

# First element of the path that `rng.counter_generator` gets with the seed, so that the stream is independent
# of the orders, the random layers and the augmentation.
SPLIT = 3


def split(samples: Samples, fraction: Any, seed: int | None) -> tuple[Samples, Samples]:
    """Training and validation samples; which ones depends on the seed alone (None: 0).

    The number of validation samples is the rounded fraction of all, at least 1. If the targets name classes,
    the classes are as frequent as in the data, and the training set keeps a sample of each. Both parts keep
    the order of the data.

    Raises ValueError unless the fraction is between 0 and 1 (exclusive) and the data have enough samples.
    """
    try:
        fraction = in_range(fraction, "validation", 0, 1)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise ValueError("validation must be (x, y), or a fraction of the data above 0 and below 1")
    generator = rng.counter_generator(seed or 0, SPLIT)
    labels = class_labels(samples.target)
    chosen = held_out_rows(generator.permutation(len(samples)), fraction, labels)
    if not len(chosen):
        kept = 1 if labels is None else len(np.unique(labels))
        raise ValueError(
            f"no validation samples can be set aside: there are {len(samples)} samples, and training needs "
            f"{kept}" + (", one of each class" if labels is not None else "")
        )
    is_chosen = np.zeros(len(samples), bool)
    is_chosen[chosen] = True
    return samples.subset(np.flatnonzero(~is_chosen)), samples.subset(np.flatnonzero(is_chosen))
