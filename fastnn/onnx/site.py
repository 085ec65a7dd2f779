"""What the converter of a node sees: the node, its input, and the values of the graph so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.layers import Conv1d, Conv2d, GroupNorm, Linear
from fastnn.onnx.assembly import Step, Steps
from fastnn.onnx.batch import Batch, LayoutError, reordered
from fastnn.onnx.model_file import Node, shown
from fastnn.param import Param


@dataclass(frozen=True)
class Values:
    """The values of a graph: steps of those that depend on its input, and constants."""

    steps: Steps
    constants: dict[str, Array]
    producers: dict[str, Node]
    readers: dict[str, list[Node]]
    uses: Counter[str]
    opset: int
    dtype: np.dtype[Any]
    first_axes: tuple[int, ...]
    """Reshape to samples of so many axes makes (C, ...) in the file, rather than (..., C)."""

    def constant(self, node: Node, name: str) -> Array:
        """A constant. Raises ModelFormatError if it is no tensor of real numbers."""
        if name not in self.constants:
            raise node.refused(f"its input {shown(name)} is no tensor of real numbers")
        return self.constants[name]

    def file_shape(self, name: str) -> Shape:
        """The shape in the file, with 0 for the batch size."""
        return (0, *self.steps[name].batch.file_shape)


class Site:
    """A node that is being converted."""

    def __init__(self, node: Node, values: Values) -> None:
        self.node = node
        self.values = values
        self.data = [name for name in node.inputs if name in values.steps]
        if not self.data:
            raise node.refused("none of its inputs depends on the input of the graph")

    @property
    def source(self) -> str:
        """The name of the first value that depends on the input of the graph."""
        return self.data[0]

    @property
    def x(self) -> Batch:
        """The batch of that name."""
        return self.values.steps[self.source].batch

    def check_inputs(self, data: int) -> None:
        """Raise ModelFormatError unless the input `data` is the batch and all others are constants."""
        if self.data != self.node.inputs[data : data + 1]:
            which = ("first", "second")[data]
            raise self.node.refused(
                f"its {which} input must depend on the input of the graph, and the others must be constants"
            )

    def constant(self, index: int) -> Array | None:
        """Input `index`, a constant; None if the node does not have it."""
        name = self.node.inputs[index] if index < len(self.node.inputs) else ""
        return self.values.constant(self.node, name) if name else None

    def needed(self, index: int) -> Array:
        """Input `index`, a constant. Raises ModelFormatError if the node does not have it."""
        array = self.constant(index)
        if array is None:
            raise self.node.refused(f"input {index} is missing")
        return array

    def scalar(self, index: int, default: float | None) -> float | None:
        """Input `index`, a constant of one element."""
        array = self.constant(index)
        if array is None:
            return default
        if array.size != 1:
            raise self.node.refused(f"input {index} must be a scalar, but its shape is {array.shape}")
        return float(array.reshape(()))

    def with_sides(self, most: int = 2, least: int = 1) -> Batch:
        """The input, images (N, H, W, C) or sequences (N, L, C), whose channels come first in the file.

        Raises LayoutError if they do not, and ModelFormatError for samples of another number of sides.
        """
        if not least <= len(self.x.shape) - 1 <= most:
            accepted = ["sequences (N, C, L)", "images (N, C, H, W)"][least - 1 : most]
            raise self.node.refused(
                f"it takes {' or '.join(accepted)}, but its input has {len(self.x.shape) + 1} axes"
            )
        if not self.x.is_channels_last:
            raise self.layout_error()
        return self.x

    def features(self) -> Batch:
        """The input, features (N, F). Raises ModelFormatError if it has more axes."""
        if len(self.x.shape) != 1:
            raise self.node.refused(
                f"it is supported for features (N, F), but its input has {len(self.x.shape) + 1} axes"
            )
        return self.x

    def layout_error(self) -> LayoutError:
        reason = f"its input of shape {self.values.file_shape(self.source)} would have to be transposed"
        return LayoutError(str(self.node.refused(f"{reason}, for which fastnn has no layer")))

    def per_channel(self, array: Array) -> Array:
        """A constant that is broadcast to the input, as the values (C,) of fastnn's last axis."""
        axis, count = self.x.order[-1], self.x.shape[-1]
        axes = len(self.x.order)
        shape = (1,) * (axes - array.ndim) + array.shape
        if len(shape) != axes or any(side != 1 for other, side in enumerate(shape) if other != axis):
            raise self.node.refused(f"a constant of shape {array.shape} has more than one value per channel")
        if shape[axis] not in (1, count):
            raise self.node.refused(f"a constant of shape {array.shape} does not fit {count} channels")
        values = np.broadcast_to(array.reshape(-1), (count,))
        return reordered(values, self.x.channels)

    def backwards(self) -> Iterator[Step]:
        """Yield the steps before this node, the last one first, while each value is used only once."""
        name: str | None = self.source
        while name is not None and self.values.uses[name] == 1:
            step = self.values.steps[name]
            if step.other is not None or step.error is not None:
                return
            yield step
            name = step.source

    def last_step(self) -> Step | None:
        """The last step with layers before this node, if nothing else uses its value."""
        return next((step for step in self.backwards() if step.layers), None)

    def with_affine(self, scale: Array, shift: Array | None) -> bool:
        """Let the layer before compute y scale + shift in place of y; whether it can."""
        step = self.last_step()
        layer = None if step is None else step.layers[-1]
        if isinstance(layer, GroupNorm) and layer.gamma is not None and layer.beta is not None:
            shift = np.zeros(scale.shape) if shift is None else shift
            layer.gamma.value = layer.gamma.value * scale
            layer.beta.value = layer.beta.value * scale + shift
            return True
        if not isinstance(layer, (Linear, Conv1d, Conv2d)):
            return False
        dtype = self.values.dtype
        layer.weight.value = (layer.weight.value * scale).astype(dtype)
        bias = 0 if layer.bias is None else layer.bias.value * scale
        if shift is not None or layer.bias is not None:
            outputs = layer.weight.shape[-1:]
            total = np.broadcast_to(bias if shift is None else bias + shift, outputs)
            layer.bias = Param(total.astype(dtype), name="bias")
        return True

    def set_values(self, param: Any, array: Array) -> None:
        """Set the values of a parameter or buffer. Raises ModelFormatError if the shape does not fit."""
        if array.shape != param.shape:
            raise self.node.refused(
                f"the weights {shown(param.name)} have the shape {array.shape}, not {param.shape}"
            )
        param.value = array
