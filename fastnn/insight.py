"""What a trained network looks at: gradients of the input, occluded images, units that speak for a class."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._sources import Features
from fastnn._validation import Array, positive_int
from fastnn.classes import classes_of
from fastnn.layers import Layer, Linear
from fastnn.layers.base import expect_layers
from fastnn.layers.sequential import flat_layers
from fastnn.prediction import scaled_features


class Unit(NamedTuple):
    """A unit of the last hidden layer, and its weight on the output of a class."""

    number: int
    weight: float


def saliency(
    model: Layer,
    x: Features,
    *,
    classes: npt.ArrayLike | None = None,
    scale: float | None = None,
    batch_size: int = 256,
) -> Array:
    """Return the gradient of a class's output with respect to the inputs, in the shape of `x` (N, ...).

    It says by how much the output of the class rises with each input, to first order (Simonyan, Vedaldi &
    Zisserman 2014, arXiv:1312.6034). Inputs are taken as the network gets them, after the scaling of uint8.

    Args:
        model: A trained network with outputs (N, C). It does not change.
        x: Samples (N, ...).
        classes: The class of each sample (N,), or one for all: labels as in `model.classes`, or numbers of
            outputs if that is None. Default: the class with the largest output.
        scale: The factor for x, as for `predict`.
        batch_size: Samples per pass.

    Raises:
        ValueError: If the samples or classes do not fit the model.
        TypeError: If the model is no layer.
    """
    expect_layers("saliency", [model])
    inputs = scaled_features(model, x, scale)
    twin = copy.deepcopy(model)
    twin.trainable = False  # only the gradient of the input is needed
    gradients = np.empty_like(inputs)
    for start in range(0, len(inputs), positive_int(batch_size, "batch_size")):
        part = slice(start, start + batch_size)
        outputs, backward = twin.forward(inputs[part], train=False)
        chosen = numbers_of(model, classes, outputs, part, len(inputs))
        dy = np.zeros_like(outputs)
        dy[np.arange(len(outputs)), chosen] = 1
        gradients[part] = backward(dy)
    return gradients


def occlusion(
    model: Layer,
    x: npt.ArrayLike,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: float = 0,
    classes: npt.ArrayLike | None = None,
    scale: float | None = None,
) -> Array:
    """Return how much the probability of a class drops where a square of an image is covered, (N, H, W).

    Each value is the mean drop over all squares that cover the pixel (after Zeiler & Fergus 2014,
    arXiv:1311.2901): positive where the network needs the pixel.

    Args:
        model: A trained classifier with outputs (N, C).
        x: Images (N, H, W) or (N, H, W, C).
        window: Side of the square in pixels. Default: a quarter of the shorter side of the images.
        stride: Distance of the squares. Default: half of the window.
        fill: The value of covered pixels, before scaling.
        classes: As for `fn.saliency`.
        scale: The factor for x, as for `predict`.

    Raises:
        ValueError: If `x` has another shape, or an argument does not fit.
    """
    expect_layers("occlusion", [model])
    images = np.asarray(x)
    if images.ndim not in (3, 4):
        raise ValueError(f"occlusion takes images (N, H, W) or (N, H, W, C), not {images.shape}")
    height, width = images.shape[1:3]
    side = max(min(height, width) // 4, 1) if window is None else positive_int(window, "window")
    if side > min(height, width):
        raise ValueError(f"window must be at most the side of the images, {min(height, width)}, not {side}")
    step = max(side // 2, 1) if stride is None else positive_int(stride, "stride")
    if step > side:
        raise ValueError(f"stride must be at most the window, {side}, or pixels are left out; got {step}")
    whole = model.predict_proba(images, scale=scale)
    chosen = numbers_of(model, classes, whole, slice(None), len(images))
    rows = np.arange(len(images))
    drops, counts = np.zeros(images.shape[:3]), np.zeros((height, width))
    for top in _places(height, side, step):
        for left in _places(width, side, step):
            square = slice(top, top + side), slice(left, left + side)
            covered = images.copy()
            covered[:, square[0], square[1]] = fill
            drop = whole[rows, chosen] - model.predict_proba(covered, scale=scale)[rows, chosen]
            drops[:, square[0], square[1]] += drop[:, None, None]
            counts[square] += 1
    result: Array = drops / counts
    return result


def top_units(model: Layer, cls: object, k: int = 10) -> list[Unit]:
    """Return the `k` units of the last hidden layer with the largest weights on the output of a class.

    `cls` is a label as in `model.classes`, or the number of an output if that is None. The unit with the
    largest weight comes first. Raises ValueError if the network does not end with a `Linear` layer (an
    activation may follow it), or if it has no such class.
    """
    output = dense_layers(model)[-1]
    (chosen,) = numbers_of(model, cls, np.zeros((1, output.weight.shape[1])), slice(None), 1)
    weights = output.weight.value[:, chosen]
    order = np.argsort(-weights, kind="stable")[: positive_int(k, "k")]
    return [Unit(int(index), float(weights[index])) for index in order]


def dense_layers(model: Layer) -> list[Linear]:
    """The dense layers of a chain in order. Raises ValueError if it does not end with one."""
    expect_layers("top_units", [model])
    layers = [layer for layer in flat_layers(model) if layer.parameters()]
    if not layers or not isinstance(layers[-1], Linear):
        raise ValueError(f"the last layer with weights must be a Linear layer: {model!r:.200}")
    return [layer for layer in layers if isinstance(layer, Linear)]


def numbers_of(model: Layer, classes: object, outputs: Array, part: slice, count: int) -> Array:
    """The numbers of the outputs (n, C) that classes, for `count` samples of which these are `part`, name.

    None stands for the largest outputs. Raises ValueError if they do not fit.
    """
    if outputs.ndim != 2:
        raise ValueError(f"the outputs of the model must have shape (N, classes), not {outputs.shape}")
    if classes is None:
        largest: Array = outputs.argmax(axis=1)
        return largest
    labels = np.asarray(classes)
    if labels.ndim and labels.shape != (count,):
        raise ValueError(f"classes must be one label, or have shape ({count},), not {labels.shape}")
    own = np.broadcast_to(labels, (count,))[part]
    known = classes_of(model)
    if known is not None and not known.numbered:
        return known.encode(own)
    if own.dtype.kind not in "iu" or (own < 0).any() or (own >= outputs.shape[1]).any():
        raise ValueError(f"classes must be integers from 0 to {outputs.shape[1] - 1}, not {classes!r:.80}")
    return own.astype(np.int64)


def _places(size: int, window: int, step: int) -> list[int]:
    """The first pixels of windows that cover a side: every `step` pixels, and at the end."""
    return [*range(0, size - window, step), size - window]
