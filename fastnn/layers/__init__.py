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
from fastnn.layers.conv import Conv2d
from fastnn.layers.dense import Linear
from fastnn.layers.dropout import Dropout
from fastnn.layers.elementwise import Elementwise, elementwise
from fastnn.layers.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from fastnn.layers.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from fastnn.layers.residual import Residual
from fastnn.layers.sequential import Sequential
from fastnn.layers.shape import Flatten, Reshape
from fastnn.recording.recorder import Backward

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "Activation",
    "AvgPool2d",
    "Backward",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Elementwise",
    "Flatten",
    "GlobalAvgPool2d",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
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
