"""What a net makes of its inputs on the way: the activations of a front that stays as it is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array
from fastnn.layers import Layer, Sequential


def features(
    model: Sequential,
    x: npt.ArrayLike,
    *,
    upto: int | Layer,
    scale: float | None = None,
    batch_size: int = 256,
) -> Array:
    """The outputs of layer `upto` of the model, the layer itself or its index, for the samples x (N, ...).

    Computed once, they are the inputs of a small classifier, which then trains without the front:

    >>> front = fn.nets.alexnet()
    >>> fn.load_torch(front, "alexnet.safetensors")
    >>> z = fn.features(front, images, upto=13)  # (N, 9216)
    >>> fn.fit(fn.Sequential(fn.Linear(9216, 64), fn.ReLU(), fn.Linear(64, 6)), (z, y))

    x is scaled as by `predict`. Raises TypeError for a model without layers in a row, ValueError for a layer
    that it does not have and for samples that do not fit.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"features are those of the layers of a fn.Sequential, not of {type(model).__name__}")
    return Sequential(*model.layers[: _index(model, upto) + 1]).predict(x, scale=scale, batch_size=batch_size)


def _index(model: Sequential, upto: int | Layer) -> int:
    if isinstance(upto, Layer):
        for index, layer in enumerate(model.layers):
            if layer is upto:
                return index
        raise ValueError(f"{upto!r} is none of the {len(model)} layers of the model")
    count = len(model)
    if isinstance(upto, bool) or not isinstance(upto, (int, np.integer)) or not -count <= upto < count:
        raise ValueError(
            f"upto must be a layer of the model, or an index from 0 to {count - 1}, not {upto!r}"
        )
    return int(upto) % count
