"""Convolution kernels in NumPy: the specification. They multiply matrices of image patches (im2col).

`N` images of `H` x `W` pixels and `C` channels; `R` x `S` filters, `O` channels out; `P` x `Q` pixels out.
With G groups the filters have C / G channels, and channels g O / G ... (g + 1) O / G of the output see
the g-th C / G of the input. `stride`, `padding` (top, left) and `dilation` are pairs of whole numbers; how
far the image is padded at the bottom and on the right follows from P and Q. As in all of machine learning
this is a correlation: filters are not turned round.

What lies outside of the image counts as 0, or does not count: where a weight or a gradient there is not
finite, backends may differ (0 * inf is nan).
"""

import numpy as np


def conv_forward(x, w, b, stride, padding, dilation, y):
    """y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] w[r, s, c, o].

    x (N, H, W, C), w (R, S, C / G, O), b (O,) or None -> y (N, P, Q, O). Outside of the image x is 0.
    """
    columns = np.empty((*y.shape[:3], *w.shape[:2], x.shape[3]), x.dtype)
    im2col(x, stride, padding, dilation, columns)
    for patches, filters, out in _groups(columns, w, y):
        out[...] = np.tensordot(patches, filters, 3)
    if b is not None:
        y += b


def conv_dx(dy, w, stride, padding, dilation, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, o] w[r, s, c, o] over all p, q, r, s that see the pixel.

    dy (N, P, Q, O), w (R, S, C / G, O) -> dx (N, H, W, C).
    """
    columns = np.empty((*dy.shape[:3], *w.shape[:2], dx.shape[3]), dx.dtype)
    for patches, filters, out in _groups(columns, w, dy):
        patches[...] = np.tensordot(out, filters, (3, 3))
    col2im(columns, stride, padding, dilation, dx)


def conv_dw(x, dy, stride, padding, dilation, dw):
    """dw[r, s, c, o] = sum_npq x[n, p stride + r dilation - padding, ..., c] dy[n, p, q, o].

    x (N, H, W, C), dy (N, P, Q, O) -> dw (R, S, C / G, O).
    """
    columns = np.empty((*dy.shape[:3], *dw.shape[:2], x.shape[3]), x.dtype)
    im2col(x, stride, padding, dilation, columns)
    for patches, filters, out in _groups(columns, dw, dy):
        filters[...] = np.tensordot(patches, out, ((0, 1, 2), (0, 1, 2)))


def im2col(x, stride, padding, dilation, columns):
    """columns[n, p, q, r, s, c] = x[n, p stride + r dilation - padding, ..., c], 0 outside of the image.

    x (N, H, W, C) -> columns (N, P, Q, R, S, C): the patch that a filter sees, for each pixel of the output.
    """
    columns[...] = 0
    for patch, pixels in _views(columns, x, stride, padding, dilation):
        patch[...] = pixels


def col2im(columns, stride, padding, dilation, x):
    """x[n, h, w, c] = sum of columns[n, p, q, r, s, c] over all p, q, r, s that see the pixel.

    columns (N, P, Q, R, S, C) -> x (N, H, W, C). The adjoint of im2col: <im2col(a), b> = <a, col2im(b)>.
    """
    x[...] = 0
    for patch, pixels in _views(columns, x, stride, padding, dilation):
        pixels += patch


def _views(columns, x, stride, padding, dilation):
    """For each place in the filter: the columns whose pixel lies in the image, and those pixels."""
    (P, Q, R, S), (H, W) = columns.shape[1:5], x.shape[1:3]
    for r in range(R):
        p, h = _inside(r * dilation[0] - padding[0], stride[0], P, H)
        for s in range(S):
            q, w = _inside(s * dilation[1] - padding[1], stride[1], Q, W)
            yield columns[:, p, q, r, s], x[:, h, w]


def _inside(offset, stride, outputs, inputs):
    """The slices of those outputs p, and of their inputs p stride + offset, for which 0 <= input < inputs."""
    first = min(max(0, -(offset // stride)), outputs)
    stop = max(first, min(outputs, -((offset - inputs) // stride)))
    begin = first * stride + offset
    return slice(first, stop), slice(begin, begin + (stop - first) * stride, stride)


def _groups(columns, w, y):
    """For each group: its patches (N, P, Q, R, S, c), filters (R, S, c, o) and outputs (N, P, Q, o)."""
    channels = w.shape[2]
    groups = columns.shape[-1] // channels
    outputs = y.shape[-1] // groups
    for g in range(groups):
        own, out = slice(g * channels, (g + 1) * channels), slice(g * outputs, (g + 1) * outputs)
        yield columns[..., own], w[..., out], y[..., out]
