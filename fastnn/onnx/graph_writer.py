"""The ONNX graph that is being written: its nodes, its weights, and the layout of each batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.channel_order import returns_sequences, takes_sequences
from fastnn.classes import classes_to_list
from fastnn.feeding import feeding_to_dict
from fastnn.layers import Layer

LAYOUTS = {"nchw": True, "nhwc": False}  # whether the channels of images come first
METADATA = "fastnn"  # the key of the record in the metadata of a file


@dataclass(frozen=True)
class Tensor:
    """A batch in the graph: the value of `name` stands for fastnn's samples of `shape`."""

    name: str
    shape: Shape
    channels_first: bool = False
    """Whether the value is (N, C, ...) where fastnn has (N, ..., C)."""
    channels: int = 1
    """If above 1: the value (N, features) is flattened from (C, pixels), fastnn's from (pixels, C)."""


# Functions `write(graph, layer, x)` by class of layers.
Writers = Mapping[type[Layer], Callable[["GraphWriter", Any, Tensor], Tensor]]


class GraphWriter:
    """Collects the nodes and weights of a graph."""

    def __init__(self, onnx: Any, opset: int, dtype: np.dtype[Any], writers: Writers) -> None:
        self._onnx = onnx
        self._writers = writers
        self.opset = opset
        self.dtype = dtype
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._count = 0

    def write(self, model: Layer, shape: Shape, channels_first: bool) -> Any:
        """Return the ModelProto of `model` for samples of `shape`."""
        helper = self._onnx.helper
        has_channels = len(shape) == 3 or (len(shape) == 2 and takes_sequences(model))
        is_first = channels_first and has_channels and model.index_limit is None
        start = Tensor("input", shape, channels_first=is_first)
        found = self.flat_order(self.layer(model, start))
        if len(found.shape) == 3 or (len(found.shape) == 2 and returns_sequences(model)):
            found = self.channels_first_of(found) if channels_first else self.channels_last(found)
        elif len(found.shape) > 1:
            found = self.channels_last(found)
        if self._nodes and self._nodes[-1].output[0] == found.name:
            self._nodes[-1].output[0] = "output"
        else:  # the model has no layer that computes anything
            self._nodes.append(helper.make_node("Identity", [found.name], ["output"]))
        inputs = self.dtype if model.index_limit is None else np.dtype(np.int64)
        values = [self._value_info("input", start, inputs), self._value_info("output", found, self.dtype)]
        graph = helper.make_graph(self._nodes, "fastnn", values[:1], values[1:], self._weights)
        imports = [helper.make_opsetid("", self.opset)]
        made = helper.make_model(
            graph,
            opset_imports=imports,
            producer_name="fastnn",
            ir_version=helper.find_min_ir_version_for(imports),
        )
        layout = next(name for name, first in LAYOUTS.items() if first == channels_first)
        record = {"layout": layout, "feeding": feeding_to_dict(model), "classes": classes_to_list(model)}
        known = {name: value for name, value in record.items() if value is not None}
        helper.set_model_props(made, {METADATA: json.dumps(known)})
        return made

    def layer(self, layer: Layer, x: Tensor) -> Tensor:
        """Write the nodes of one layer. Raises ValueError if it has no counterpart in ONNX."""
        write = self._writers.get(type(layer))
        if write is None:
            names = ", ".join(sorted(kind.__name__ for kind in self._writers))
            raise ValueError(f"{layer!r} has no counterpart in ONNX: export_onnx takes {names}")
        return write(self, layer, x)

    def node(
        self,
        op: str,
        x: Tensor,
        *others: str,
        shape: Shape | None = None,
        channels: int = 1,
        **attributes: Any,
    ) -> Tensor:
        """Add a node that computes samples of `shape` (default: that of `x`) from `x` and `others`."""
        name = self._new_name(op.lower())
        inputs = [x.name, *others]
        self._nodes.append(self._onnx.helper.make_node(op, inputs, [name], name=f"{name}_node", **attributes))
        if shape is None:
            return replace(x, name=name)
        return Tensor(name, shape, x.channels_first and len(shape) > 1, channels)

    def weight(self, array: Array, name: str = "weight") -> str:
        """Add an array to the file and return its name."""
        name = self._new_name(name)
        kept = np.ascontiguousarray(array, None if array.dtype.kind == "i" else self.dtype)
        self._weights.append(self._onnx.numpy_helper.from_array(kept, name))
        return name

    def scalar(self, value: float) -> str:
        """Add a constant and return its name."""
        return self.weight(np.array(value, self.dtype), "constant")

    def channels_first_of(self, x: Tensor) -> Tensor:
        """Transpose (N, ..., C) to (N, C, ...), unless `x` is that already."""
        if x.channels_first:
            return x
        rank = len(x.shape) + 1
        moved = self.node("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])
        return replace(moved, channels_first=True)

    def channels_last(self, x: Tensor) -> Tensor:
        """Transpose (N, C, ...) to (N, ..., C), unless `x` is that already."""
        if not x.channels_first:
            return x
        if x.shape[-1] == 1 or all(side == 1 for side in x.shape[:-1]):
            return replace(self.reshape(x, x.shape), channels_first=False)  # a copy-free operation
        moved = self.node("Transpose", x, perm=[0, *range(2, len(x.shape) + 1), 1])
        return replace(moved, channels_first=False)

    def flat_order(self, x: Tensor) -> Tensor:
        """Bring features that were flattened from (C, pixels) into fastnn's order, (pixels, C)."""
        if x.channels == 1:
            return x
        pixels = x.shape[0] // x.channels
        split = replace(self.reshape(x, (x.channels, pixels)), channels=1)
        return self.reshape(self.node("Transpose", split, perm=[0, 2, 1]), x.shape)

    def reshape(self, x: Tensor, shape: Shape) -> Tensor:
        """Reshape each sample to `shape`, whatever the batch size."""
        sizes = self.weight(np.array([0, *shape], np.int64), "shape")
        return replace(self.node("Reshape", x, sizes), shape=shape)

    def _value_info(self, name: str, x: Tensor, dtype: np.dtype[Any]) -> Any:
        sides = (x.shape[-1], *x.shape[:-1]) if x.channels_first else x.shape
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(dtype)
        return self._onnx.helper.make_tensor_value_info(name, kind, ["N", *sides])

    def _new_name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"
