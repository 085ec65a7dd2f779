"""The random streams of a training: functions of its key, independent of each other."""

from __future__ import annotations

import numpy as np

from fastnn import rng
from fastnn._validation import Array
from fastnn.layers import Layer

# First elements of the paths that `rng.counter_generator` gets with the key of a training.
ORDER_OF_SAMPLES, RANDOM_LAYER, AUGMENTATION = 0, 1, 2


def seed_layers(model: Layer, key: int) -> None:
    """Start the streams of all random layers, such as dropout."""
    for index, state in enumerate(model.random_states()):
        state[:] = rng.counter_generator(key, RANDOM_LAYER, index).integers(2**63), 0


def augmentation_state(key: int) -> Array:
    """The state of the augmentation, (key, number of batches), which every augmented batch advances."""
    return np.array([rng.counter_generator(key, AUGMENTATION).integers(2**63), 0], np.uint64)
