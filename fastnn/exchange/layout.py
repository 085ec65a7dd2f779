"""Batches between PyTorch's layout, images (N, C, H, W), and that of fastnn, (N, H, W, C)."""

from __future__ import annotations

import numpy as np
import torch

from fastnn._validation import Array


def channels_last(x: torch.Tensor) -> Array:
    """A batch of PyTorch as an array: images (N, C, H, W) become (N, H, W, C)."""
    array: Array = x.detach().cpu().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def channels_first(x: Array) -> torch.Tensor:
    """An array as a batch of PyTorch: images (N, H, W, C) become (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x)
