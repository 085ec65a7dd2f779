"""Straightforward implementations of convolution and its gradients, to compare the kernels with.

There are three, from the definition to the matrix product:

- `forward_loops`, `dx_loops`, `dw_loops`: seven nested loops in pure Python. `dw_loops` computes the gradient
  of each filter weight separately, by the chain rule: a sum over all output pixels that depend on the weight.
- `forward_shifts`, ...: loops over the positions (r, s) in the filter; at each position, a matrix product
  with the shifted image.
- `forward_columns`, ...: one matrix product with the matrix of all patches, stored explicitly (im2col).

All functions have the arguments of the kernels conv_forward, conv_dx and conv_dw, and overwrite the last one;
kernels/conv_ref.py has the equations and the dimension letters. Any filter size, stride, padding and dilation
is supported. Only the loops support groups; the other functions raise ValueError for more than one group.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn._validation import Array, Shape

Pair = tuple[int, int]


def forward_loops(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, y: Array
) -> None:
    """y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] w[r, s, c, o]."""
    (N, P, Q, outputs), (R, S, channels, _) = y.shape, w.shape
    group_outputs = outputs * channels // x.shape[3]
    # Lists, because each access to an array element would create a NumPy scalar.
    images, filters = x.tolist(), w.tolist()
    for n in range(N):
        for p in range(P):
            for q in range(Q):
                for o in range(outputs):
                    first = o // group_outputs * channels
                    total = 0.0 if b is None else float(b[o])
                    for r in range(R):
                        h = p * stride[0] + r * dilation[0] - padding[0]
                        for s in range(S):
                            v = q * stride[1] + s * dilation[1] - padding[1]
                            if not _inside(x.shape, h, v):
                                continue
                            for c in range(channels):
                                total += images[n][h][v][first + c] * filters[r][s][c][o]
                    y[n, p, q, o] = total


def dw_loops(x: Array, dy: Array, stride: Pair, padding: Pair, dilation: Pair, dw: Array) -> None:
    """dw[r, s, c, o] = sum_npq x[n, p stride + r dilation - padding, ..., c] dy[n, p, q, o].

    Each weight separately: dloss/dw is the sum over all pixels (n, p, q) of the weight's output channel of
    dloss/dy times dy/dw, where dy/dw is the input pixel that was multiplied by the weight.
    """
    (N, P, Q, outputs), channels = dy.shape, dw.shape[2]
    group_outputs = outputs * channels // x.shape[3]
    images, gradients = x.tolist(), dy.tolist()
    for r, s, c, o in np.ndindex(dw.shape):
        total, channel = 0.0, o // group_outputs * channels + c
        for n in range(N):
            for p in range(P):
                h = p * stride[0] + r * dilation[0] - padding[0]
                for q in range(Q):
                    v = q * stride[1] + s * dilation[1] - padding[1]
                    if _inside(x.shape, h, v):
                        total += images[n][h][v][channel] * gradients[n][p][q][o]
        dw[r, s, c, o] = total


def dx_loops(dy: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair, dx: Array) -> None:
    """dx[n, h, w, c] = sum of dy[n, p, q, o] w[r, s, c, o] over all p, q, r, s, o that use the pixel."""
    R, S, channels, outputs = w.shape
    group_outputs = outputs * channels // dx.shape[3]
    gradients, filters = dy.tolist(), w.tolist()
    totals: Any = np.zeros(dx.shape).tolist()
    for n, p, q in np.ndindex(dy.shape[:3]):
        for r in range(R):
            h = p * stride[0] + r * dilation[0] - padding[0]
            for s in range(S):
                v = q * stride[1] + s * dilation[1] - padding[1]
                if not _inside(dx.shape, h, v):
                    continue
                for c in range(channels):
                    for o in range(outputs):
                        # Each output pixel adds its gradient to the input pixels that it depends on.
                        first = o // group_outputs * channels
                        totals[n][h][v][first + c] += gradients[n][p][q][o] * filters[r][s][c][o]
    dx[...] = np.reshape(totals, dx.shape)


def _inside(shape: Shape, h: int, v: int) -> bool:
    """Whether images (N, H, W, C) have a pixel in row h and column v."""
    return 0 <= h < shape[1] and 0 <= v < shape[2]


def forward_shifts(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, y: Array
) -> None:
    """y = b + sum_rs x_rs w[r, s], a sum of R S matrix products; x_rs are the input pixels of w[r, s]."""
    padded = _padded(x, w.shape, y.shape, stride, padding, dilation)
    y[...] = 0 if b is None else b
    for r, s in np.ndindex(w.shape[:2]):
        y += _input_pixels(padded, r, s, y.shape, stride, dilation) @ w[r, s]


def dw_shifts(x: Array, dy: Array, stride: Pair, padding: Pair, dilation: Pair, dw: Array) -> None:
    """dw[r, s] = x_rs^T dy, summed over all pixels of all images; x_rs are the input pixels of w[r, s]."""
    padded = _padded(x, dw.shape, dy.shape, stride, padding, dilation)
    for r, s in np.ndindex(dw.shape[:2]):
        pixels = _input_pixels(padded, r, s, dy.shape, stride, dilation)
        dw[r, s] = np.tensordot(pixels, dy, ((0, 1, 2), (0, 1, 2)))


def dx_shifts(dy: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair, dx: Array) -> None:
    """dx_rs += dy w[r, s]^T for all r, s; dx_rs are the input pixels of w[r, s]."""
    padded = _padded(np.zeros_like(dx), w.shape, dy.shape, stride, padding, dilation)
    for r, s in np.ndindex(w.shape[:2]):
        _input_pixels(padded, r, s, dy.shape, stride, dilation)[...] += dy @ w[r, s].T
    dx[...] = _cropped(padded, dx.shape, padding)


def forward_columns(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, y: Array
) -> None:
    """y = b + columns w, with columns (N P Q, R S C) and w (R S C, O)."""
    columns = _columns(x, w.shape, y.shape, stride, padding, dilation)
    np.matmul(columns, _rows(w), out=_rows(y))
    if b is not None:
        y += b


def dw_columns(x: Array, dy: Array, stride: Pair, padding: Pair, dilation: Pair, dw: Array) -> None:
    """dw = columns^T dy, with columns (N P Q, R S C) and dy (N P Q, O)."""
    columns = _columns(x, dw.shape, dy.shape, stride, padding, dilation)
    np.matmul(columns.T, _rows(dy), out=_rows(dw))


def dx_columns(dy: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair, dx: Array) -> None:
    """dx = the sums of the elements of dy w^T that belong to the same pixel (col2im)."""
    columns = np.matmul(_rows(dy), _rows(w).T).reshape(*dy.shape[:3], *w.shape[:3])
    padded = _padded(np.zeros_like(dx), w.shape, dy.shape, stride, padding, dilation)
    for r, s in np.ndindex(w.shape[:2]):
        _input_pixels(padded, r, s, dy.shape, stride, dilation)[...] += columns[:, :, :, r, s]
    dx[...] = _cropped(padded, dx.shape, padding)


def _columns(x: Array, filters: Shape, outputs: Shape, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Return the patches of the images x for filters (R, S, C, O), one per row: (N P Q, R S C)."""
    padded = _padded(x, filters, outputs, stride, padding, dilation)
    columns = np.empty((*outputs[:3], *filters[:3]), x.dtype)
    for r, s in np.ndindex(filters[:2]):
        columns[:, :, :, r, s] = _input_pixels(padded, r, s, outputs, stride, dilation)
    return columns.reshape(math.prod(outputs[:3]), math.prod(filters[:3]))


