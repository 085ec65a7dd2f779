"""Numba max and average pooling and their gradients: the same bits as their specification, `pool_ref.py`."""

import numpy as np

from fastnn.kernels.jit.indices import load_once
from fastnn.kernels.jit.numba_cache import jit, kernel

TAPS = (np.int32, np.int64)


@kernel(taps=TAPS)
def max_pool_forward(x, window, stride, padding, y, taps):
    """y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c];  taps = r S + s of the maximum."""
    _check(x.shape, y.shape, window, stride)
    _check_taps(taps, y)
    for n in range(y.shape[0]):
        for p in range(y.shape[1]):
            top = p * stride[0] - padding[0]
            for q in range(y.shape[2]):
                left = q * stride[1] - padding[1]
                best, winner = y[n, p, q], taps[n, p, q]
                best[:] = -np.inf
                winner[:] = -1  # no maximum yet
                for r in range(max(0, -top), min(window[0], x.shape[1] - top)):
                    for s in range(max(0, -left), min(window[1], x.shape[2] - left)):
                        pixel = x[n, top + r, left + s]
                        for c in range(len(pixel)):
                            if winner[c] < 0 or pixel[c] > best[c] or pixel[c] != pixel[c]:
                                best[c] = pixel[c]
                                winner[c] = r * window[1] + s
                for c in range(len(winner)):
                    winner[c] = max(winner[c], 0)


@kernel(taps=TAPS)
def max_pool_dx(dy, taps, window, stride, padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] over the windows (p, q) whose maximum is this pixel."""
    _check(dx.shape, dy.shape, window, stride)
    _check_taps(taps, dy)
    dx[:] = 0
    for n in range(dy.shape[0]):
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                for c in range(dy.shape[3]):
                    tap = load_once(taps[n, p, q], c)
                    h = p * stride[0] - padding[0] + tap // window[1]
                    w = q * stride[1] - padding[1] + tap % window[1]
                    inside = 0 <= h < dx.shape[1] and 0 <= w < dx.shape[2]
                    if inside and 0 <= tap < window[0] * window[1]:
                        dx[n, h, w, c] += dy[n, p, q, c]


@kernel()
def avg_pool_forward(x, window, stride, padding, count_padding, y):
    """y[n, p, q, c] = 1 / size_pq sum_rs x[n, p stride + r - padding, ..., c], 0 outside of the image."""
    _check(x.shape, y.shape, window, stride)
    for n in range(y.shape[0]):
        for p in range(y.shape[1]):
            top = p * stride[0] - padding[0]
            for q in range(y.shape[2]):
                left = q * stride[1] - padding[1]
                total = y[n, p, q]
                total[:] = 0
                for r in range(max(0, -top), min(window[0], x.shape[1] - top)):
                    for s in range(max(0, -left), min(window[1], x.shape[2] - left)):
                        _add(x[n, top + r, left + s], total)
                factor = y.dtype.type(1 / _size(top, left, window, x.shape, count_padding))
                for c in range(len(total)):
                    total[c] *= factor


@kernel()
def avg_pool_dx(dy, window, stride, padding, count_padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] / size_pq over the windows (p, q) that contain this pixel."""
    _check(dx.shape, dy.shape, window, stride)
    one, weighted = dx.dtype.type(1), np.empty(dy.shape[3], dy.dtype)
    dx[:] = 0
    for n in range(dy.shape[0]):
        for p in range(dy.shape[1]):
            top = p * stride[0] - padding[0]
            for q in range(dy.shape[2]):
                left = q * stride[1] - padding[1]
                size = _size(top, left, window, dx.shape, count_padding)
                factor = one if count_padding else dx.dtype.type(1 / size)
                for c in range(len(weighted)):
                    weighted[c] = dy[n, p, q, c] * factor
                for r in range(max(0, -top), min(window[0], dx.shape[1] - top)):
                    for s in range(max(0, -left), min(window[1], dx.shape[2] - left)):
                        _add(weighted, dx[n, top + r, left + s])
    if not count_padding:
        return
    factor = dx.dtype.type(1 / (window[0] * window[1]))
    pixels = dx.reshape(-1)
    for e in range(len(pixels)):
        pixels[e] *= factor


@jit
def _size(top, left, window, x, count_padding):
    """The number of pixels of a window, all or those inside images of the shape x (N, H, W, C)."""
    if count_padding:
        return window[0] * window[1]
    rows = min(window[0], x[1] - top) - max(0, -top)
    columns = min(window[1], x[2] - left) - max(0, -left)
    return max(rows, 0) * max(columns, 0)


@jit
def _add(row, total):
    """total += row."""
    for i in range(len(row)):
        total[i] += row[i]


@jit
def _check(x, y, window, stride):
    """Shapes (N, H, W, C), (N, P, Q, C)."""
    if x[0] != y[0] or x[3] != y[3]:
        raise ValueError("input (N, H, W, C) and output (N, P, Q, C) must have the same N and C")
    if min(window) < 1 or min(stride) < 1:
        raise ValueError("window and stride must be at least 1")


@jit
def _check_taps(taps, y):
    if taps.shape != y.shape or taps.itemsize != y.itemsize:
        raise ValueError("taps must have the output's shape: int32 for float32, int64 for float64")
