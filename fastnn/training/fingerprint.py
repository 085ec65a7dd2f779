"""Describe a training: settings, model and data in plain words, to compare two trainings."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnn._sources import Rows, Source, rows_at_once
from fastnn.augment import Augmentation
from fastnn.feeding import default_factor
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.optim.ema import EMA
from fastnn.optim.optimizers import Optimizer
from fastnn.optim.schedules import Schedule
from fastnn.param import Buffer, Param
from fastnn.training.batches import Batches
from fastnn.training.callbacks import Callback
from fastnn.training.samples import Samples

# Classes whose attributes are described; other objects are described by their class alone.
KNOWN = (Layer, Loss, Optimizer, Augmentation, Callback, Schedule, EMA)
HASHED_ROWS = 1024  # at once
SIMPLE = (bool, int, float, str, type(None))


def describe(value: object) -> Any:
    """Describe classes and settings of a model, a loss, an optimizer, ... for JSON, without their state."""
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return describe_array(value)
    if isinstance(value, Mapping):
        return {str(name): describe(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [describe(item) for item in value]
    if isinstance(value, Param):
        return _describe_param(value)
    if isinstance(value, Buffer):
        return f"{value.dtype} {value.shape}"
    kind = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    name = f"{kind.__module__}.{getattr(kind, '__qualname__', '')}"
    if kind is not type(value) or not isinstance(value, KNOWN):
        return name
    counters = {id(state) for state in value.random_states()} if isinstance(value, Layer) else set()
    settings = {
        name.removeprefix("_"): describe(item)
        for name, item in vars(value).items()
        if id(item) not in counters and not _is_state(value, name)
    }
    return {"class": name, **settings}


def _describe_param(param: Param) -> str:
    """The settings of a parameter; later ones only if they are set, since older checkpoints lack them."""
    text = f"{param.dtype} {param.shape}, trainable={param.trainable}, lr_scale={param.lr_scale:g}"
    if param.decay_scale != 1:
        text += f", decay_scale={param.decay_scale:g}"
    if param.clip_value is not None:
        text += f", clip_value={param.clip_value:g}"
    return text if param.mask is None else f"{text}, mask {describe_array(param.mask)}"


def describe_array(array: Rows) -> str:
    """The dtype, the shape and a hash of the elements."""
    digest, rows = hashlib.sha256(), array if isinstance(array, Source) else np.atleast_1d(array)
    step = rows_at_once(rows, HASHED_ROWS)
    for start in range(0, len(rows), step):  # a memory-mapped file of any layout is not copied whole
        digest.update(np.ascontiguousarray(rows[start : start + step]).data)
    return f"{array.dtype} {array.shape} with the hash {digest.hexdigest()[:16]}"


def describe_data(samples: Samples | Batches | None) -> Any:
    """A description of features and targets."""
    if samples is None or isinstance(samples, Batches):
        return None if samples is None else samples.describe()
    described = {"x": describe_array(samples.x), "y": describe_array(samples.target)}
    if samples.weight is not None:
        described["sample weights"] = describe_array(samples.weight)
    if samples.has_encoded_labels:
        assert samples.classes is not None
        described["classes"] = samples.classes.labels.tolist()
    # Older checkpoints do not have the factor: it was always the default one, or the option `scale`.
    usual = samples.scale == default_factor(samples.x.dtype)
    return described if usual else {**described, "factor of x": samples.scale}


def _is_state(owner: object, name: str) -> bool:
    """Whether an attribute is not a setting, but a state that training changes."""
    if isinstance(owner, Optimizer):
        return name == "_states"
    if isinstance(owner, EMA):
        return name in ("counter", "_averages")
    if not isinstance(owner, (Callback, Schedule)):
        return False
    if type(owner)._is_strict:
        return name.startswith("_")
    # The settings of a user's class are the arguments of its constructor; other attributes may be counters.
    return name.removeprefix("_") not in inspect.signature(type(owner)).parameters
