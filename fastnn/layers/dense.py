"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, float_type, positive_int
from fastnn.init import Initializer, initial_param
from fastnn.kernels import empty, ops, products
from fastnn.layers.base import Layer
from fastnn.param import Param
from fastnn.recording.recorder import Backward


class Linear(Layer):
    """Fully connected layer y = x W + b: (N, in_features) -> (N, out_features).

    W is (in_features, out_features), the transpose of PyTorch's, and b (out_features,).

    Args:
        in_features: Number of inputs, at least 1.
        out_features: Number of outputs, at least 1.
        bias: Whether to add b.
        weight_init: Initialiser of W, by name or as an object (`fastnn.init`). The default is U(-a, a) with
            a = 1 / sqrt(in_features), as in PyTorch.
        bias_init: Initialiser of b, likewise.
        dtype: float32 or float64.

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    weight: Param
    bias: Param | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: str | Initializer = "fan_in_uniform",
        bias_init: str | Initializer = "fan_in_uniform",
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        fans = (positive_int(in_features, "in_features"), positive_int(out_features, "out_features"))
        dtype = float_type(dtype)
        self.weight = initial_param(weight_init, fans, fans, "weight", dtype)
        self.bias = initial_param(bias_init, fans[1:], fans, "bias", dtype) if bias else None

    @property
    def input_shape(self) -> Shape:  # type: ignore[override]
        return self.weight.shape[:1]

    def output_shape(self, shape: Shape) -> Shape:
        if shape != self.input_shape:
            flat = int(np.prod(shape))
            hint = ": put fn.Flatten() in front" if len(shape) > 1 and (flat,) == self.input_shape else ""
            raise ValueError(f"{self} expects samples of shape {self.input_shape}, got {shape}{hint}")
        return self.weight.shape[1:]

    def flop(self, shape: Shape) -> int:
        (outputs,) = self.output_shape(shape)
        return 2 * self.weight.size + (outputs if self.bias is not None else 0)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        weight, bias = self.weight, self.bias
        y: Array = empty((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        products.dense_forward(x, weight.master, None if bias is None else bias.master, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not weight.frozen:
                products.dense_dw(x, dy, weight.grad_buffer())
            if bias is not None and not bias.frozen:
                ops.dense_db(dy, bias.grad_buffer())
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            products.dense_dx(dy, weight.master, dx)
            return dx

        return y, backward

    def arguments(self) -> dict[str, Any]:
        inputs, outputs = self.weight.shape
        has_bias, dtype = self.bias is not None, self.weight.dtype.name
        return {"in_features": inputs, "out_features": outputs, "bias": has_bias, "dtype": dtype}
