"""Two ways from the input to the output, added."""

from __future__ import annotations

import math

from fastnn._validation import Array, Shape
from fastnn.kernels import empty, ops
from fastnn.layers.act import Identity
from fastnn.layers.base import Layer, expect_layers, name_parameters
from fastnn.recording.recorder import Backward, run_layer


class Residual(Layer):
    """y = branch(x) + shortcut(x), where the shortcut is the identity unless it is given.

    He et al. 2016. Several layers make a branch as fn.Sequential(...). Both ways must give the same shape:
    where the branch changes it, a 1x1 convolution of the same stride is the usual shortcut. Raises TypeError
    for what is not a layer, ValueError when a parameter occurs on both ways, and for input of which they
    make different shapes.
    """

    recordable = True

    def __init__(self, branch: Layer, shortcut: Layer | None = None) -> None:
        shortcut = Identity() if shortcut is None else shortcut
        expect_layers("Residual", (branch, shortcut))
        self.branch = branch
        self.shortcut = shortcut
        name_parameters(self)

    @property
    def input_shape(self) -> Shape | None:  # type: ignore[override]
        return self.shortcut.input_shape if self.branch.input_shape is None else self.branch.input_shape

    def output_shape(self, shape: Shape) -> Shape:
        outputs = []
        for name, way in (("branch", self.branch), ("shortcut", self.shortcut)):
            try:
                outputs.append(way.output_shape(shape))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if outputs[0] != outputs[1]:
            raise ValueError(
                f"of samples of shape {shape} the branch makes {outputs[0]}, but the shortcut {outputs[1]}, "
                "and they are added: pass a shortcut that gives the shape of the branch"
            )
        return outputs[0]

    def flop(self, shape: Shape) -> int:
        added = math.prod(self.output_shape(shape))
        return self.branch.flop(shape) + self.shortcut.flop(shape) + added

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = self.output_shape(x.shape[1:])
        on_branch, branch_back = run_layer(self.branch, x, train)
        on_shortcut, shortcut_back = run_layer(self.shortcut, x, train)
        y: Array = empty((len(x), *shape), x.dtype)
        ops.add(on_branch, on_shortcut, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if not need_dx:
                for way, way_back in ((self.branch, branch_back), (self.shortcut, shortcut_back)):
                    if way.trainable:
                        way_back(dy, need_dx=False)
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.add(branch_back(dy), shortcut_back(dy), dx)
            return dx

        return y, backward

    def __repr__(self) -> str:
        ways = [self.branch] if type(self.shortcut) is Identity else [self.branch, self.shortcut]
        return f"Residual({', '.join(map(repr, ways))})"
