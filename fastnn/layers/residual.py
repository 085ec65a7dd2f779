"""The residual layer: the sum of a branch and a shortcut."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from fastnn._validation import Array, Shape
from fastnn.kernels import empty, ops
from fastnn.layers.act import Identity
from fastnn.layers.base import Layer, expect_layers, name_parameters
from fastnn.recording.recorder import Backward, run_layer


def _branch(layer: object, name: str) -> object:
    expect_layers("Residual", [layer])
    return layer


def _shortcut(layer: object, name: str) -> object:
    return Identity() if layer is None else _branch(layer, name)


class Residual(Layer):
    """Residual connection y = branch(x) + shortcut(x) (He et al. 2016). The default shortcut is the identity.

    A branch of several layers is a `fn.Sequential`. Branch and shortcut must return the same shape: where the
    branch changes the shape, the usual shortcut is a 1x1 convolution with the same stride.

    Raises TypeError if an argument is not a layer, and ValueError if branch and shortcut share a parameter.
    The forward pass raises ValueError if they return different shapes.
    """

    recordable = True
    branch: Layer
    shortcut: Layer
    _checks: ClassVar = {"branch": _branch, "shortcut": _shortcut}

    def __init__(self, branch: Layer, shortcut: Layer | None = None) -> None:
        self.branch = branch
        self.shortcut = shortcut  # type: ignore[assignment]  # None becomes the identity
        name_parameters(self)

    @property
    def input_shape(self) -> Shape | None:  # type: ignore[override]
        return self.shortcut.input_shape if self.branch.input_shape is None else self.branch.input_shape

    @property
    def index_limit(self) -> int | None:  # type: ignore[override]
        limits = (self.branch.index_limit, self.shortcut.index_limit)
        return min((limit for limit in limits if limit is not None), default=None)

    def output_shape(self, shape: Shape) -> Shape:
        outputs = []
        for name, path in (("branch", self.branch), ("shortcut", self.shortcut)):
            try:
                outputs.append(path.output_shape(shape))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if outputs[0] != outputs[1]:
            raise ValueError(
                f"for samples of shape {shape} the branch returns shape {outputs[0]}, but the shortcut "
                f"{outputs[1]}: pass a shortcut that returns the shape of the branch"
            )
        return outputs[0]

    def smallest_batch(self, shape: Shape | None) -> int:
        return max(path.smallest_batch(shape) for path in (self.branch, self.shortcut))

    def flop(self, shape: Shape) -> int:
        additions = math.prod(self.output_shape(shape))
        return self.branch.flop(shape) + self.shortcut.flop(shape) + additions

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = self.output_shape(x.shape[1:])
        branch_y, branch_backward = run_layer(self.branch, x, train)
        shortcut_y, shortcut_backward = run_layer(self.shortcut, x, train)
        y: Array = empty((len(x), *shape), x.dtype)
        ops.add(branch_y, shortcut_y, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                for path, path_backward in (
                    (self.branch, branch_backward),
                    (self.shortcut, shortcut_backward),
                ):
                    if path.trainable:
                        path_backward(dy, need_dx=False)
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.add(branch_backward(dy), shortcut_backward(dy), dx)
            return dx

        return y, backward

    def arguments(self) -> dict[str, Any]:
        is_default = type(self.shortcut) is Identity
        return {"branch": self.branch, "shortcut": None if is_default else self.shortcut}
