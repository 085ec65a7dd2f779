"""Define the convolution benchmarks: geometries, and their three pieces in fastnn and in PyTorch.

The pieces are "forward", "dx" (gradient of the images) and "dw" (gradient of the filters). `by_kernels` and
`by_torch` take a batch of arrays and return {piece: call}. A call returns its result in its own layout;
`in_our_layout` converts that to fastnn's layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

PIECES = ("forward", "dx", "dw")
KERNELS = {"forward": "conv_forward", "dx": "conv_dx", "dw": "conv_dw"}

Call = Callable[[], Any]


@dataclass(frozen=True)
class Convolution:
    """Images of `side` x `side` pixels and `channels`, filters of `size` x `size`, `outputs` channels."""

    side: int
    channels: int
    size: int
    outputs: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    def __str__(self) -> str:
        text = f"{self.side}x{self.side}x{self.channels}-{self.size}x{self.size}x{self.outputs}"
        text += f"/{self.stride}" if self.stride > 1 else ""
        return text + (f"-g{self.groups}" if self.groups > 1 else "")

    @property
    def side_out(self) -> int:
        return (self.side + 2 * self.padding - self.size) // self.stride + 1

    @property
    def filters(self) -> tuple[int, ...]:
        """(R, S, C / G, O)."""
        return self.size, self.size, self.channels // self.groups, self.outputs

    def flop(self, batch: int) -> int:
        """FLOP of each piece: one product and one sum per weight and output pixel."""
        return 2 * batch * self.side_out**2 * math.prod(self.filters)


@dataclass(frozen=True)
class Batch:
    """Images, filters, biases and output gradients with standard normal values, created on first use."""

    conv: Convolution
    rows: int

    @cached_property
    def x(self) -> np.ndarray:
        return normal(0, self.rows, self.conv.side, self.conv.side, self.conv.channels)

    @cached_property
    def w(self) -> np.ndarray:
        return normal(1, *self.conv.filters)

    @cached_property
    def b(self) -> np.ndarray:
        return normal(2, self.conv.outputs)

    @cached_property
    def dy(self) -> np.ndarray:
        return normal(3, self.rows, self.conv.side_out, self.conv.side_out, self.conv.outputs)

    @property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """(stride, padding, dilation), each a pair."""
        return (self.conv.stride,) * 2, (self.conv.padding,) * 2, (1, 1)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal values. Each array has its own seed: with x = dy, dw would be a sum of squares, which
    float32 rounds away.
    """
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def by_kernels(batch: Batch, functions: dict[str, Callable[..., None]]) -> dict[str, Call]:
    """The pieces as calls of functions that have the arguments of fastnn's kernels."""

    def writing(function: Callable[..., None], inputs: tuple[Any, ...], like: np.ndarray) -> Call:
        out = np.empty_like(like)

        def call() -> np.ndarray:
            function(*inputs, *batch.steps, out)
            return out

        return call

    # Piece -> (inputs, array with the shape of the result).
    arguments = {
        "forward": lambda: ((batch.x, batch.w, batch.b), batch.dy),
        "dx": lambda: ((batch.dy, batch.w), batch.x),
        "dw": lambda: ((batch.x, batch.dy), batch.w),
    }
    return {piece: writing(function, *arguments[piece]()) for piece, function in functions.items()}


def by_torch(batch: Batch, pieces: tuple[str, ...], channels_last: bool) -> dict[str, Call]:
    """The pieces by PyTorch, whose arrays are brought into the memory format beforehand."""
    import torch

    conv = batch.conv
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def images(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    x, dy = images(batch.x), images(batch.dy)
    w = torch.from_numpy(batch.w).permute(3, 2, 0, 1).contiguous(memory_format=layout)
    b = torch.from_numpy(batch.b)
    stride, padding, dilation = map(list, batch.steps)

    def forward() -> torch.Tensor:
        return torch.nn.functional.conv2d(x, w, b, stride, padding, dilation, conv.groups)

    def gradient(index: int) -> Call:
        mask = [index == place for place in range(3)]
        geometry = (stride, padding, dilation, False, [0, 0], conv.groups)
        return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, *geometry, mask)[index]

    calls = {"forward": forward, "dx": gradient(0), "dw": gradient(1)}
    return {piece: calls[piece] for piece in pieces}


def in_our_layout(piece: str, result: Any) -> np.ndarray:
    """Convert a tensor (N, C, H, W) or (O, C, R, S) to an array (N, H, W, C) or (R, S, C, O)."""
    if isinstance(result, np.ndarray):
        return result
    return result.numpy().transpose(2, 3, 1, 0) if piece == "dw" else result.numpy().transpose(0, 2, 3, 1)
