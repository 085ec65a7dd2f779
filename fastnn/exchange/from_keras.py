"""Converts a Keras model to a fastnn model: architecture and weights at once.

The graph is followed from the output back to the input. Both libraries have images with the channels last.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from fastnn import layers as ours
from fastnn._validation import Array, Shape
from fastnn.exchange.chain import Value, added, model_of
from fastnn.exchange.errors import ConversionError, check_same, random_batch
from fastnn.layers import Layer, Sequential
from fastnn.param import Param

Pair = tuple[int, int]


def convert(model: Any) -> Sequential:
    """See `fastnn.from_keras`."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"from_keras takes a keras.Model, not {model!r}")
    outputs = _graph_of(model)
    if len(model.inputs) != 1 or len(outputs) != 1:
        raise ConversionError(
            f"the model has {len(model.inputs)} inputs and {len(outputs)} outputs; supported is one of each"
        )
    start = Value(_shape(model.inputs[0], "the input"))
    converted = model_of(_Graph(start, model, set()).value(outputs[0]))
    _verify(model, converted, start.shape)
    return converted


def _graph_of(model: Any) -> list[Any]:
    """The outputs of a model, from which the graph can be followed. Raises ConversionError if it has none."""
    if isinstance(model, keras.Sequential) and not model.built:
        raise ConversionError(
            "the model is not built: begin with keras.Input(shape), or call it on an example"
        )
    try:
        return list(model.outputs)
    except (AttributeError, ValueError) as error:
        raise ConversionError(
            "the model is neither Sequential nor functional: a call method of its own leaves no graph to read"
        ) from error


def _shape(tensor: Any, name: str) -> Shape:
    """The shape of a sample. Raises ConversionError if a size is unknown."""
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ConversionError(f"{name} has samples of shape {shape}: every size must be known")
    return shape


class _Graph:
    """Converts a model, whose input has the value `start`, from its output backwards.

    `used` holds the layers with weights that were converted, also those of other models.
    """

    def __init__(self, start: Value, model: Any, used: set[int]) -> None:
        self._values: dict[int, Value] = {id(model.inputs[0]): start}
        self._used = used

    def value(self, tensor: Any) -> Value:
        """Convert what computes a tensor, once."""
        waiting = [tensor]  # no recursion: a chain may have more layers than Python allows calls within calls
        while waiting:
            layer, node_index, _ = waiting[-1]._keras_history
            arguments = layer._inbound_nodes[node_index].input_tensors
            missing = [each for each in arguments if id(each) not in self._values]
            if id(waiting[-1]) in self._values:
                waiting.pop()
            elif missing:
                waiting += missing
            else:
                done = waiting.pop()
                inputs = [self._values[id(each)] for each in arguments]
                self._values[id(done)] = self._convert(layer, inputs, _shape(done, layer.name))
        return self._values[id(tensor)]

    def _convert(self, layer: Any, inputs: list[Value], shape: Shape) -> Value:
        if isinstance(layer, keras.Model):
            (output,) = _graph_of(layer)
            return _Graph(inputs[0], layer, self._used).value(output)
        if layer.weights and id(layer) in self._used:
            raise _refused(layer, "is called twice: a parameter may occur only once in a model of fastnn")
        self._used.add(id(layer))
        return _convert_layer(layer, inputs, shape)


def _convert_layer(layer: Any, inputs: list[Value], shape: Shape) -> Value:
    if type(layer) is keras.layers.Add:
        if len(inputs) != 2 or inputs[0].shape != inputs[1].shape:
            raise _refused(layer, f"adds {len(inputs)} values; supported are two of the same shape")
        return added(*inputs)
    handler = LAYERS.get(type(layer))
    if handler is None or len(inputs) != 1:
        known = ", ".join(sorted({"Add", *(kind.__name__ for kind in LAYERS)}))
        raise _refused(layer, f"has no counterpart in fastnn; supported are {known}")
    (before,) = inputs
    padding = before.padding
    if any(padding) and handler is not _conv:
        raise _refused(layer, "follows zero padding, which is supported only before a convolution")
    if type(layer) in (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D):
        sides = _require(layer, data_format="channels_last").padding
        (above, below), (left, right) = sides if isinstance(sides[0], tuple) else ((0, 0), sides)
        return Value(shape, before, padding=(above, below, left, right))
    try:
        made = handler(layer, before.shape, padding)
    except ConversionError:
        raise
    except (TypeError, ValueError) as error:
        raise _refused(layer, f"cannot be converted: {error}") from error
    value = before
    for each in made:
        value = Value(shape, value, each)
    return value