def _rows(a: Array) -> Array:
    """Reshape (N, P, Q, O) or (R, S, C, O) to a matrix with O columns."""
    return a.reshape(math.prod(a.shape[:3]), a.shape[3])


def _padded(x: Array, filters: Shape, outputs: Shape, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Pad the images with zeros as far as the filters reach. Raises ValueError if there are groups."""
    if filters[2] != x.shape[3]:
        raise ValueError(
            f"the filters have {filters[2]} channels and the images {x.shape[3]}: only the functions *_loops "
            "support groups"
        )
    reach = [
        max(before + size, (taps - 1) * step + out * shift)
        for size, taps, out, shift, before, step in zip(
            x.shape[1:3], filters, outputs[1:3], stride, padding, dilation, strict=False
        )
    ]
    padded = np.zeros((len(x), *reach, x.shape[3]), x.dtype)
    _cropped(padded, x.shape, padding)[...] = x
    return padded


def _cropped(padded: Array, shape: Shape, padding: Pair) -> Array:
    """Return a view of the images (N, H, W, C) without their padding."""
    return padded[:, padding[0] : padding[0] + shape[1], padding[1] : padding[1] + shape[2]]


def _input_pixels(padded: Array, r: int, s: int, outputs: Shape, stride: Pair, dilation: Pair) -> Array:
    """Return a view (N, P, Q, C) of the input pixels that w[r, s] multiplies, one per output pixel."""
    top, left = r * dilation[0], s * dilation[1]
    rows = slice(top, top + outputs[1] * stride[0], stride[0])
    return padded[:, rows, left : left + outputs[2] * stride[1] : stride[1]]
