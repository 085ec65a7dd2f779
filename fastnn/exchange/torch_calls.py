"""The modules, functions and tensor methods of PyTorch that can be converted, and the handler of each."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fastnn.exchange import torch_layers as layers
from fastnn.exchange import torch_shapes as shapes
from fastnn.exchange.chain import Value
from fastnn.exchange.torch_call import Call
from fastnn.layers import ReLU, Sigmoid, SiLU, Tanh

Handler = Callable[..., Value]


def _with(handler: Handler, *attributes: str) -> Handler:
    """The handler of a module that calls a function with its attributes."""

    def of_module(call: Call, input: Value) -> Value:
        return handler(call, input, *(getattr(call.module, name) for name in attributes))

    return of_module


_WINDOW = ("kernel_size", "stride", "padding")
_RELU, _SIGMOID, _SILU, _TANH = map(layers.plain, (ReLU, Sigmoid, SiLU, Tanh))

MODULES: dict[Any, Handler] = {
    nn.AdaptiveAvgPool1d: _with(layers.adaptive_avg_pool, "output_size"),
    nn.AdaptiveAvgPool2d: _with(layers.adaptive_avg_pool, "output_size"),
    nn.AvgPool1d: _with(layers.avg_pool, *_WINDOW, "ceil_mode", "count_include_pad"),
    nn.AvgPool2d: _with(layers.avg_pool, *_WINDOW, "ceil_mode", "count_include_pad", "divisor_override"),
    nn.BatchNorm1d: layers.batch_norm,
    nn.BatchNorm2d: layers.batch_norm,
    nn.Conv1d: layers.conv_module,
    nn.Conv2d: layers.conv_module,
    nn.ConvTranspose2d: _with(
        *(layers.conv_transpose2d, "weight", "bias", "stride"),
        *("padding", "output_padding", "groups", "dilation"),
    ),
    nn.Dropout: layers.dropout_module,
    nn.ELU: _with(layers.elu, "alpha"),
    nn.Embedding: _with(
        *(layers.embedding, "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq"),
    ),
    nn.Flatten: shapes.reshape,
    nn.GELU: _with(layers.gelu, "approximate"),
    nn.GroupNorm: _with(layers.group_norm, "num_groups", "weight", "bias", "eps"),
    nn.Identity: layers.same,
    nn.LayerNorm: _with(layers.layer_norm, "normalized_shape", "weight", "bias", "eps"),
    nn.LeakyReLU: _with(layers.leaky_relu, "negative_slope"),
    nn.Linear: _with(layers.linear, "weight", "bias"),
    nn.MaxPool1d: _with(layers.max_pool, *_WINDOW, "dilation", "ceil_mode", "return_indices"),
    nn.MaxPool2d: _with(layers.max_pool, *_WINDOW, "dilation", "ceil_mode", "return_indices"),
    nn.ReLU: _RELU,
    nn.SiLU: _SILU,
    nn.Sigmoid: _SIGMOID,
    nn.Softmax: _with(layers.softmax, "dim"),
    nn.Tanh: _TANH,
    nn.Unflatten: shapes.reshape,
    nn.ZeroPad1d: _with(shapes.pad, "padding"),
    nn.ZeroPad2d: _with(shapes.pad, "padding"),
}

FUNCTIONS: dict[Any, Handler] = {
    functional.adaptive_avg_pool1d: layers.adaptive_avg_pool,
    functional.adaptive_avg_pool2d: layers.adaptive_avg_pool,
    functional.avg_pool1d: layers.avg_pool,
    functional.avg_pool2d: layers.avg_pool,
    functional.conv1d: layers.conv,
    functional.conv2d: layers.conv,
    functional.conv_transpose2d: layers.conv_transpose2d,
    functional.dropout: layers.dropout,
    functional.elu: layers.elu,
    functional.embedding: layers.embedding,
    functional.gelu: layers.gelu,
    functional.group_norm: layers.group_norm,
    functional.layer_norm: layers.layer_norm,
    functional.leaky_relu: layers.leaky_relu,
    functional.linear: layers.linear,
    functional.max_pool1d: layers.max_pool,
    functional.max_pool2d: layers.max_pool,
    functional.pad: shapes.pad,
    functional.relu: _RELU,
    functional.sigmoid: _SIGMOID,
    functional.silu: _SILU,
    functional.softmax: layers.softmax,
    functional.tanh: _TANH,
    operator.add: shapes.add,
    operator.iadd: shapes.add,
    torch.add: shapes.add,
    torch.flatten: shapes.reshape,
    torch.max_pool1d: layers.max_pool,
    torch.max_pool2d: layers.max_pool,
    torch.mean: shapes.mean,
    torch.permute: shapes.permute,
    torch.relu: _RELU,
    torch.relu_: _RELU,
    torch.reshape: shapes.reshape,
    torch.sigmoid: _SIGMOID,
    torch.softmax: layers.softmax,
    torch.squeeze: shapes.reshape,
    torch.tanh: _TANH,
    torch.transpose: shapes.transpose,
    torch.unsqueeze: shapes.reshape,
}

METHODS: dict[Any, Handler] = {
    "add": shapes.add,
    "add_": shapes.add,
    "clone": layers.same,
    "contiguous": layers.same,
    "flatten": shapes.reshape,
    "mean": shapes.mean,
    "permute": shapes.permute,
    "relu": _RELU,
    "relu_": _RELU,
    "reshape": shapes.reshape,
    "sigmoid": _SIGMOID,
    "softmax": layers.softmax,
    "squeeze": shapes.reshape,
    "tanh": _TANH,
    "transpose": shapes.transpose,
    "unflatten": shapes.reshape,
    "unsqueeze": shapes.reshape,
    "view": shapes.reshape,
}


def known_kind(module: nn.Module) -> Any:
    """The class in MODULES that computes what `module` computes; None if there is none.

    A subclass counts if it has the forward method of the class.
    """
    forward = type(module).forward
    kinds = (kind for kind in type(module).__mro__ if kind in MODULES)
    return next((kind for kind in kinds if getattr(kind, "forward", None) is forward), None)


def supported(table: Iterable[Any]) -> str:
    """The names of classes, functions and methods, sorted."""
    return ", ".join(sorted({each if isinstance(each, str) else each.__name__ for each in table}))
