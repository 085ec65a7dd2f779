"""A convolutional network for images of digits."""

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


def mnist_cnn(
    image: tuple[int, int] = (28, 28), classes: int = 10, dropout: float = 0.5, *, channels: int = 1
) -> Sequential:
    """A CNN for images (height, width, channels): four 3x3 convolutions and two dense layers.

    The layers are: convolution to 32 channels, pool, 64, 64, pool, 128, pool, dense 128, dropout, dense
    `classes`. Batch norm follows every layer but the last; layers before a batch norm have no bias, because
    batch norm subtracts it again. There are 278,890 parameters for images (28, 28) and 10 classes.

    Args:
        image: Height and width of the images, at least 8 each.
        classes: Number of outputs (logits).
        dropout: Dropout rate before the output layer.
        channels: Number of channels of the images: 1 for grey images, 3 for colour.

    Raises:
        ValueError: If an argument is not valid.
    """
    if min(image) < 8:
        raise ValueError(f"image must be at least 8 x 8 pixels (three pools halve it), got {image}")
    layers: list[Layer] = []
    for index, outputs in enumerate(CHANNELS):
        layers += [Conv2d(channels, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), ReLU()]
        if index != 1:
            layers.append(MaxPool2d(2))
        channels = outputs
    pixels = (image[0] // 8) * (image[1] // 8)
    layers += [Flatten(), Linear(pixels * channels, UNITS, bias=False), BatchNorm1d(UNITS), ReLU()]
    return Sequential(*layers, Dropout(dropout), Linear(UNITS, classes))
