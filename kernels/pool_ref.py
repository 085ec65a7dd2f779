"""Reference max and average pooling and their gradients, in NumPy: the specification.

Letters (kernels/README.md): N images of H x W pixels and C channels; windows of R x S taps; P x Q output
pixels; "->" separates inputs from outputs. `window` (R, S), `stride` and `padding` (top, left) are pairs of
integers (vertical, horizontal). P and Q determine the padding at the bottom and on the right.
Every backend adds in ascending order of (p, q), or of (r, s), so all backends agree bit for bit.
"""

import numpy as np

from fastnn.kernels.conv_ref import _valid_slices


def max_pool_forward(x, window, stride, padding, y, taps):
    """y[n, p, q, c] = max_rs x[n, p stride + r - padding, ..., c];  taps = r S + s of the maximum.

    x (N, H, W, C) -> y (N, P, Q, C); taps (N, P, Q, C), int32 for float32 and int64 for float64.
    The first of several equal maxima wins. A NaN wins over every number and over earlier NaNs, as in PyTorch.
    Taps outside of the image do not take part; a window that lies outside entirely gives -inf and tap 0.
    """
    y[...] = -np.inf
    taps[...] = -1  # no maximum yet
    for tap, outputs, inputs in _window_views(x.shape, window, stride, padding, y.shape):
        best, pixels = y[outputs], x[inputs]
        wins = (pixels > best) | np.isnan(pixels) | (taps[outputs] < 0)
        y[outputs] = np.where(wins, pixels, best)
        taps[outputs] = np.where(wins, tap, taps[outputs])
    taps[taps < 0] = 0


def max_pool_dx(dy, taps, window, stride, padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] over the windows (p, q) whose maximum is this pixel.

    dy, taps (N, P, Q, C) of `max_pool_forward` -> dx (N, H, W, C). A tap outside of the image has no effect.
    """
    dx[...] = 0
    for tap, outputs, inputs in reversed(_window_views(dx.shape, window, stride, padding, dy.shape)):
        dx[inputs] += np.where(taps[outputs] == tap, dy[outputs], 0)


def avg_pool_forward(x, window, stride, padding, count_padding, y):
    """y[n, p, q, c] = 1 / size_pq sum_rs x[n, p stride + r - padding, ..., c], 0 outside of the image.

    x (N, H, W, C) -> y (N, P, Q, C). With `count_padding`, size_pq = R S for all windows, as in PyTorch;
    without it, it is the number of pixels of the window inside the image, as in Keras. The mean of no pixels
    is NaN.
    """
    y[...] = 0
    for _, outputs, inputs in _window_views(x.shape, window, stride, padding, y.shape):
        y[outputs] += x[inputs]
    y *= _mean_factors(x.shape, window, stride, padding, count_padding, y)


def avg_pool_dx(dy, window, stride, padding, count_padding, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, c] / size_pq over the windows (p, q) that contain this pixel.

    dy (N, P, Q, C) -> dx (N, H, W, C). The adjoint of `avg_pool_forward`. If all sizes are the same, the sum
    is divided.
    """
    factors = _mean_factors(dx.shape, window, stride, padding, count_padding, dy)
    dx[...] = 0
    for _, outputs, inputs in reversed(_window_views(dx.shape, window, stride, padding, dy.shape)):
        dx[inputs] += dy[outputs] if count_padding else (dy * factors)[outputs]
    if count_padding:
        dx *= factors


def _mean_factors(x, window, stride, padding, count_padding, y):
    """1 / size_pq for each window (P, Q, 1), or for all of them, in the dtype of y."""
    if count_padding:
        return y.dtype.type(1 / (window[0] * window[1]))
    counts = []
    for axis in range(2):
        first = np.arange(y.shape[1 + axis]) * stride[axis] - padding[axis]
        counts.append(np.minimum(window[axis], x[1 + axis] - first) - np.maximum(0, -first))
    rows, columns = (np.maximum(count, 0) for count in counts)
    return (1 / np.multiply.outer(rows, columns)[..., None]).astype(y.dtype)


def _window_views(x, window, stride, padding, y):
    """For each tap: r S + s, the index of the outputs whose tap is in the image, the index of its pixels."""
    views = []
    for r in range(window[0]):
        p, h = _valid_slices(r - padding[0], stride[0], y[1], x[1])
        for s in range(window[1]):
            q, w = _valid_slices(s - padding[1], stride[1], y[2], x[2])
            views.append((r * window[1] + s, np.s_[:, p, q], np.s_[:, h, w]))
    return views
