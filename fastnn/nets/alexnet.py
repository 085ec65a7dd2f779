"""AlexNet, the network that won the ImageNet challenge in 2012."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn._validation import choose, in_range, positive_int
from fastnn.init import Initializer
from fastnn.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential


@dataclass(frozen=True)
class Form:
    """A variant: filters of the 5 convolutions, padding of the first, groups of convolutions 2, 4 and 5."""

    channels: tuple[int, int, int, int, int]
    padding: int
    groups: int


FORMS = {
    "one_tower": Form((64, 192, 384, 256, 256), 2, 1),
    "original": Form((96, 256, 384, 384, 256), 0, 1),
    "two_groups": Form((96, 256, 384, 384, 256), 0, 2),
}


def alexnet(
    classes: int = 1000,
    *,
    form: str = "one_tower",
    dropout: float = 0.5,
    weight_init: str | Initializer = "he_uniform",
) -> Sequential:
    """AlexNet for images (227, 227, 3): five convolutions, three overlapping max pools, three dense layers.

    Layers 0 to 12 are convolutions, ReLU and max pools; layer 13 flattens to 256 * 6 * 6 = 9216 features. The
    local response normalisation of 2012 is left out, as in torchvision: it takes time and helps little
    (Simonyan & Zisserman 2015).

    Args:
        classes: Number of outputs (logits).
        form: "one_tower" is the variant of Krizhevsky 2014 (arXiv:1404.5997) and of torchvision, whose
            weights `fn.load_torch` reads: 61,100,840 parameters for 1000 classes. "two_groups" has the layers
            of Krizhevsky, Sutskever & Hinton 2012, who divided convolutions 2, 4 and 5 between two GPUs:
            60,965,224 parameters. "original" is the same without groups: 62,378,344 parameters.
        dropout: Dropout rate before the first and the second dense layer.
        weight_init: Initialiser of the weights (`fastnn.init`); biases start at 0. With PyTorch's default,
            "fan_in_uniform", the signal fades from layer to layer, and the loss does not decrease for
            hundreds of updates.

    Raises:
        ValueError: If an argument is not valid.
    """
    positive_int(classes, "classes")
    in_range(dropout, "dropout", 0, 1)
    chosen = choose(form, FORMS, "form")
    a, b, c, d, e = chosen.channels
    groups = chosen.groups

    def conv(channels: int, outputs: int, size: int, padding: int, stride: int = 1, groups: int = 1) -> Layer:
        return Conv2d(
            channels,
            outputs,
            size,
            stride=stride,
            padding=padding,
            groups=groups,
            weight_init=weight_init,
            bias_init="zeros",
        )

    def dense(inputs: int, outputs: int) -> Layer:
        return Linear(inputs, outputs, weight_init=weight_init, bias_init="zeros")

    return Sequential(
        *(conv(3, a, 11, chosen.padding, stride=4), ReLU(), MaxPool2d(3, stride=2)),
        *(conv(a, b, 5, 2, groups=groups), ReLU(), MaxPool2d(3, stride=2)),
        *(conv(b, c, 3, 1), ReLU()),
        *(conv(c, d, 3, 1, groups=groups), ReLU()),
        *(conv(d, e, 3, 1, groups=groups), ReLU(), MaxPool2d(3, stride=2)),
        Flatten(),
        *(Dropout(dropout), dense(e * 6 * 6, 4096), ReLU()),
        *(Dropout(dropout), dense(4096, 4096), ReLU()),
        dense(4096, classes),
    )
