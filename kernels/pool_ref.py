"""Pooling kernels in NumPy: the specification.

`N` images of `H` x `W` pixels and `C` channels; windows of `R` x `S` places; `P` x `Q` pixels out. `window`,
`stride` and `padding` (top, left) are pairs of whole numbers; how far the image is padded at the bottom and
on the right follows from P and Q. The sums of all backends go along p and q, or r and s, in ascending order,
so that the bits are the same.
"""

import numpy as np

from fastnn.kernels.conv_ref import _inside


def max_pool_forward(x, window, stride, padding, y, taps):
    """y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c]; taps = r S + s of the first largest.

    x (N, H, W, C) -> y (N, P, Q, C), taps (N, P, Q, C): int32 for float32, int64 for float64. Places outside
    of the image do not take part. The first nan wins. A window that sees nothing has -inf, and the tap 0.
    """
    y[...] = -np.inf
    taps[...] = -1  # nobody yet
    for place, outputs, inputs in _places(x.shape, window, stride, padding, y.shape):
        best, pixels = y[outputs], x[inputs]
        wins = (~(pixels <= best) & (best == best)) | (taps[outputs] < 0)
        y[outputs] = np.where(wins, pixels, best)
        taps[outputs] = np.where(wins, place, taps[outputs])
    taps[taps < 0] = 0


def max_pool_dx(dy, taps, window, stride, padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] over the windows of which the pixel is the winner.

    dy, taps (N, P, Q, C) -> dx (N, H, W, C). A tap that is no place of the image has no effect.
    """
    dx[...] = 0
    for place, outputs, inputs in reversed(_places(dx.shape, window, stride, padding, dy.shape)):
        dx[inputs] += np.where(taps[outputs] == place, dy[outputs], 0)


def avg_pool_forward(x, window, stride, padding, y):
    """y[n, p, q, c] = 1 / (R S) sum_rs x[n, p stride + r - padding, ..., c], 0 outside of the image.

    x (N, H, W, C) -> y (N, P, Q, C). PyTorch's count_include_pad=True.
    """
    y[...] = 0
    for _, outputs, inputs in _places(x.shape, window, stride, padding, y.shape):
        y[outputs] += x[inputs]
    y *= y.dtype.type(1 / (window[0] * window[1]))


def avg_pool_dx(dy, window, stride, padding, dx):
    """dx[n, h, w, c] = 1 / (R S) sum of dy[n, p, q, c] over the windows that see the pixel.

    dy (N, P, Q, C) -> dx (N, H, W, C). The adjoint of avg_pool_forward.
    """
    dx[...] = 0
    for _, outputs, inputs in reversed(_places(dx.shape, window, stride, padding, dy.shape)):
        dx[inputs] += dy[outputs]
    dx *= dx.dtype.type(1 / (window[0] * window[1]))


def _places(x, window, stride, padding, y):
    """For each place in the window: its number, the outputs that see a pixel there, and the pixels."""
    found = []
    for r in range(window[0]):
        p, h = _inside(r - padding[0], stride[0], y[1], x[1])
        for s in range(window[1]):
            q, w = _inside(s - padding[1], stride[1], y[2], x[2])
            found.append((r * window[1] + s, np.s_[:, p, q], np.s_[:, h, w]))
    return found
