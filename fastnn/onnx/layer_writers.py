"""How each class of layers is written as ONNX nodes: the table `WRITERS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastnn import layers
from fastnn._validation import Array
from fastnn.channel_order import to_channels_first
from fastnn.onnx.graph_writer import GraphWriter, Tensor
from fastnn.param import Param

Writer = Callable[[GraphWriter, Any, Tensor], Tensor]


def _sequential(graph: GraphWriter, layer: layers.Sequential, x: Tensor) -> Tensor:
    for each in layer:
        x = graph.layer(each, x)
    return x


def _residual(graph: GraphWriter, layer: layers.Residual, x: Tensor) -> Tensor:
    x = graph.flat_order(x)
    branch, shortcut = (graph.flat_order(graph.layer(path, x)) for path in (layer.branch, layer.shortcut))
    if branch.channels_first != shortcut.channels_first:
        branch, shortcut = graph.channels_first_of(branch), graph.channels_first_of(shortcut)
    return graph.node("Add", branch, shortcut.name)


def _nothing(graph: GraphWriter, layer: layers.Layer, x: Tensor) -> Tensor:
    return x


def _linear(graph: GraphWriter, layer: layers.Linear, x: Tensor) -> Tensor:
    weight = graph.weight(_flat_reordered(layer.weight.value, x.channels))
    return graph.node("Gemm", x, weight, *_optional(graph, layer.bias), shape=layer.weight.shape[1:])


def _embedding(graph: GraphWriter, layer: layers.Embedding, x: Tensor) -> Tensor:
    vectors = Tensor(graph.weight(layer.weight.value), ())
    return graph.node("Gather", vectors, x.name, shape=layer.output_shape(x.shape), axis=0)


def _conv(graph: GraphWriter, layer: layers.Conv1d | layers.Conv2d, x: Tensor) -> Tensor:
    x = _with_channels(graph, x, layer.sides)
    return graph.node(
        "Conv",
        x,
        graph.weight(_filters(layer)),
        *_optional(graph, layer.bias),
        shape=layer.output_shape(x.shape),
        **_window(layer, x),
        dilations=_sizes(layer.dilation),
        group=layer.groups,
    )


def _conv_transpose(graph: GraphWriter, layer: layers.ConvTranspose2d, x: Tensor) -> Tensor:
    x = _with_channels(graph, x, layer.sides)
    shape, window = layer.output_shape(x.shape), layer._window
    pads = window.padding_of(shape)
    more = [
        own - (size - 1) * step - extent + sum(cut)
        for own, size, step, extent, cut in zip(
            shape, x.shape, window.stride, window.extent, pads, strict=False
        )
    ]
    return graph.node(
        "ConvTranspose",
        x,
        graph.weight(_filters(layer)),
        *_optional(graph, layer.bias),
        shape=shape,
        kernel_shape=layer.filter_size,
        strides=layer.stride,
        pads=_pads(pads, 2),
        output_padding=more,
        dilations=layer.dilation,
        group=layer.groups,
    )


def _group_norm(graph: GraphWriter, layer: layers.GroupNorm, x: Tensor) -> Tensor:
    """One node from opset 21 on; before, instance norm of the groups, as PyTorch writes it."""
    if len(x.shape) > 1:
        x = graph.channels_first_of(x)
    gamma, beta = _scale_and_shift(layer, (layer.channels,))
    x = graph.flat_order(x)
    if graph.opset >= 21:
        names = [graph.weight(array) for array in (gamma, beta)]
        return graph.node("GroupNormalization", x, *names, num_groups=layer.groups, epsilon=layer.epsilon)
    groups = graph.reshape(x, (layer.groups, math.prod(x.shape) // layer.groups))
    names = [graph.weight(filler(layer.groups)) for filler in (np.ones, np.zeros)]
    normalized = graph.node("InstanceNormalization", groups, *names, epsilon=layer.epsilon)
    sides = (x.shape[-1], *x.shape[:-1]) if x.channels_first else x.shape
    restored = replace(graph.reshape(normalized, sides), shape=x.shape)
    columns = (-1, *(1 for _ in x.shape[1:]))
    scaled = graph.node("Mul", restored, graph.weight(gamma.reshape(columns)))
    return graph.node("Add", scaled, graph.weight(beta.reshape(columns)))


def _batch_norm(graph: GraphWriter, layer: Any, x: Tensor) -> Tensor:
    if len(x.shape) > 1:
        x = graph.channels_first_of(x)
    kept = layer.running_mean.value, layer.running_var.value
    gamma, beta = _scale_and_shift(layer, kept[0].shape)
    arrays = [graph.weight(_flat_reordered(array, x.channels)) for array in (gamma, beta, *kept)]
    return graph.node("BatchNormalization", x, *arrays, epsilon=layer.epsilon, momentum=1 - layer.momentum)


def _layer_norm(graph: GraphWriter, layer: layers.LayerNorm, x: Tensor) -> Tensor:
    gamma, beta = _scale_and_shift(layer, layer.shape)
    if x.channels_first and layer.shape == x.shape:  # the whole sample: no transposition
        order = (len(x.shape) - 1, *range(len(x.shape) - 1))
        arrays = [array.transpose(order) for array in (gamma, beta)]
    else:
        x = graph.channels_last(x)
        arrays = [_flat_reordered(array, x.channels) if array.ndim == 1 else array for array in (gamma, beta)]
    names = [graph.weight(array) for array in arrays]
    return graph.node("LayerNormalization", x, *names, axis=-len(layer.shape), epsilon=layer.epsilon)


def _pool(op: str) -> Writer:
    def write(graph: GraphWriter, layer: Any, x: Tensor) -> Tensor:
        attributes = _window(layer, x)
        if op == "AveragePool":
            attributes["count_include_pad"] = int(layer.count_include_pad)
        return graph.node(op, graph.channels_first_of(x), shape=layer.output_shape(x.shape), **attributes)

    return write


def _global_pool(graph: GraphWriter, layer: layers.Layer, x: Tensor) -> Tensor:
    pooled = graph.node("GlobalAveragePool", graph.channels_first_of(x))
    return graph.node("Flatten", pooled, shape=layer.output_shape(x.shape))


def _flatten(graph: GraphWriter, layer: layers.Flatten, x: Tensor) -> Tensor:
    if len(x.shape) == 1:
        return x
    shape = layer.output_shape(x.shape)
    pixels, channels = math.prod(x.shape[:-1]), x.shape[-1]
    reordered = x.channels_first and pixels > 1 and channels > 1
    return graph.node("Flatten", x, shape=shape, channels=channels if reordered else 1)


def _reshape(graph: GraphWriter, layer: layers.Reshape, x: Tensor) -> Tensor:
    shape = layer.output_shape(x.shape)
    if shape == x.shape:
        return x
    x = graph.flat_order(graph.channels_last(x))
    if len(shape) == 3 and shape[2] == 1:  # (H, W, 1) has the order of (1, H, W)
        first = graph.reshape(x, (1, *shape[:2]))
        return replace(first, shape=shape, channels_first=True)
    return graph.reshape(x, shape)


def _activation(op: str, *attributes: str) -> Writer:
    """A node with the attributes of the layer: pairs of the names in ONNX and here, as in alpha=slope."""

    def write(graph: GraphWriter, layer: Any, x: Tensor) -> Tensor:
        names = (name.split("=") for name in attributes)
        return graph.node(op, x, **{name: getattr(layer, own) for name, own in names})

    return write


def _silu(graph: GraphWriter, layer: layers.SiLU, x: Tensor) -> Tensor:
    return graph.node("Mul", x, graph.node("Sigmoid", x).name)


def _gelu(graph: GraphWriter, layer: layers.GELU, x: Tensor) -> Tensor:
    if graph.opset >= 20:
        return graph.node("Gelu", x, approximate=layer.approximate)
    if layer.approximate == "tanh":
        cubic = graph.node("Mul", graph.node("Mul", x, x.name), x.name)
        inner = graph.node("Add", graph.node("Mul", cubic, graph.scalar(0.044715)), x.name)
        cdf = graph.node("Tanh", graph.node("Mul", inner, graph.scalar(math.sqrt(2 / math.pi))))
    else:
        cdf = graph.node("Erf", graph.node("Mul", x, graph.scalar(math.sqrt(0.5))))
    doubled = graph.node("Mul", x, graph.node("Add", cdf, graph.scalar(1)).name)
    return graph.node("Mul", doubled, graph.scalar(0.5))


def _softmax(graph: GraphWriter, layer: layers.Softmax, x: Tensor) -> Tensor:
    return graph.node("Softmax", x, axis=-1)


def _with_channels(graph: GraphWriter, x: Tensor, sides: int) -> Tensor:
    """Images (N, C, H, W) or sequences (N, C, L); fastnn takes those of one channel without it, too."""
    if len(x.shape) == sides:
        return replace(graph.reshape(x, (1, *x.shape)), shape=(*x.shape, 1), channels_first=True)
    return graph.channels_first_of(x)


def _filters(layer: layers.Conv1d | layers.Conv2d | layers.ConvTranspose2d) -> Array:
    """The filters (..., C, O) as (O, C, ...)."""
    filters = layer.weight.value
    return filters.transpose(filters.ndim - 1, filters.ndim - 2, *range(filters.ndim - 2))


def _window(layer: Any, x: Tensor) -> dict[str, Any]:
    """The attributes of a window over sequences or images."""
    size = layer.filter_size if isinstance(layer, (layers.Conv1d, layers.Conv2d)) else layer.window
    shape = x.shape if layer.sides == 2 else (1, *x.shape)
    pads = _pads(layer._window.padding_of(shape), layer.sides)
    return {"kernel_shape": _sizes(size), "strides": _sizes(layer.stride), "pads": pads}


def _sizes(value: int | tuple[int, int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value


def _scale_and_shift(layer: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    gamma = np.ones(shape) if layer.gamma is None else layer.gamma.value
    return gamma, np.zeros(shape) if layer.beta is None else layer.beta.value


def _flat_reordered(array: Array, channels: int) -> Array:
    """Reorder the first axis, features flattened from (pixels, C), to (C, pixels)."""
    return array[to_channels_first((len(array) // channels, channels))]


def _pads(padding: Any, sides: int) -> list[int]:
    """The counts before each side, then those behind each side."""
    return [before for before, _ in padding[-sides:]] + [after for _, after in padding[-sides:]]


def _optional(graph: GraphWriter, param: Param | None) -> list[str]:
    return [] if param is None else [graph.weight(param.value, "bias")]


WRITERS: dict[type[layers.Layer], Writer] = {
    layers.AvgPool1d: _pool("AveragePool"),
    layers.AvgPool2d: _pool("AveragePool"),
    layers.BatchNorm1d: _batch_norm,
    layers.BatchNorm2d: _batch_norm,
    layers.Conv1d: _conv,
    layers.Conv2d: _conv,
    layers.ConvTranspose2d: _conv_transpose,
    layers.Dropout: _nothing,
    layers.ELU: _activation("Elu", "alpha=alpha"),
    layers.Embedding: _embedding,
    layers.Flatten: _flatten,
    layers.GELU: _gelu,
    layers.GlobalAvgPool1d: _global_pool,
    layers.GlobalAvgPool2d: _global_pool,
    layers.Identity: _nothing,
    layers.GroupNorm: _group_norm,
    layers.LayerNorm: _layer_norm,
    layers.LeakyReLU: _activation("LeakyRelu", "alpha=slope"),
    layers.Linear: _linear,
    layers.MaxPool1d: _pool("MaxPool"),
    layers.MaxPool2d: _pool("MaxPool"),
    layers.ReLU: _activation("Relu"),
    layers.Reshape: _reshape,
    layers.Residual: _residual,
    layers.Sequential: _sequential,
    layers.SiLU: _silu,
    layers.Sigmoid: _activation("Sigmoid"),
    layers.Softmax: _softmax,
    layers.Tanh: _activation("Tanh"),
}
