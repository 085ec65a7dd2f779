"""Batches between PyTorch's layout, images (N, C, H, W), and that of fastnn, (N, H, W, C)."""

from __future__ import annotations

import numpy as np
import torch

from fastnn._validation import Array


def to_array(x: torch.Tensor, *, is_channels_last: bool = False) -> Array:
    """A batch of PyTorch as an array; images (N, C, H, W) and sequences (N, C, L) get their channels last."""
    array: Array = x.detach().cpu().numpy()
    moves = array.ndim > 2 and not is_channels_last
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if moves else array


def to_tensor(x: Array, *, is_channels_last: bool = False) -> torch.Tensor:
    """An array as a batch of PyTorch, the inverse of `to_array`."""
    moves = x.ndim > 2 and not is_channels_last
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)) if moves else x)
