"""Reference convolution kernels as products with image patches (im2col), in NumPy: the specification.

Letters (kernels/README.md): N images of H x W pixels and C input channels; R x S filters; P x Q output
pixels and O output channels; "->" separates inputs from outputs. With G groups, each filter has C / G
channels: output channels g O / G ... (g + 1) O / G - 1 read input channels g C / G ... (g + 1) C / G - 1.
`stride`, `padding` (top, left) and `dilation` are pairs of integers (vertical, horizontal). P and Q
determine the padding at the bottom and on the right. As everywhere in deep learning, "convolution" means
cross-correlation: the filters are not flipped.

Pixels outside of the image are 0. A backend may multiply these zeros or skip them, so results may differ
between backends where a weight or a gradient is not finite (0 * inf = NaN).
"""

import numpy as np


def conv_forward(x, w, b, stride, padding, dilation, y):
    """y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] w[r, s, c, o].

    x (N, H, W, C), w (R, S, C / G, O), b (O,) or None -> y (N, P, Q, O).
    """
    columns = np.empty((*y.shape[:3], *w.shape[:2], x.shape[3]), x.dtype)
    im2col(x, stride, padding, dilation, columns)
    for patches, filters, out in _split_groups(columns, w, y):
        out[...] = np.tensordot(patches, filters, 3)
    if b is not None:
        y += b


def conv_dx(dy, w, stride, padding, dilation, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, o] w[r, s, c, o] over all (p, q, r, s, o) that read x[n, h, w, c].

    dy (N, P, Q, O), w (R, S, C / G, O) -> dx (N, H, W, C).
    """
    columns = np.empty((*dy.shape[:3], *w.shape[:2], dx.shape[3]), dx.dtype)
    for patches, filters, out in _split_groups(columns, w, dy):
        patches[...] = np.tensordot(out, filters, (3, 3))
    col2im(columns, stride, padding, dilation, dx)


def conv_dw(x, dy, stride, padding, dilation, dw):
    """dw[r, s, c, o] = sum_npq x[n, p stride + r dilation - padding, ..., c] dy[n, p, q, o].

    x (N, H, W, C), dy (N, P, Q, O) -> dw (R, S, C / G, O).
    """
    columns = np.empty((*dy.shape[:3], *dw.shape[:2], x.shape[3]), x.dtype)
    im2col(x, stride, padding, dilation, columns)
    for patches, filters, out in _split_groups(columns, dw, dy):
        filters[...] = np.tensordot(patches, out, ((0, 1, 2), (0, 1, 2)))


def im2col(x, stride, padding, dilation, columns):
    """columns[n, p, q, r, s, c] = x[n, p stride + r dilation - padding, ..., c], 0 outside of the image.

    x (N, H, W, C) -> columns (N, P, Q, R, S, C): the patch that each output pixel reads.
    """
    columns[...] = 0
    for patch, pixels in _patch_views(columns, x, stride, padding, dilation):
        patch[...] = pixels


def col2im(columns, stride, padding, dilation, x):
    """x[n, h, w, c] = sum of columns[n, p, q, r, s, c] over all (p, q, r, s) that read x[n, h, w, c].

    columns (N, P, Q, R, S, C) -> x (N, H, W, C). The adjoint of im2col: <im2col(a), b> = <a, col2im(b)>.
    """
    x[...] = 0
    for patch, pixels in _patch_views(columns, x, stride, padding, dilation):
        pixels += patch


def _patch_views(columns, x, stride, padding, dilation):
    """For each filter tap (r, s): views of the columns whose pixel lies in the image, and of these pixels."""
    (P, Q, R, S), (H, W) = columns.shape[1:5], x.shape[1:3]
    for r in range(R):
        p, h = _valid_slices(r * dilation[0] - padding[0], stride[0], P, H)
        for s in range(S):
            q, w = _valid_slices(s * dilation[1] - padding[1], stride[1], Q, W)
            yield columns[:, p, q, r, s], x[:, h, w]


def _valid_slices(offset, stride, outputs, inputs):
    """Slices of the outputs p with 0 <= p stride + offset < inputs, and of the inputs p stride + offset."""
    first = min(max(0, -(offset // stride)), outputs)
    stop = max(first, min(outputs, -((offset - inputs) // stride)))
    begin = first * stride + offset
    return slice(first, stop), slice(begin, begin + (stop - first) * stride, stride)


def _split_groups(columns, w, y):
    """For each group: patches (N, P, Q, R, S, C/G), filters (R, S, C/G, O/G) and outputs (N, P, Q, O/G)."""
    channels = w.shape[2]
    groups = columns.shape[-1] // channels
    outputs = y.shape[-1] // groups
    for g in range(groups):
        own, out = slice(g * channels, (g + 1) * channels), slice(g * outputs, (g + 1) * outputs)
        yield columns[..., own], w[..., out], y[..., out]
