"""Feature extraction: the activations of a frozen network at an inner layer."""

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
    """Return the outputs of layer `upto` of the model for the samples x (N, ...).

    Computed once, they serve as the inputs of a small classifier, which then trains without the pretrained
    layers:

    >>> front = fn.nets.alexnet()
    >>> fn.load_torch(front, "alexnet.safetensors")
    >>> z = fn.features(front, images, upto=13)  # (N, 9216)
    >>> fn.fit(fn.Sequential(fn.Linear(9216, 64), fn.ReLU(), fn.Linear(64, 6)), (z, y))

    Args:
        model: The pretrained network.
        x: Samples (N, ...).
        upto: The last layer to apply: its index in the model (negative: from the end), or the layer itself.
        scale: The factor for x, as for `predict`; None: 1/255 for uint8, else 1.
        batch_size: Samples per forward pass.

    Returns:
        The features (N, ...), in the dtype of the model.

    Raises:
        TypeError: If the model is not a `fn.Sequential`.
        ValueError: If the model has no such layer, or the samples do not fit.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"features takes a fn.Sequential, not {type(model).__name__}")
    return Sequential(*model.layers[: _index(model, upto) + 1]).predict(x, scale=scale, batch_size=batch_size)


def _index(model: Sequential, upto: int | Layer) -> int:
    """Return the index of layer `upto`, at least 0. Raises ValueError if the model does not have it."""
    if isinstance(upto, Layer):
        for index, layer in enumerate(model.layers):
            if layer is upto:
                return index
        raise ValueError(f"{upto!r} is not one of the {len(model)} layers of the model")
    count = len(model)
    if isinstance(upto, bool) or not isinstance(upto, (int, np.integer)) or not -count <= upto < count:
        raise ValueError(
            f"upto must be a layer of the model, or an index from 0 to {count - 1}, not {upto!r}"
        )
    return int(upto) % count
