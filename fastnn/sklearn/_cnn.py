"""A classifier of images that come as rows of pixels, as scikit-learn's data sets have them."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from fastnn.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from fastnn.sklearn._networks import ATTRIBUTES, PARAMETERS, NNClassifier

CHANNELS = (16, 32)


def small_cnn(image_shape: tuple[int, ...], outputs: int) -> Layer:
    """Two 3x3 convolutions with ReLU and 2x2 max pooling, then a dense layer of 100 units.

    Images with fewer than 4 rows or columns are not pooled. There is no batch norm, so a sample of weight 2
    counts exactly like two samples.
    """
    height, width, channels = image_shape
    layers: list[Layer] = []
    for filters in CHANNELS:
        layers += [Conv2d(channels, filters, 3, padding=1, weight_init="he_uniform"), ReLU()]
        if min(height, width) >= 4:
            layers.append(MaxPool2d(2))
            height, width = height // 2, width // 2
        channels = filters
    hidden = Linear(height * width * channels, 100, weight_init="he_uniform")
    return Sequential(*layers, Flatten(), hidden, ReLU(), Linear(100, outputs))


@dataclass(eq=False, repr=False)
class CNNClassifier(NNClassifier):
    __doc__ = f"""Convolutional network for images; X holds them as rows of pixels (N, height width channels).

    Parameters
    ----------
    image_shape : (height, width) or (height, width, channels), default=None
        Shape of an image. None: square grey images, if the number of features is a square number, and images
        of one row otherwise.
    build : callable, default=None
        `build(image_shape, outputs)` returns the untrained model, which maps images (height, width, channels)
        to `outputs` logits. By default two convolutions and two dense layers.
    augment : fastnn augmentation, default=None
        Random changes of the images of each mini-batch, for example `fn.augment.Shift(2)`.
    loss : {{"log_loss", "focal"}} or a fastnn loss, default="log_loss"
        The loss to minimize.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" weights them by the inverse of their frequency.{PARAMETERS}
    Attributes
    ----------
    classes_ : array of the class labels{ATTRIBUTES}"""

    _: KW_ONLY
    image_shape: Any = None

    _sparse_formats = False

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NNClassifier._parameter_constraints,
        "image_shape": [None, "array-like"],
    }

    def _default_build(self, input_shape: tuple[int, ...], outputs: int) -> Layer:
        return small_cnn(input_shape, outputs)

    def _input_shape(self, features: int) -> tuple[int, ...]:
        if self.image_shape is None:
            side = math.isqrt(features)
            return (side, side, 1) if side * side == features else (1, features, 1)
        shape = tuple(int(size) for size in self.image_shape)
        shape = (*shape, 1) if len(shape) == 2 else shape
        if len(shape) != 3 or math.prod(shape) != features:
            raise ValueError(
                f"image_shape={self.image_shape} does not fit {features} features: pass (height, width) or "
                "(height, width, channels) with that product"
            )
        return shape