def _refused(layer: Any, reason: str) -> ConversionError:
    return ConversionError(f"layer {layer.name!r}, a {type(layer).__name__}, {reason}")


def _require(layer: Any, **options: Any) -> Any:
    """Return the layer. Raises ConversionError if one of its options has another value."""
    for name, accepted in options.items():
        value = getattr(layer, name)
        if value != accepted:
            raise _refused(layer, f"has {name}={value!r}, which is not supported; supported: {accepted!r}")
    return layer


# --- weights ---


def _to_numpy(tensor: Any) -> Array:
    """The values of a tensor of any backend."""
    with warnings.catch_warnings():
        # Keras converts tensors of PyTorch by an __array__ method without the argument `copy` of NumPy 2.
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(keras.ops.convert_to_numpy(tensor))


def _array(variable: Any) -> Array:
    """The values of a variable, float64 or float32."""
    array = _to_numpy(variable)
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _dtype(variable: Any) -> Any:
    return np.float64 if str(variable.dtype) == "float64" else np.float32


def _set(param: Param | None, variable: Any, layer: Any) -> None:
    """Copy a variable into a parameter, which stays as it is and is frozen if Keras has none."""
    if param is None:
        return
    if variable is not None:
        param.value = _array(variable).reshape(param.shape)
    param.trainable = variable is not None and layer.trainable


# --- layers: each handler takes the layer, the shape of its input, and zeros that are added before it ---


def _activation(layer: Any, function: Any) -> list[Layer]:
    """The layers of an activation function, by its name in Keras."""
    name = getattr(function, "__name__", repr(function))
    if function is not getattr(keras.activations, name, None) or name not in ACTIVATIONS:
        raise _refused(
            layer,
            f"has the activation {name}, which is not supported; supported are {', '.join(ACTIVATIONS)}",
        )
    made = ACTIVATIONS[name]()
    return [] if isinstance(made, ours.Identity) else [made]


ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "elu": ours.ELU,
    "gelu": ours.GELU,
    "leaky_relu": lambda: ours.LeakyReLU(0.2),
    "linear": ours.Identity,
    "relu": ours.ReLU,
    "sigmoid": ours.Sigmoid,
    "silu": ours.SiLU,
    "softmax": ours.Softmax,
    "tanh": ours.Tanh,
}


