"""Layers. The forward pass of each returns its output and its backward function.

A layer checks shapes, asks for buffers and calls kernels; it contains no arithmetic. May import `init`,
`param`, `recording`, `prediction` and the modules below them.
"""

import typing as _typing

from fastnn.layers.act import (
    ACTIVATIONS,
    ELU,
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from fastnn.layers.base import Layer
from fastnn.layers.conv import Conv1d, Conv2d
from fastnn.layers.conv_transpose import ConvTranspose2d
from fastnn.layers.dense import Linear
from fastnn.layers.dropout import Dropout
from fastnn.layers.elementwise import Elementwise, elementwise
from fastnn.layers.embedding import Embedding
from fastnn.layers.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from fastnn.layers.pool import (
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from fastnn.layers.residual import Residual
from fastnn.layers.sequential import Sequential
from fastnn.layers.shape import Flatten, Reshape
from fastnn.recording.recorder import Backward

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "Activation",
    "AvgPool1d",
    "AvgPool2d",
    "Backward",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Elementwise",
    "Embedding",
    "Flatten",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "elementwise",
]

if not _typing.TYPE_CHECKING:  # a type checker would accept any name
    from fastnn._attributes import names_of_module as _names_of_module

    __getattr__ = _names_of_module(__name__)
