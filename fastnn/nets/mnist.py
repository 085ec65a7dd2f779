"""A convolutional net for images of digits."""

from __future__ import annotations

from fastnn.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)

CHANNELS = (32, 64, 64, 128)
UNITS = 128


def mnist_cnn(image: tuple[int, int] = (28, 28), classes: int = 10, dropout: float = 0.5) -> Sequential:
    """Four convolutions by 3 x 3 filters and two dense layers, with batch norm behind all but the last.

    32 channels, pool, 64, 64, pool, 128, pool, dense 128, dropout, dense `classes`: 278,890 parameters for
    images (28, 28) of one channel. `image` = (height, width), at least 8 each. Layers in front of a batch
    norm have no bias of their own, which it would take away again.
    """
    if min(image) < 8:
        raise ValueError(f"three pools halve an image: it must have at least 8 x 8 pixels, not {image}")
    layers: list[Layer] = []
    channels = 1
    for number, outputs in enumerate(CHANNELS):
        layers += [Conv2d(channels, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), ReLU()]
        if number != 1:
            layers.append(MaxPool2d(2))
        channels = outputs
    pixels = (image[0] // 8) * (image[1] // 8)
    layers += [Flatten(), Linear(pixels * channels, UNITS, bias=False), BatchNorm1d(UNITS), ReLU()]
    return Sequential(*layers, Dropout(dropout), Linear(UNITS, classes))
