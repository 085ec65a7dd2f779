"""Layers: each returns its output together with its own way back."""

from fastnn.layers.act import ACTIVATIONS, Activation, Identity, ReLU, Sigmoid, Softmax, Tanh
from fastnn.layers.base import Layer
from fastnn.layers.conv import Conv2d
from fastnn.layers.dense import Linear
from fastnn.layers.dropout import Dropout
from fastnn.layers.elementwise import Elementwise, elementwise
from fastnn.layers.residual import Residual
from fastnn.layers.sequential import Sequential
from fastnn.layers.shape import Flatten, Reshape
from fastnn.recording import Backward

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Backward",
    "Conv2d",
    "Dropout",
    "Elementwise",
    "Flatten",
    "Identity",
    "Layer",
    "Linear",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "elementwise",
]
