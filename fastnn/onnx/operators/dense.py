"""Converters of matrix products and activations."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.layers import (
    ELU,
    GELU,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from fastnn.onnx.batch import Batch, plain, reordered
from fastnn.onnx.site import Site

Result = tuple[list[Layer], Batch]


def gemm(site: Site) -> Result:
    """Y = alpha A' B' + beta C, with A' the batch and B' constant."""
    node = site.node
    if node.attribute("transA", 0):
        raise node.refused("transA=1 is not supported: the batch is the first axis")
    node.attribute("broadcast", 0)  # of opset 6, always on later
    weight = site.needed(1) * node.attribute("alpha", 1.0)
    bias, beta = site.constant(2), node.attribute("beta", 1.0)
    site.features()
    return _linear(
        site, weight.T if node.attribute("transB", 0) else weight, None if bias is None else bias * beta
    )


def mat_mul(site: Site) -> Result:
    return _linear(site, site.needed(1), None)


def _linear(site: Site, weight: Array, bias: Array | None) -> Result:
    """A dense layer of features, or of the channels at each position of images or sequences."""
    x = site.x
    sides = len(x.shape) - 1
    if weight.ndim != 2 or weight.shape[0] != x.file_shape[-1] or not weight.shape[1] or sides > 2:
        raise site.node.refused(
            f"a matrix of shape {weight.shape} does not fit samples of shape {x.file_shape}"
        )
    if sides and not x.is_plain:
        raise site.layout_error()
    inputs, outputs = weight.shape
    kind: Any = Linear if not sides else partial(Conv1d if sides == 1 else Conv2d, filter_size=1)
    # Zeros are quick, and draw no random numbers.
    layer = kind(
        inputs,
        outputs,
        bias=bias is not None,
        weight_init="zeros",
        bias_init="zeros",
        dtype=site.values.dtype,
    )
    matrix = reordered(weight, x.channels) * x.scale
    site.set_values(layer.weight, matrix.reshape((1,) * sides + weight.shape))
    if bias is not None:
        if bias.size not in (1, outputs) or bias.shape[-1:] not in ((), (1,), (outputs,)):
            raise site.node.refused(
                f"the third input must have one value per output, but its shape is {bias.shape}"
            )
        site.set_values(layer.bias, np.broadcast_to(bias.reshape(-1), (outputs,)))
    return [layer], plain((*x.shape[:-1], outputs))


def gather(site: Site) -> Result:
    """Vectors that indices name: the first input is a constant matrix, the second the batch."""
    weight, axis = site.needed(0), site.node.attribute("axis", 0)
    if weight.ndim != 2 or 0 in weight.shape or weight.dtype.kind != "f" or axis not in (0, -2):
        raise site.node.refused(
            "it is supported as an embedding, rows of a matrix of floats: "
            f"not for an array of {weight.dtype}, {weight.shape}, on axis {axis}"
        )
    if not site.x.are_indices:
        raise site.node.refused("its indices must be integers")
    if not site.x.is_plain:
        raise site.layout_error()
    layer = Embedding(*weight.shape, weight_init="zeros", dtype=site.values.dtype)
    site.set_values(layer.weight, weight)
    return [layer], plain((*site.x.shape, weight.shape[1]))


def relu(site: Site) -> Result:
    return [ReLU()], site.x


def sigmoid(site: Site) -> Result:
    return [Sigmoid()], site.x


def tanh(site: Site) -> Result:
    return [Tanh()], site.x


def leaky_relu(site: Site) -> Result:
    return [LeakyReLU(site.node.attribute("alpha", 0.01))], site.x


def prelu(site: Site) -> Result:
    slopes = np.unique(site.needed(1))
    if slopes.size != 1:
        raise site.node.refused("all slopes must be equal")
    return [LeakyReLU(float(slopes[0]))], site.x


def elu(site: Site) -> Result:
    return [ELU(site.node.attribute("alpha", 1.0))], site.x


def gelu(site: Site) -> Result:
    return [GELU(site.node.attribute("approximate", "none"))], site.x


def swish(site: Site) -> Result:
    if site.node.attribute("alpha", 1.0) != 1:
        raise site.node.refused("alpha must be 1")
    return [SiLU()], site.x


def clip(site: Site) -> Result:
    """Only the clipping of negative values, which is ReLU."""
    node = site.node
    if site.values.opset < 11:
        low, high = node.attribute("min", -np.inf), node.attribute("max", np.inf)
    else:
        low, high = site.scalar(1, -np.inf), site.scalar(2, np.inf)
    largest = float(np.finfo(np.float32).max)
    if low is not None and high is not None and low <= -largest and high >= largest:
        return [], site.x
    if low != 0 or (high is not None and high < largest):
        raise node.refused(
            f"only min=0 without max is supported, which is ReLU, not min={low:g}, max={high:g}"
        )
    return [ReLU()], site.x


def softmax(site: Site) -> Result:
    axis = site.node.attribute("axis", 1 if site.values.opset < 13 else -1)
    site.features()
    if axis not in (1, -1):
        raise site.node.refused(f"axis must be 1, that of the features, not {axis}")
    return [Softmax()], site.x


def dropout(site: Site) -> Result:
    node = site.node
    if site.values.opset < 12:
        rate: float | None = node.attribute("ratio", 0.5)
    else:
        node.attribute("seed", 0)
        rate = site.scalar(1, 0.5)
        if site.scalar(2, 0):
            raise node.refused("training_mode must be false")
    assert rate is not None
    return [Dropout(rate)], site.x
