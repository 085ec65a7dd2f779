"""The random streams of a training: functions of its key, independent of each other."""

from __future__ import annotations

import numpy as np

from fastnn import rng
from fastnn._validation import Array
from fastnn.layers import Layer

# First elements of the paths that `rng.counter_generator` gets with the key of a training.
ORDER_OF_SAMPLES, RANDOM_LAYER, AUGMENTATION = 0, 1, 2


def seed_layers(model: Layer, key: int, process: int = 0) -> None:
    """Start the streams of all random layers, such as dropout; those of each process are independent."""
    for index, state in enumerate(model.random_states()):
        path = (RANDOM_LAYER, index, *_own(process))
        state[:] = rng.counter_generator(key, *path).integers(2**63), 0


def augmentation_state(key: int, process: int = 0) -> Array:
    """The state of the augmentation, (key, number of batches), which every augmented batch advances."""
    path = (AUGMENTATION, *_own(process))
    return np.array([rng.counter_generator(key, *path).integers(2**63), 0], np.uint64)


def _own(process: int) -> tuple[int, ...]:
    """The end of the path of a process; the first one has the streams of a training in one process."""
    return (process,) if process else ()
