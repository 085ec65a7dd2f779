"""PyTorch modules for layers of fastnn that PyTorch has no module for."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """branch(x) + shortcut(x)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch(x) + self.shortcut(x)


class ChannelsFirst(nn.Module):
    """Moves the channels first: (N, ..., C) -> (N, C, ...), from an embedding to a convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, x.ndim - 1, *range(1, x.ndim - 1))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel of images (N, C, H, W), as in ConvNeXt (Liu et al. 2022).

    It also takes sequences (N, C, L).
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = self.norm(x.permute(0, *range(2, x.ndim), 1))
        return last.permute(0, x.ndim - 1, *range(1, x.ndim - 1))


class Reshape(nn.Module):
    """Reshapes each sample: (N, ...) -> (N, *shape). One size may be -1."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        return str(self.shape)