def _dense(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    if len(shape) > 3:
        raise _refused(layer, f"takes samples of shape {shape}; supported are features, sequences and images")
    inputs, outputs = layer.kernel.shape
    kinds: Any = ours.Linear, partial(ours.Conv1d, filter_size=1), partial(ours.Conv2d, filter_size=1)
    made = kinds[len(shape) - 1](inputs, outputs, **_options(layer))
    return _with_weights(layer, made, layer.kernel)


def _embedding(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    _require(layer, mask_zero=False)
    made = ours.Embedding(*layer.embeddings.shape, weight_init="zeros", dtype=_dtype(layer.embeddings))
    _set(made.weight, layer.embeddings, layer)
    return [made]


def _options(layer: Any) -> dict[str, Any]:
    zeros = {"weight_init": "zeros", "bias_init": "zeros"}
    return {"bias": layer.use_bias, "dtype": _dtype(layer.kernel), **zeros}


def _with_weights(layer: Any, made: Any, kernel: Any) -> list[Layer]:
    _set(made.weight, kernel, layer)
    _set(made.bias, layer.bias, layer)
    return [made, *_activation(layer, layer.activation)]


def _conv(layer: Any, shape: Shape, padding: tuple[int, int, int, int]) -> list[Layer]:
    _require(layer, data_format="channels_last")
    *size, per_group, outputs = layer.kernel.shape
    depthwise = isinstance(layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D))
    if depthwise:  # (R, S, C, multiplier) -> (R, S, 1, C multiplier)
        per_group, outputs = 1, per_group * outputs
    windows = [step * (taps - 1) + 1 for taps, step in zip(size, layer.dilation_rate, strict=True)]
    added = [padding[:2], padding[2:]][-len(size) :]
    own = _padding(layer, shape, windows, padding)
    sides = [(a + c, b + d) for (a, b), (c, d) in zip(added, own, strict=True)]
    kind: Any = ours.Conv1d if len(size) == 1 else ours.Conv2d
    made = kind(
        shape[-1],
        outputs,
        _of_layer(size),
        stride=_of_layer(layer.strides),
        padding=_of_layer(sides),
        dilation=_of_layer(layer.dilation_rate),
        groups=shape[-1] // per_group,
        **_options(layer),
    )
    return _with_weights(layer, made, layer.kernel)


def _of_layer(sizes: Any) -> Any:
    """Sizes, one for each side, as the layers of sequences and images take them."""
    return sizes[0] if len(sizes) == 1 else tuple(sizes)


def _padding(layer: Any, shape: Shape, windows: list[int], before: Any = ()) -> list[Pair]:
    """Zeros (before, after) of each side, for any padding; "same" gives an output of ceil(L / stride)."""
    if layer.padding == "valid":
        return [(0, 0)] * len(windows)
    if layer.padding == "causal":
        return [(windows[0] - 1, 0)]
    if layer.padding != "same" or any(before):
        raise _refused(
            layer, f"has padding={layer.padding!r}, which is not supported here; supported: 'valid'"
        )
    sides = []
    for size, window, step in zip(shape, windows, layer.strides, strict=False):
        total = max((math.ceil(size / step) - 1) * step + window - size, 0)
        sides.append((total // 2, total - total // 2))
    return sides


def _pool(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    _require(layer, data_format="channels_last")
    is_max = isinstance(layer, (keras.layers.MaxPooling1D, keras.layers.MaxPooling2D))
    is_padded = any(map(any, _padding(layer, shape, list(layer.pool_size))))
    kinds: Any = (ours.MaxPool1d, ours.MaxPool2d) if is_max else (ours.AvgPool1d, ours.AvgPool2d)
    kind = kinds[len(layer.pool_size) - 1]
    return [kind(_of_layer(layer.pool_size), _of_layer(layer.strides), "same" if is_padded else 0)]


def _global_pool(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    _require(layer, data_format="channels_last")
    kept = (1,) * (len(shape) - 1) + shape[-1:]
    pool: Layer = ours.GlobalAvgPool1d() if len(shape) == 2 else ours.GlobalAvgPool2d()
    return [pool, ours.Reshape(kept)] if layer.keepdims else [pool]


def _batch_norm(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    if axis not in (-1, len(shape)) or len(shape) > 3:
        raise _refused(layer, f"has axis={layer.axis} for samples {shape}; supported is the last of 1 to 3")
    kind = ours.BatchNorm2d if len(shape) == 3 else ours.BatchNorm1d
    affine = layer.scale or layer.center
    dtype = _dtype(layer.moving_mean)
    made = kind(shape[-1], layer.epsilon, 1 - layer.momentum, affine, dtype=dtype)
    _set(made.gamma, layer.gamma, layer)
    _set(made.beta, layer.beta, layer)
    made.running_mean.value = _array(layer.moving_mean)
    made.running_var.value = _array(layer.moving_variance)
    return [made]


def _group_norm(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    if layer.axis not in (-1, len(shape)):
        raise _refused(layer, f"has axis={layer.axis} for samples {shape}; supported is the last")
    scale = layer.gamma if layer.gamma is not None else layer.beta
    dtype = np.float32 if scale is None else _dtype(scale)
    made = ours.GroupNorm(layer.groups, shape[-1], layer.epsilon, scale is not None, dtype=dtype)
    _set(made.gamma, layer.gamma, layer)
    _set(made.beta, layer.beta, layer)
    return [made]


def _layer_norm(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    last = [axis % (len(shape) + 1) for axis in axes]
    if sorted(last) != list(range(len(shape) + 1 - len(last), len(shape) + 1)) or last != sorted(last):
        raise _refused(layer, f"normalises the axes {axes}; supported are the last axes")
    if getattr(layer, "rms_scaling", False):
        raise _refused(layer, "has rms_scaling=True, which is not supported")
    scale = layer.gamma if layer.gamma is not None else layer.beta
    dtype = np.float32 if scale is None else _dtype(scale)
    made = ours.LayerNorm(shape[-len(last) :], layer.epsilon, scale is not None, dtype=dtype)
    _set(made.gamma, layer.gamma, layer)
    _set(made.beta, layer.beta, layer)
    return [made]


def _relu(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    _require(layer, max_value=None, threshold=0)
    return [ours.LeakyReLU(float(layer.negative_slope)) if layer.negative_slope else ours.ReLU()]


def _softmax(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    if len(shape) != 1 or layer.axis not in (-1, 1):
        raise _refused(layer, f"has axis={layer.axis} for samples {shape}; supported are features")
    return [ours.Softmax()]


def _nothing(layer: Any, shape: Shape, padding: Any) -> list[Layer]:
    return []


LAYERS: dict[Any, Callable[[Any, Shape, Any], list[Layer]]] = {
    keras.layers.Activation: lambda layer, shape, padding: _activation(layer, layer.activation),
    keras.layers.AveragePooling1D: _pool,
    keras.layers.AveragePooling2D: _pool,
    keras.layers.BatchNormalization: _batch_norm,
    keras.layers.Conv1D: _conv,
    keras.layers.Conv2D: _conv,
    keras.layers.Dense: _dense,
    keras.layers.DepthwiseConv1D: _conv,
    keras.layers.DepthwiseConv2D: _conv,
    keras.layers.Dropout: lambda layer, shape, padding: [ours.Dropout(layer.rate)],
    keras.layers.ELU: lambda layer, shape, padding: [ours.ELU(float(layer.alpha))],
    keras.layers.Embedding: _embedding,
    keras.layers.Flatten: lambda layer, shape, padding: [ours.Flatten()],
    keras.layers.GlobalAveragePooling1D: _global_pool,
    keras.layers.GlobalAveragePooling2D: _global_pool,
    keras.layers.GroupNormalization: _group_norm,
    keras.layers.Identity: _nothing,
    keras.layers.InputLayer: _nothing,
    keras.layers.LayerNormalization: _layer_norm,
    keras.layers.LeakyReLU: lambda layer, shape, padding: [ours.LeakyReLU(float(layer.negative_slope))],
    keras.layers.MaxPooling1D: _pool,
    keras.layers.MaxPooling2D: _pool,
    keras.layers.ReLU: _relu,
    keras.layers.Reshape: lambda layer, shape, padding: [ours.Reshape(tuple(layer.target_shape))],
    keras.layers.Softmax: _softmax,
    keras.layers.ZeroPadding1D: _nothing,
    keras.layers.ZeroPadding2D: _nothing,
}


def _verify(model: Any, converted: Sequential, shape: Shape) -> None:
    """Raise ConversionError unless the model returns what the Keras model returns for random samples."""
    x = random_batch(shape, converted.dtype, converted.index_limit)
    wanted = _to_numpy(model(x, training=False))
    check_same(
        converted.predict(x, scale=1.0),
        wanted,
        f"the converted model does not return what the Keras model returns; it is {converted!r}",
    )
