"""One call of a PyTorch module or function that is converted, and what all handlers of calls share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from fastnn import channel_order as orders
from fastnn._validation import Array, Shape
from fastnn.exchange.chain import Value
from fastnn.exchange.errors import ConversionError, LayoutError
from fastnn.layers import Layer
from fastnn.param import Param

Pair = tuple[int, int]


@dataclass
class Call:
    """One call of a module or function, by the forward method that is converted."""

    name: str
    shape: Shape
    """The shape of a sample of the result."""
    used: dict[int, str]
    """By which call each tensor was used, by id."""
    sequences_first: bool = False
    """Whether samples of two axes are taken for sequences (C, L), until a permutation says otherwise."""
    module: Any = None
    in_training: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    """The arguments of the call in training mode."""

    def refused(self, reason: str) -> ConversionError:
        kind = f" ({self.module})" if self.module is not None else ""
        return ConversionError(f"{self.name}{kind} {reason}")

    def require(self, **options: tuple[Any, Iterable[Any]]) -> None:
        """Raise ConversionError for the first option whose value is not one of the supported ones."""
        for name, (value, accepted) in options.items():
            accepted = list(accepted)
            if value not in accepted:
                raise self.refused(
                    f"has {name}={value!r}, which is not supported; supported: "
                    f"{', '.join(map(repr, accepted))}"
                )

    def check_hooks(self) -> None:
        """Raise ConversionError if more than the forward method of a module computes its output."""
        if nn.utils.parametrize.is_parametrized(self.module):
            raise self.refused(
                "is parametrized: call torch.nn.utils.parametrize.remove_parametrizations first"
            )
        if self.module._forward_hooks or self.module._forward_pre_hooks:
            raise self.refused(
                "has forward hooks (of pruning, weight_norm or spectral_norm?): remove them first"
            )

    def then(self, x: Value, layer: Layer, **changes: Any) -> Value:
        """The value after `layer`, whose weights are reordered if the features of x are."""
        if any(x.padding):
            raise self.refused("follows a zero padding, which is supported only before a convolution")
        kept = {"order": x.order, "is_channels_last": x.is_channels_last, **changes}
        if x.order is not None and not orders.reorder_inputs(layer, x.order):
            kept["order"] = None
        return Value(self.shape, x, layer, **kept)

    def same(self, x: Value, **changes: Any) -> Value:
        """The value x, under another shape or layout."""
        kept = {"order": x.order, "is_channels_last": x.is_channels_last, "padding": x.padding, **changes}
        return Value(self.shape, x, **kept)

    def stays(self, shape: Shape) -> bool:
        """Whether samples of PyTorch keep the order of their axes here."""
        return len(shape) > 3 or (len(shape) == 2 and not self.sequences_first)

    def layout_error(self, reason: str) -> LayoutError:
        return LayoutError(str(self.refused(reason)))

    def expect_sides(self, x: Value, *accepted: int) -> int:
        """The number of sides of a sample. Raises ConversionError unless its channels come first."""
        names = {1: "sequences (N, C, L)", 2: "images (N, C, H, W)"}
        shape = getattr(x, "shape", x)
        reason = f"takes {' or '.join(names[sides] for sides in accepted)}, not samples of shape {shape}"
        if not isinstance(x, Value) or len(x.shape) - 1 not in accepted:
            raise self.refused(reason)
        if x.is_channels_last:
            raise self.layout_error(f"{reason} with the channels last")
        return len(x.shape) - 1

    def expect_features(self, x: Value) -> None:
        if not isinstance(x, Value) or len(x.shape) != 1:
            raise self.refused(f"takes features (N, F), not samples of shape {getattr(x, 'shape', x)}")

    def array(self, tensor: torch.Tensor) -> Array:
        """The values of a weight, float64 or float32. Raises ConversionError if it is used twice."""
        if isinstance(tensor, nn.Parameter):
            if id(tensor) in self.used:
                raise self.refused(
                    f"shares a parameter with {self.used[id(tensor)]}: a parameter may occur only once in a "
                    "model of fastnn"
                )
            self.used[id(tensor)] = self.name
        if tensor.layout is not torch.strided or tensor.is_quantized or not tensor.is_floating_point():
            raise self.refused(f"has a weight of {tensor.dtype}, {tensor.layout}; it must be dense and real")
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        array: Array = tensor.detach().to("cpu", dtype).numpy()
        return array

    def set(self, param: Param | None, tensor: torch.Tensor | None, axes: tuple[int, ...] = ()) -> None:
        """Copy a tensor of PyTorch, with its axes in another order, into a parameter; frozen stays frozen.

        Without a tensor the parameter, which PyTorch does not have, keeps its value and is frozen.
        """
        if param is None:
            return
        if tensor is None:
            param.trainable = False
            return
        array = self.array(tensor)
        param.value = (array.transpose(axes) if axes else array).reshape(param.shape)
        param.trainable = tensor.requires_grad


def dtype_of(weight: torch.Tensor) -> Any:
    return np.float64 if weight.dtype == torch.float64 else np.float32


def pair(value: Any) -> Pair:
    first, second = (value, value) if isinstance(value, int) else (value * 2 if len(value) == 1 else value)
    return int(first), int(second)


def of_sides(value: Any, sides: int) -> Any:
    """A size as our layers take it: an integer for sequences, a pair for images."""
    if sides == 2:
        return pair(value)
    (size,) = (value,) if isinstance(value, int) else value
    return int(size)
